#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Runs a command of a release as a step of it in its color on this host, or undoes those that ran."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: step
short_description: Run a command as a step of a release, or undo those that ran
description:
  - Runs a command of C(service.commands) as a transient unit with the environment, the user and the isolation of the
    API in its color, as P(turnout.ops.command#module) does, and waits for its end. Its output is kept on the host.
  - What began is on record there with the words that undo it, so that a way back needs no service file.
  - A run that was overtaken by a newer one begins nothing here any more (error code C(fence)).
extends_documentation_fragment:
  - turnout.ops.run
options:
  state:
    description:
      - C(ran) runs O(words). Where it fails, its last lines without secrets are told (error code C(command-failed)).
      - C(undone) undoes what ran in O(color), the last first, and forgets it. What could not be undone is told, and
        fails nothing.
    type: str
    default: ran
    choices: [ran, undone]
  service: {description: The service's name., type: str, required: true}
  fence: {description: "The run's number, which the edges gave with the lock.", type: int, required: true}
  color: {description: The color of the release., type: str, required: true, choices: [blue, green]}
  release_id:
    description: The release that stands there; with C(undone) what another one left stays as it is.
    type: str
  name: {description: How the command is called; needed for C(ran)., type: str}
  words: {description: Its words as P(turnout.ops.argv#filter) has them; needed for C(ran)., type: list, elements: str}
  undo: {description: The words that undo it; none where nothing does., type: list, elements: str, default: []}
  timeout_s: {description: Seconds that each of them may take., type: int, default: 300}
  resume:
    description: Whether a command that ended well for this release before is not run again.
    type: bool
    default: false
  may_fail: {description: Whether a failure is only told., type: bool, default: false}
  actor: {description: Who runs it., type: str, default: unknown}
  host: {description: How the inventory calls this host., type: str, required: true}
  root: {description: "Folder that stands for C(/), for tests.", type: path, default: /}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: partial, description: C(undone) says what it would undo; C(ran) is skipped.}
  diff_mode: {support: none, description: There is nothing to show.}
"""

EXAMPLES = r"""
- name: Warm the cache
  turnout.ops.step:
    service: shop
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    color: green
    release_id: 1.1.0-0a1b2c3d4e5f
    name: warm the cache
    words: [bin/manage, warm]
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
id: {description: The command's id., returned: it ran, type: str}
seconds: {description: Seconds that it took., returned: it ran, type: float}
undone: {description: Names of what was undone., returned: state is undone, type: list, elements: str}
told: {description: "Failures that fail nothing, for a person.", returned: success, type: list, elements: str}
code: {description: A short word for the failure., returned: failure, type: str}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    Places,
    SlotError,
    command_library,
    end,
    fence_library,
    host_module,
    needed,
)


def perform(params: dict, *, check: bool) -> dict:
    """Do what the state asks for and return the module's result."""
    places = Places(Path(params["root"]), params["service"])
    fences, commands = fence_library(places), command_library(places)
    if params["state"] == "undone" and host_module(places, "steps") is None:  # then none ran here
        return {"changed": False, "undone": [], "told": []}
    steps = needed(places, "steps", "the program that runs the commands of a release")
    try:
        fence = fences.Fence(params["service"], params["run"], params["fence"], str(places.root))
        if params["state"] == "undone":
            return steps.undo({**params, "check": check}, fence, str(places.root))
        if check:
            return {"changed": True, "told": []}
        try:
            return {"told": [], **steps.run(params, fence, str(places.root))}
        except commands.CommandError as failed:
            if not params["may_fail"]:
                raise
            return {"changed": True, "told": [SlotError(**failed.fields).message()]}
    except (commands.CommandError, fences.FenceError) as refused:
        raise SlotError(**refused.fields) from None
    except OSError as error:
        raise SlotError(
            "host-files",
            f"{error.filename}: {error.strerror}",
            "files that root can write",
            f"see: ls -ld {error.filename}; df -h {places.kept}",
        ) from None


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "default": "ran", "choices": ["ran", "undone"]},
            "service": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "fence": {"type": "int", "required": True},
            "color": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "release_id": {"type": "str"},
            "name": {"type": "str"},
            "words": {"type": "list", "elements": "str"},
            "undo": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "int", "default": 300},
            "resume": {"type": "bool", "default": False},
            "may_fail": {"type": "bool", "default": False},
            "actor": {"type": "str", "default": "unknown"},
            "host": {"type": "str", "required": True},
            "root": {"type": "path", "default": "/"},
        },
        required_if=[("state", "ran", ["release_id", "name", "words"])],
        supports_check_mode=True,
    )
    end(module, lambda: perform(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
