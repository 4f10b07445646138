#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dead_letters
short_description: List, show, replay or drop dead letters of the service's queues
description:
  - Makes a question of a playbook's variables, has M(turnout.ops.dead_letters_here) ask it on this host, and says what
    came of it. Queues are those of C(checklist.queues).
  - Fails where a queue could not be asked, a selection meets nothing, or a replay was stopped by jobs that failed
    again.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
options:
  groups: {description: The inventory's groups., type: dict, required: true}
  given:
    description:
      - What is asked for as text - C(do), C(queue), C(group), C(ids), C(older_s), C(newer_s), C(everything), C(reason),
        C(rate), C(batch), C(stop_at), C(settle_s), C(limit_s), C(max_delay_s), C(most), C(sets).
    type: dict
    required: true
  act:
    description: Whether a replay or a drop is done; without it they are looked at, and nothing is changed.
    type: bool
    default: false
  format: {description: Lines for a person or one JSON object., type: str, choices: [table, json], default: table}
attributes:
  check_mode: {support: full, description: Counts what would be replayed or dropped.}
  diff_mode: {support: none, description: Payloads may be private.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Group the dead letters
  turnout.ops.dead_letters:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
    given: {do: list}
"""

RETURN = r"""
told: {description: For each queue its groups and counts., returned: success, type: dict}
entry: {description: What the ledger keeps of it., returned: success, type: dict}
changes: {description: Whether jobs are to be moved or deleted., returned: success, type: bool}
report: {description: Lines for a person or JSON text., returned: where it is to be shown, type: str}
"""
