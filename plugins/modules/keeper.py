#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keeper
short_description: Start the keeper of a run, and tell it how far the run is
description:
  - Without O(state) it writes the keeper's plan into the run's folder and starts C(python -m turnout.keeper) on the
    controller, in a session of its own. With O(state) it leaves word for it.
  - Refused for a command line that asks for passwords, since an automatic put-back has nobody to ask.
extends_documentation_fragment: [turnout.ops.run]
options:
  folder: {description: The run's folder on the controller., type: path, required: true}
  state:
    description:
      - C(taken) says that the run holds the lock on every edge.
      - C(committed) says that every edge has confirmed.
      - C(releasing) says that the lock is about to be given back.
      - C(released) says that every edge has it back, and that the run is at its end.
    type: str
    choices: [taken, committed, releasing, released]
  playbook: {description: "Without O(state): the playbook that puts everything back.", type: path}
  beat_s: {description: "Without O(state): seconds between two beats.", type: float}
  lease_s: {description: "Without O(state): seconds that an edge's lease lasts.", type: float}
  ttl_s: {description: "Without O(state): seconds without a beat after which the lock may be taken.", type: float}
  edges: {description: "Without O(state): the edges of the inventory.", type: list, elements: str}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: It changes nothing on hosts.}
"""

EXAMPLES = r"""
- name: Start the keeper
  turnout.ops.keeper:
    run: "{{ run_id }}"
    folder: "{{ run_folder }}"
    playbook: "{{ playbook_dir }}/rollback.yml"
    beat_s: 2
    lease_s: 10
    ttl_s: 60
    edges: "{{ groups['edge'] }}"
  run_once: true
"""

RETURN = r"""
keeper_pid: {description: The keeper's process on the controller., returned: without O(state), type: int}
playbook_pid: {description: The playbook's process on the controller., returned: without O(state), type: int}
"""
