#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Lays releases on a host and stands them in a color (a slot): the only program that writes either."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slot
short_description: Lay a release on a host, and stand it in a color
description:
  - A release is laid into C(/opt/SERVICE/releases/ID), where C(ID) is C(VERSION-SHA12). Its final name appears
    only when it is whole, and its marker C(.turnout-complete) is written last.
  - A color (slot) is a symbolic link to a release, two environment files and the drop-ins of its units. What a
    new release displaces is kept aside until the caller settles, and can be restored as a whole.
  - Needs nothing but Python, GNU tar and zstd (umoci for images).
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  state:
    description:
      - C(info) reports, and changes nothing.
      - C(ready) removes what killed runs left, checks the room, and makes the folder to copy the artifact to.
      - C(laid) unpacks O(src).
      - C(verified) has systemd read the units that a laid release would have in O(color), and looks for their programs.
        It fails with systemd's own lines, and changes nothing.
      - C(active) stands O(release_id) in O(color), keeping what stood there aside. Refused while a command of
        C(turnout run) runs there (error code C(command-runs)).
      - C(restored) puts back what C(active) displaced, and ends commands that run there; without anything kept it
        changes nothing.
      - C(settled) forgets what C(active) displaced.
      - C(pruned) removes old releases; never one that stands in a color or is kept aside.
    type: str
    required: true
    choices: [info, ready, laid, verified, active, restored, settled, pruned]
  service:
    description: The service's name.
    type: str
    required: true
  run:
    description: Id of the run that acts; required but for C(info), C(ready), C(laid) and C(verified).
    type: str
  fence:
    description:
      - The run's number, which the edges gave with the lock; required but for C(info), C(ready), C(laid) and
        C(verified), since drills and rehearsals, which hold no lock, lay releases too. Where it is given it counts for
        these as well.
      - A run that was overtaken by a newer one changes nothing on this host any more (error code C(fence)).
    type: int
  release_id:
    description:
      - The release, C(VERSION-SHA12).
      - For C(restored), the release that had been activated; what was kept aside for another one is stale and is
        forgotten instead of restored. Without it, whatever was kept is restored.
    type: str
  color:
    description: The slot.
    type: str
    choices: [blue, green]
  src:
    description: The artifact on this host; removed when it is laid.
    type: path
  sha256:
    description: The artifact's checksum, in hex.
    type: str
  bytes:
    description: The artifact's size.
    type: int
    default: 0
  unpacked_bytes:
    description: What the release takes on disk.
    type: int
    default: 0
  kind:
    description: What the artifact is.
    type: str
    choices: [tarball, oci-archive]
    default: tarball
  manifest:
    description: The release's manifest, kept in the completeness marker.
    type: dict
    default: {}
  layout:
    description:
      - How the release sees its files, as P(turnout.ops.layout#filter) says it, kept in the completeness marker for
        whoever runs a command of the release on this host and has nothing else to go by.
    type: dict
    default: {}
  environment:
    description:
      - Text of the color's environment file. Never shown. With C(state=info) what is compared with the file that stands
        in each color.
    type: str
  configuration:
    description:
      - JSON text of what else of the service file is released, as P(turnout.ops.configuration#filter) returns it. Never
        shown, and kept as digests. With C(state=info) it is compared with what stands in each color.
    type: str
  configuration_id:
    description:
      - The configuration's name, six hexadecimal digits. With C(state=restored) that of the candidate that goes.
    type: str
  migrate_environment:
    description: Text of the color's environment file for the migrator; none is kept when it is absent. Never shown.
    type: str
  drop_ins:
    description: Drop-ins of the color's units, as path below C(/etc/systemd/system) to text. No secrets.
    type: dict
    default: {}
  commands:
    description:
      - For C(verified), commands of the release, as P(turnout.ops.command_lines#filter) has them; their programs are
        looked for as those of the units are.
    type: dict
    default: {}
  directories:
    description:
      - The directories of C(service.directories), as P(turnout.ops.shared#filter) has them. C(active) makes those that
        are not there; C(verified) fails where one would cover files of the release; C(info) tells what each is.
    type: list
    elements: dict
    default: []
  user:
    description: The user that runs the service; its group may read the environment file.
    type: str
  confirmed:
    description:
      - The release that the edges last confirmed in O(color). When it stands there now, it is what is kept aside,
        whatever an earlier run left.
    type: str
  confirmed_configuration:
    description: The name of its configuration, absent where the edges know none.
    type: str
  unit_names:
    description: Units to report.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports to report.
    type: list
    elements: int
    default: []
  keep:
    description: How many releases to keep besides those that stand in a color or are kept aside.
    type: int
    default: 5
  keep_ids:
    description: Further releases to keep.
    type: list
    elements: str
    default: []
  root:
    description: Folder that stands for C(/), for tests.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: Reports what would change.
  diff_mode:
    support: full
    description: Shows names and releases, never the content of an environment file.
"""

EXAMPLES = r"""
- name: Lay the release
  turnout.ops.slot:
    state: laid
    service: shop
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    release_id: 1.1.0-0a1b2c3d4e5f
    src: /opt/shop/.staging/shop-1.1.0.tar.zst
    sha256: 0a1b2c3d4e5f...
    manifest: "{{ release_manifest }}"

- name: Stand it in green
  turnout.ops.slot:
    state: active
    service: shop
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    user: shop
    color: green
    release_id: 1.1.0-0a1b2c3d4e5f
    environment: "{{ service | turnout.ops.env_text('green', '1.1.0', inventory_dir) }}"
    configuration: "{{ service | turnout.ops.configuration(inventory_dir) }}"
    configuration_id: a1b2c3
    drop_ins: "{{ service | turnout.ops.drop_ins('green', release_manifest) }}"
"""

RETURN = r"""
colors:
  description:
    - What stands in both colors (state C(info)). C(configuration) tells the name of the configuration there (C(id),
      null where none is on record), the format of that record, and what differs (C(differs), names of keys, null where
      there was nothing to compare).
  returned: state is info
  type: dict
release_id:
  description: The release that now stands in the color, or that was laid.
  returned: state is laid, active, restored or settled
  type: str
configuration:
  description: The name of the configuration that now stands there, null where none is on record.
  returned: state is restored
  type: str
complete:
  description: Whether that release is whole.
  returned: state is ready, laid, active or restored
  type: bool
displaced:
  description: The release that was kept aside, null when the color was empty.
  returned: state is active
  type: str
verified:
  description: Units that systemd has read.
  returned: state is verified
  type: list
  elements: str
staging:
  description: The folder to copy the artifact to.
  returned: state is ready
  type: str
path:
  description: Where the release lies.
  returned: state is laid
  type: str
fenced_by:
  description: The newest run that changed this host, as C(run) and C(fence); null where none is known.
  returned: state is info
  type: dict
commands:
  description: The commands of C(turnout run) that run, with C(id), C(color), C(actor) and the words that may be seen.
  returned: state is info
  type: list
  elements: dict
directories:
  description:
    - Of each directory by its path, whether it C(exists), C(mount) (where its file system is mounted) and
      whether the service's user may write to it (C(writable)).
  returned: state is info
  type: dict
undeclared:
  description: Some names in the service's state folder that no directory of the service file covers.
  returned: state is info
  type: list
  elements: str
changes:
  description: Names of what changed.
  returned: state is active or restored
  type: list
  elements: str
reloaded:
  description: Whether systemd read its units again.
  returned: state is active or restored
  type: bool
removed:
  description: Releases that were removed.
  returned: state is pruned
  type: list
  elements: str
code:
  description: A short word for the failure.
  returned: failure
  type: str
"""

import contextlib
import errno
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.slot_colors import activate, restore, settle
from ansible_collections.turnout.ops.plugins.module_utils.slot_configuration import IDENTITY
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    COLORS,
    RELEASE_ID,
    Places,
    SlotError,
    end,
    fence_library,
    fence_of,
    host_lock,
    remove_temporaries,
)
from ansible_collections.turnout.ops.plugins.module_utils.slot_laying import disk_full, make_laid, make_ready, prune
from ansible_collections.turnout.ops.plugins.module_utils.slot_report import info
from ansible_collections.turnout.ops.plugins.module_utils.slot_verify import verify

SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")


def check_names(params: dict) -> None:
    """Raise `SlotError` for names that could lead to another place: they become paths."""
    if not SERVICE.fullmatch(params["service"]):
        raise SlotError("service-name", repr(params["service"]), "a service's name", "pass service.name")
    if params["configuration_id"] and not IDENTITY.fullmatch(params["configuration_id"]):
        raise SlotError(
            "configuration-id", repr(params["configuration_id"]), "six hexadecimal digits", "pass that of the run"
        )
    names = [params["release_id"], *params["keep_ids"], params["confirmed"]]
    for name in names:
        if name is not None and (not RELEASE_ID.fullmatch(name) or ".." in name):
            raise SlotError("release-id", repr(name), "VERSION-SHA12, such as 1.1.0-0a1b2c3d4e5f", "pass release_id")


def perform(params: dict, *, check: bool) -> dict:
    """Do what `params` asks for and return the module's result."""
    check_names(params)
    places = Places(Path(params["root"]), params["service"])
    state = params["state"]
    if state == "info":
        return info(places, params)
    if state == "verified":
        return verify(places, params)
    fence = fence_of(places, params)
    library = fence_library(places)
    refusals = () if library is None else library.FenceError
    try:
        if check:
            fence.still()
            return act(places, params, fence, check=True)
        fence.check()  # before the wait for the lock, so that an older run that holds it hears of this one
        with host_lock(places):
            result = act(places, params, fence, check=False)
        return result | ({"warnings": fence.notes} if fence.notes else {})
    except refusals as refused:
        raise SlotError(**refused.fields) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(
                places, f"no space for {error.filename or 'a file'}", "room for the whole release"
            ) from None
        raise SlotError(
            "host-files",
            f"{error.filename or places.home}: {error.strerror}",
            "a file system that root can write",
            f"see: ls -ld {places.home} {places.kept}; mount | grep 'ro,'",
        ) from error


def act(places: Places, params: dict, fence, *, check: bool) -> dict:
    """Do what the state asks for.

    What stands in a color is changed while the fence is held: a newer run may start its units at any moment. Laying and
    removing releases may take long; the host's lock keeps newer runs out of these, and no unit can meet them.
    """
    state = params["state"]
    if not check:
        fence.check()
        remove_temporaries(places)
    if state == "laid":
        return make_laid(places, params, fence, check=check)
    if state in ("ready", "pruned"):
        return (make_ready if state == "ready" else prune)(places, params, check=check)
    action = {"active": activate, "restored": restore, "settled": settle}[state]
    with contextlib.nullcontext() if check else fence.held():
        return action(places, params, check=check)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": ["info", "ready", "laid", "verified", "active", "restored", "settled", "pruned"],
            },
            "service": {"type": "str", "required": True},
            "run": {"type": "str"},
            "fence": {"type": "int"},
            "release_id": {"type": "str"},
            "color": {"type": "str", "choices": list(COLORS)},
            "src": {"type": "path"},
            "sha256": {"type": "str"},
            "bytes": {"type": "int", "default": 0},
            "unpacked_bytes": {"type": "int", "default": 0},
            "kind": {"type": "str", "choices": ["tarball", "oci-archive"], "default": "tarball"},
            "manifest": {"type": "dict", "default": {}},
            "layout": {"type": "dict", "default": {}},
            "environment": {"type": "str", "no_log": True},
            "migrate_environment": {"type": "str", "no_log": True},
            "configuration": {"type": "str", "no_log": True},
            "configuration_id": {"type": "str"},
            "drop_ins": {"type": "dict", "default": {}},
            "directories": {"type": "list", "elements": "dict", "default": []},
            "commands": {"type": "dict", "default": {}},
            "user": {"type": "str"},
            "confirmed": {"type": "str"},
            "confirmed_configuration": {"type": "str"},
            "unit_names": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "keep": {"type": "int", "default": 5},
            "keep_ids": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "root": {"type": "path", "default": "/"},
        },
        required_by={"configuration": ["environment"]},
        required_if=[
            ("state", "ready", ["release_id"]),
            ("state", "laid", ["release_id", "sha256"]),
            ("state", "verified", ["release_id", "color"]),
            ("state", "active", ["run", "fence", "release_id", "color", "environment", "user"]),
            ("state", "restored", ["run", "fence", "color"]),
            ("state", "settled", ["run", "fence", "color"]),
            ("state", "pruned", ["run", "fence"]),
        ],
        supports_check_mode=True,
    )
    end(module, lambda: perform(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
