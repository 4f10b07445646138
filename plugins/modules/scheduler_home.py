#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: scheduler_home
short_description: Decide where the scheduler may start
description:
  - Runs on the controller and asks nothing - it decides from what the hosts said. Exactly one scheduler may run, so it
    starts nowhere while its last home is silent.
extends_documentation_fragment: [turnout.ops.decision]
options:
  workers: {description: "The worker hosts, in their order.", type: list, elements: str, required: true}
  answers:
    description: What M(turnout.ops.units) said on each worker host and edge; empty for one that did not answer.
    type: dict
    required: true
  word: {description: "A person's reason, with which O(named) becomes the home.", type: str, default: ""}
  named: {description: The host that a person named., type: str, default: ""}
  takeover_s: {description: "Seconds until another host takes over by itself; 0 for never.", type: int, default: 0}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: See where the scheduler may start
  turnout.ops.scheduler_home:
    workers: "{{ groups['worker'] }}"
    answers: "{{ answers }}"
  run_once: true
"""

RETURN = r"""
home: {description: "The host (empty for none), whether it moved, and why.", returned: success, type: dict}
"""
