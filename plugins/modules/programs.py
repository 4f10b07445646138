#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: programs
short_description: Say which hosts have programs of an older or a newer Turnout
description:
  - Runs on the controller and asks nothing - it compares what M(turnout.ops.laid) found on hosts with the version of
    this collection. Other versions are told, with the command that brings them up, and stop nothing.
extends_documentation_fragment: [turnout.ops.decision]
options:
  laid:
    description: What M(turnout.ops.laid) found on each host; empty for one that did not answer.
    type: dict
    required: true
  refuse:
    description: Whether to fail where this Turnout cannot work with what is there - by its protocol or its records.
    type: bool
    default: false
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Compare the programs of the hosts with this version
  turnout.ops.programs:
    laid: {edge1: "{{ hostvars.edge1.seen }}"}
  run_once: true
"""

RETURN = r"""
own: {description: The version of this collection., returned: success, type: str}
hosts: {description: Version and protocol of each host's programs., returned: success, type: dict}
notes: {description: "What is to be told, a line each; none where all is of this version.", returned: success,
  type: list, elements: str}
"""
