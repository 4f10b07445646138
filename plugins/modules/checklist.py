#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: judge what hosts and controller saw, and show the checklist as one table."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: checklist
short_description: Judge the evidence of the checklist
description:
  - Runs on the controller, asks nothing, and never fails for what it found - the task after it does.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
  - turnout.ops.service.evidence
  - turnout.ops.decision
options:
  seen:
    description: What M(turnout.ops.look) returned on each host; localhost carries the controller's own results.
    type: dict
    required: true
  format: {description: Table for a person or one JSON object., type: str, choices: [table, json], default: table}
  keep: {description: File on the controller that gets the JSON object., type: path}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Judge what was seen
  turnout.ops.checklist:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    manifest: "{{ release_manifest }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
    salt: "{{ checklist_salt }}"
    seen: "{{ seen }}"
  delegate_to: localhost
"""

RETURN = r"""
report: {description: The table or the JSON text., returned: success, type: str}
passed: {description: Whether the release may begin., returned: success, type: bool}
causes: {description: "What stops it, one line each.", returned: success, type: str}
waivers: {description: "Waivers that let something pass, each with what it covered.", returned: success, type: list,
  elements: dict}
"""
