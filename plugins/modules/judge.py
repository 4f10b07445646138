#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: judge
short_description: Start the judge of a release on the controller, tell it what moves, and end it
description:
  - Starts C(python -m turnout.judge.process) in a session of its own before any share moves, and waits until it sees
    everything that the release is judged by. Fails with what it cannot see.
extends_documentation_fragment: [turnout.ops.run]
options:
  state:
    description: "C(begun): it begins. C(moving): the edges are about to get C(share_bp). C(ended): it ends."
    type: str
    choices: [begun, moving, ended]
    default: begun
  share_bp: {description: "For C(moving): the candidate's next share in basis points, 1 to 10000.", type: int}
  run: {description: "Id of the run; required for C(begun).", type: str}
  folder: {description: The run's folder on the controller., type: path, required: true}
  service: {description: "For C(begun): the service with its defaults and without secrets.", type: dict}
  stable: {description: "For C(begun): the color in service.", type: str, choices: [blue, green]}
  candidate: {description: "For C(begun): the color of the candidate.", type: str, choices: [blue, green]}
  since_s:
    description: When the release in service was confirmed, in seconds since the epoch; 0 where nobody knows.
    type: float
    default: 0.0
  release: {description: "Version of the release and its configuration, for the report.", type: str}
  differs:
    description: Keys of the service file by which the configuration in service differs, for the report.
    type: list
    elements: str
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: It changes nothing on hosts.}
"""

EXAMPLES = r"""
- name: See everything that the release is judged by
  turnout.ops.judge:
    run: "{{ run_id }}"
    folder: "{{ run_folder }}"
    service: "{{ release_service }}"
    stable: blue
    candidate: green
"""

RETURN = r"""
notes: {description: "What judges, for a person.", returned: for C(begun), type: list, elements: str}
share:
  description: "What the requests said of the candidate's share, in one line; C(-) where that was not asked for."
  returned: for C(ended)
  type: str
judge_pid: {description: The judge's process on the controller., returned: for C(begun), type: int}
"""
