#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: child
short_description: Run another playbook to its end, and tell how it ended
description:
  - Runs it on the controller with the connection options and the variables of this command line, as a run of its own.
  - A playbook that fails is an answer, not a failure of this task.
options:
  name: {description: What this one is called; names the file of its output., type: str, required: true}
  playbook: {description: The playbook's file., type: path, required: true}
  extra: {description: Further variables for it., type: dict, default: {}}
  folder: {description: This run's folder on the controller., type: path, required: true}
  limit_s: {description: Seconds after which it is ended., type: float, default: 3600}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: The playbook shows its own.}
"""

EXAMPLES = r"""
- name: Release the version that fails
  turnout.ops.child:
    name: rehearsal-failing
    playbook: "{{ playbook_dir }}/deploy.yml"
    extra: {release: 1.2.0}
    folder: "{{ run_folder }}"
"""

RETURN = r"""
code: {description: "The playbook's exit code, 124 where it took too long.", returned: success, type: int}
seconds: {description: How long it took., returned: success, type: float}
cause: {description: The first cause that it gave on one line; empty for none., returned: success, type: str}
log: {description: File of its output on the controller., returned: success, type: str}
"""
