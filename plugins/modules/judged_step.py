#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: judged_step
short_description: Hold a judged share on an edge until the judge has decided
description:
  - Runs M(turnout.ops.guard) on the edge and waits on the controller for the judge's decision. Where either says so it
    puts the edge back by one command over the connection that is open already, and fails with the reason.
  - It runs once for every edge. When one edge goes back, the others follow.
extends_documentation_fragment:
  - turnout.ops.run
  - turnout.ops.run.actor
options:
  folder: {description: The run's folder on the controller., type: path, required: true}
  color: {description: The candidate's color., type: str, choices: [blue, green], required: true}
  share_bp: {description: "The candidate's share in basis points, 0 to 10000.", type: int, required: true}
  longest_s: {description: Seconds after which the guard ends in any case., type: float, required: true}
  guard:
    description: C(max_5xx_ratio) and C(min_5xx) of M(turnout.ops.guard).
    type: dict
    required: true
  poll_s: {description: Seconds between two looks of the guard., type: float, required: true}
  shows: {description: Whether this edge's task prints what the judge tells people., type: bool, required: true}
  probes:
    description:
      - Synthetic requests through this edge to both colors - C(per_s) a second, C(url), C(validate_certs), and
        C(requests) as JSON text. None with C(per_s) 0.
    type: dict
    required: true
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: The program on the edge keeps the record.}
"""

EXAMPLES = r"""
- name: Judge it at 5 %
  turnout.ops.judged_step:
    run: "{{ run_id }}"
    actor: "{{ run_actor }}"
    folder: "{{ run_folder }}"
    color: green
    share_bp: 500
    longest_s: 1800
    guard: {max_5xx_ratio: 0.05, min_5xx: 5}
    poll_s: 0.5
    shows: true
    probes: {per_s: 0}
"""

RETURN = r"""
decision: {description: "What was decided: action, share_bp and why.", returned: always, type: dict}
message: {description: "The decision, for a person.", returned: success, type: str}
"""
