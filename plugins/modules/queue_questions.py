#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_questions
short_description: What a host asks Redis to see how the service's queues stand
description:
  - Reads the checklist on the controller and asks nobody. What it returns holds Redis's address, a secret.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
  - turnout.ops.decision
options:
  groups: {description: The inventory's groups., type: dict, required: true}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: See which queues are looked at
  turnout.ops.queue_questions:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
  register: asked
  no_log: true
"""

RETURN = r"""
queues: {description: "Of each queue in Redis, by name, C(arguments) and C(limits).", returned: success, type: dict}
"""
