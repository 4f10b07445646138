#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: ask a release its acceptance packs in a cage on a drill host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: acceptance
short_description: Ask a release its acceptance packs in a cage on a drill host
description:
  - Has C(turnout-drill) restore the latest backup, apply the release's migrations and start its API and workers in the
    cage, asks the packs from the controller over an SSH forward, and has all of it removed. Where this action dies, the
    cage ends by itself.
  - The host must be reached by ssh with a key.
options:
  plan: {description: The plan of the restore as JSON text. It holds secrets., type: str, required: true}
  release: {description: Version of the release., type: str, required: true}
  sha256: {description: Checksum of its artifact., type: str, required: true}
  manifest: {description: File of its manifest on the controller., type: path, required: true}
  packs_folder: {description: Folder with C(acceptance/) on the controller., type: path, required: true}
  packs: {description: Packs to ask; none for all., type: list, elements: str, default: []}
  document: {description: OpenAPI document of the release in service; empty for none., type: str, default: ""}
  seconds: {description: Seconds that asking may take., type: float, required: true}
  keep_s: {description: Seconds that the cage stays after a finding., type: float, default: 0}
  host: {description: Host header of every request; by default the address's own., type: str, default: ""}
  folder: {description: Folder on the controller for the evidence., type: path, required: true}
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: There is nothing to show.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Ask
  turnout.ops.acceptance:
    plan: "{{ plan | to_json }}"
    release: 1.5.0
    sha256: "{{ release_manifest.artifact.sha256 }}"
    manifest: "{{ release_manifest_path }}"
    packs_folder: "{{ run_folder }}/acceptance/release"
    seconds: 300
    folder: "{{ run_folder }}/acceptance"
"""

RETURN = r"""
record: {description: The entry for the edges' ledger., returned: success, type: dict}
said: {description: "What was found, as a person reads it.", returned: success, type: list, elements: str}
evidence: {description: File on the controller with all that was found and measured., returned: success, type: str}
"""
