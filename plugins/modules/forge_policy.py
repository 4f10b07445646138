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
    service: "{{ service | to_json }}"
    checklist: "{{ checklist | to_json }}"
    inventory_dir: "{{ inventory_dir }}"
  delegate_to: localhost
"""

RETURN = r"""
lacked: {description: "For each branch, what it lacked.", returned: success, type: dict}
"""

import json
from pathlib import Path

import yaml
from ansible.module_utils.basic import AnsibleModule
from turnout.checklist import config as checklist_config
from turnout.checklist.checks.forge import connect
from turnout.errors import TurnoutError
from turnout.forge.required import lacking, merged, wanted_policy
from turnout.service import load


def protect(params, *, dry_run):
    """Return (what each branch lacked, policies before, policies after). Raises TurnoutError."""
    base_dir = Path(params["inventory_dir"])
    service = load(json.loads(params["service"]), base_dir=base_dir)
    config = checklist_config.load(json.loads(params["checklist"]), service=service, base_dir=base_dir)
    if config.forge is None:
        raise TurnoutError(
            "forge-not-configured",
            observed="checklist.forge is not set",
            expected="the forge, the repository and a token that may protect branches",
            remedy="set checklist.forge: {kind: gitea, url: https://HOST, repository: team/shop, token: ...}",
        )
    forge = connect(config, config.forge, "branch-policy")
    wanted = wanted_policy(config.forge.required)
    lacked, before, after = {}, {}, {}
    # All are read before any is set, so that a wrong repository or token changes nothing.
    found = {branch: forge.policy(branch) for branch in config.forge.branches}
    for branch, policy in found.items():
        lacked[branch] = lacking(policy, wanted)
        before[branch] = policy.as_dict() if policy else "not protected"
        goal = merged(policy, wanted) if lacked[branch] else policy
        after[branch] = goal.as_dict()
        if not lacked[branch] or dry_run:
            continue
        forge.set_policy(branch, goal)
        still = lacking(forge.policy(branch), wanted)
        if still:
            raise TurnoutError(
                "forge-policy-not-taken",
                observed=f"{branch} was set and still lacks: {'; '.join(still)}",
                expected="a branch that is protected as it was set",
                remedy="see whether another rule matches the branch, and what the token may do",
            )
    return lacked, before, after


def main():
    """Protect, and show what changed."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True, "no_log": True},
            "checklist": {"type": "str", "required": True, "no_log": True},
            "inventory_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        lacked, before, after = protect(module.params, dry_run=module.check_mode)
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())
    diff = {"before": yaml.safe_dump(before, sort_keys=True), "after": yaml.safe_dump(after, sort_keys=True)}
    told = "\n".join(f"{branch}: {'; '.join(lacks) or 'as it should be'}" for branch, lacks in lacked.items())
    module.exit_json(changed=any(lacked.values()), lacked=lacked, diff=diff, message=told)


if __name__ == "__main__":
    main()
