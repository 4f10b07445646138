#!/usr/bin/python
"""Put what edges and hosts said into one table, or into one JSON object."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: One table of how a service stands
description:
  - Runs on the controller and asks nothing - it shows the facts that it is given.
extends_documentation_fragment:
  - turnout.ops.decision
options:
  edges:
    description: What C(turnout-edge show) said on each edge; null for one that did not answer.
    type: dict
    required: true
  hosts:
    description: What M(turnout.ops.slot) said on each host; null for one that did not answer.
    type: dict
    required: true
  programs:
    description: What M(turnout.ops.programs) returned; its versions and notes are shown.
    type: dict
    default: {}
  format: {description: Table for a person or one JSON object., type: str, choices: [table, json], default: table}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Show how the service stands
  turnout.ops.status:
    edges: {edge1: "{{ seen }}"}
    hosts: {}
"""

RETURN = r"""
report: {description: The table or the JSON text., returned: always, type: str}
status: {description: The same as data., returned: always, type: dict}
"""
