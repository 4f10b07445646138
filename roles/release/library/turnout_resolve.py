#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Fetches a release from its store and verifies it, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: turnout_resolve
short_description: Fetch a release and verify its signature, its checksum and its fitness
description:
  - Runs on the controller (C(delegate_to) localhost), with the Python that has the package C(turnout).
  - The manifest's signature is verified before anything in it is believed; the artifact's size and sha256 are
    verified on every call, also when it comes from the cache.
  - Fails with all faults when the release does not fit the service (another name, environment keys that the
    service file lacks, migrations without migrate commands).
version_added: "0.1.0"
author: Turnout
options:
  service:
    description: The variable C(service) as one JSON text, C({{ service | to_json }}). Never shown.
    type: str
    required: true
  release:
    description: The version to fetch.
    type: str
    required: true
  inventory_dir:
    description: The folder from which relative paths in the service file are taken.
    type: path
    required: true
  cache_dir:
    description: Where fetched files are kept on the controller. By default C($XDG_CACHE_HOME/turnout/releases).
    type: path
attributes:
  check_mode:
    support: full
    description: The release is fetched and verified all the same; only the cache is written.
  diff_mode:
    support: none
    description: The cache is no state worth a diff.
"""

EXAMPLES = r"""
- name: Fetch and verify the release
  turnout_resolve:
    service: "{{ service | to_json }}"
    release: "1.1.0"
    inventory_dir: "{{ inventory_dir }}"
  delegate_to: localhost
  run_once: true
  register: release_resolved
"""

RETURN = r"""
manifest:
  description: The release's manifest.
  returned: success
  type: dict
release_id:
  description: What the release is called on a host, VERSION-SHA12.
  returned: success
  type: str
artifact:
  description: Path of the verified artifact on the controller.
  returned: success
  type: str
manifest_path:
  description: Path of the manifest on the controller.
  returned: success
  type: str
signature_path:
  description: Path of the signature on the controller.
  returned: success
  type: str
signer:
  description: Who signed, with principal and fingerprint.
  returned: success
  type: dict
faults:
  description: Why the release does not fit the service, each with path, observed, expected and remedy.
  returned: failure
  type: list
  elements: dict
code:
  description: A short word for the failure, such as release-unknown or signature-wrong.
  returned: failure
  type: str
"""

import json
import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from turnout.errors import TurnoutError
    from turnout.faults import FaultsError
    from turnout.release.resolve import default_cache_dir, resolve
    from turnout.release.store import store_of
    from turnout.service import load

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def read_service(text):
    """Return the mapping behind the parameter `service`."""
    try:
        return json.loads(text)
    except ValueError:
        raise TurnoutError(
            "service-not-json",
            observed="the parameter `service` is no JSON",
            expected='service: "{{ service | to_json }}"',
            remedy="pass the variable through the filter to_json",
        ) from None


def perform(params):
    """Fetch and verify, and return the module's result or raise `TurnoutError`."""
    service = load(read_service(params["service"]), base_dir=Path(params["inventory_dir"]))
    cache_dir = Path(params["cache_dir"]) if params["cache_dir"] else default_cache_dir()
    found = resolve(
        service.name,
        params["release"],
        store_of(service.releases),
        service.releases.allowed_signers,
        cache_dir,
    )
    faults = found.manifest.check_against(service)
    if faults:
        raise FaultsError("release-unfit", f"release {found.manifest.version} for this service", faults)
    return {
        "changed": found.downloaded,
        "manifest": found.manifest.as_dict(),
        "release_id": found.manifest.release_id,
        "artifact": str(found.artifact_path),
        "manifest_path": str(found.manifest_path),
        "signature_path": str(found.signature_path),
        "signer": found.signer.as_dict(),
    }


def main():
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True, "no_log": True},
            "release": {"type": "str", "required": True},
            "inventory_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("turnout"), exception=IMPORT_ERROR)
    try:
        module.exit_json(**perform(module.params))
    except TurnoutError as error:
        faults = [fault.as_dict() for fault in getattr(error, "faults", ())]
        module.fail_json(msg=str(error), faults=faults, **error.as_dict())


if __name__ == "__main__":
    main()
