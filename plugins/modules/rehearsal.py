#!/usr/bin/python
"""Make the ledger's entry of a rehearsal from what was seen."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearsal
short_description: The ledger's entry of a rehearsal
description:
  - Runs on the controller and asks nothing - it computes from the facts that it is given.
extends_documentation_fragment:
  - turnout.ops.decision
options:
  stages:
    description: How each playbook ended, in their order, with C(name), C(code), C(seconds) and C(cause).
    type: list
    elements: dict
    required: true
  looks:
    description:
      - "By edge, what it said before the first stage and after each: a list of C(shown), from turnout-edge show, and
        C(probe), what its requests came to."
    type: dict
    required: true
  versions: {description: "Versions asked for, by stage.", type: dict, required: true}
  edges: {description: All edges of the inventory., type: list, elements: str, required: true}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Compute the evidence
  turnout.ops.rehearsal:
    stages: [{name: failing, code: 2, seconds: 31.2, cause: "5xx on green"}]
    looks: {edge1: [{shown: "{{ before }}", probe: {sent: 0, lost: 0}}]}
    versions: {failing: 1.2.0, good: 1.1.0}
    edges: [edge1]
"""

RETURN = r"""
entry: {description: "The entry, with verdict and causes.", returned: always, type: dict}
lines: {description: The same for a person., returned: always, type: list, elements: str}
"""
