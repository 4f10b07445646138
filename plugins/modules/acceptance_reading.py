#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: ask what only reads of a candidate through an edge."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: acceptance_reading
short_description: Ask what only reads of a candidate through an edge
description:
  - Asks the acceptance packs' GET and HEAD requests from the controller, over an SSH forward to the edge itself, with
    the header that leads to the candidate. What is not known is told, and stops nothing.
  - The edge must be reached by ssh with a key.
options:
  address: {description: Where the edge reaches itself., type: str, required: true}
  verify: {description: Whether an https address must have a valid certificate., type: bool, default: true}
  color: {description: "The candidate's color.", type: str, required: true, choices: [blue, green]}
  host: {description: Host header of every request; by default the address's own., type: str, default: ""}
  packs_folder: {description: Folder with C(acceptance/) on the controller., type: path, required: true}
  packs: {description: Packs to ask; none for all., type: list, elements: str, default: []}
  document: {description: OpenAPI document of the release in service; empty for none., type: str, default: ""}
  seconds: {description: Seconds that it may ask., type: float, required: true}
  folder: {description: Folder on the controller for what was found., type: path, required: true}
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: There is nothing to show.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Ask what only reads
  turnout.ops.acceptance_reading:
    address: http://127.0.0.1
    color: green
    packs_folder: "{{ run_folder }}/acceptance/release"
    seconds: 20
    folder: "{{ run_folder }}/acceptance/{{ inventory_hostname }}"
"""

RETURN = r"""
findings: {description: "What was found, one sentence each.", returned: success, type: list, elements: str}
said: {description: "What a person is told.", returned: success, type: list, elements: str}
evidence: {description: File on the controller with the outcome., returned: success, type: str}
"""
