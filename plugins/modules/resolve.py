#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Fetches a release from its store and verifies it, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: resolve
short_description: Fetch a release and verify its signature, its checksum and its fitness
description:
  - Runs on the controller (C(delegate_to) localhost), with the Python that has the package C(turnout).
  - The manifest's signature is verified before anything in it is believed; the artifact's size and sha256 are
    verified on every call, also when it comes from the cache.
  - Fails with all faults when the release does not fit the service (another name, environment keys that the
    service file lacks, migrations without migrate commands).
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
extends_documentation_fragment:
  - turnout.ops.service
options:
  release:
    description: The version to fetch.
    type: str
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
  turnout.ops.resolve:
    service: "{{ service | turnout.ops.service_json }}"
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
