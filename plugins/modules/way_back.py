#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: way_back
short_description: Decide what a rollback may do to the processes of the hosts
description:
  - Runs on the controller and asks nothing - it decides from what the edges said. Nothing is stopped that an edge may
    still use; an edge that did not answer counts as serving.
extends_documentation_fragment: [turnout.ops.decision]
options:
  edges:
    description: What C(turnout-edge rollback) said on each edge; empty for one that did not answer.
    type: dict
    required: true
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: See from the edges' answers what may be stopped
  turnout.ops.way_back:
    edges: "{{ answers }}"
  run_once: true
"""

RETURN = r"""
plan: {description: "The colors to run in and to leave, and what may be stopped.", returned: success, type: dict}
"""
