#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module, on the controller: from what a drill measured to its record."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drill_record
short_description: From what a drill measured to its record
description:
  - Computes RPO, RTO and verdict (see C(turnout.drill)), and the table that a person reads.
options:
  measured:
    description: What the drill host returned, as JSON text; empty where it was lost.
    type: str
    required: true
  id:
    description: Name of the drill.
    type: str
    required: true
  mode:
    description: Its mode.
    type: str
    required: true
  detect_s:
    description: Declared seconds until a failure is noticed.
    type: float
    required: true
  decide_s:
    description: Declared seconds until a restore is decided.
    type: float
    required: true
  rpo_target_s:
    description: Seconds of data that may be lost; what measured more fails.
    type: float
  rto_target_s:
    description: Seconds until the service answers again; what measured more fails.
    type: float
  lost:
    description: What is known of a drill host that returned nothing.
    type: str
    default: ""
  earlier:
    description: Records of other drills that nobody has entered into the ledger, as JSON text.
    type: str
    default: "[]"
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Compute the record
  turnout.ops.drill_record:
    measured: "{{ drill_ran.measured | to_json }}"
    id: 20260131t030000
    mode: latest
    detect_s: 60
    decide_s: 120
  delegate_to: localhost
"""

RETURN = r"""
record:
  description: The record, as the ledger takes it.
  returned: always
  type: dict
earlier:
  description: The records of the other drills.
  returned: always
  type: list
  elements: dict
lines:
  description: The table.
  returned: always
  type: list
  elements: str
"""
