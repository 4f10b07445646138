#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: protect branches on GitHub, Gitea or Forgejo as the checklist wants them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: forge_policy
short_description: Protect branches as the checklist wants them
description:
  - Runs on the controller. Each branch gets what it lacks - a pull request with one approval, stale approvals
    dismissed, every required check, administrators included. What is stricter already stays.
  - Checks are required as pull requests and commits reported them; a name that nothing reported is refused.
  - Every branch is read back after it was set.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: full, description: Tells what would be set and sets nothing.}
  diff_mode: {support: full, description: Shows each branch's policy before and after.}
"""

EXAMPLES = r"""
- name: Protect the branches
  turnout.ops.forge_policy:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    inventory_dir: "{{ inventory_dir }}"
  delegate_to: localhost
"""

RETURN = r"""
lacked: {description: "For each branch, what it lacked.", returned: success, type: dict}
"""
