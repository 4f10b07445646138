"""Protect the branches that `checklist.forge` names, as the checklist asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnout.checklist import config as checklist_config
from turnout.checklist.checks.forge import connect
from turnout.errors import TurnoutError
from turnout.forge.required import lacking, merged, wanted_policy
from turnout.service import load


def protect(params: Mapping[str, Any], *, dry_run: bool) -> tuple[dict[str, list[str]], dict[str, Any], dict[str, Any]]:
    """Return what each branch lacked, the policies before, and those after.

    `params` holds `service` and `checklist` as JSON, and `inventory_dir`. Raises TurnoutError.
    """
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
    lacked: dict[str, list[str]] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    # All are read before any is set, so that a wrong repository or token changes nothing.
    found = {branch: forge.policy(branch) for branch in config.forge.branches}
    for branch, policy in found.items():
        lacked[branch] = lacking(policy, wanted)
        before[branch] = policy.as_dict() if policy else "not protected"
        if policy is not None and not lacked[branch]:
            after[branch] = policy.as_dict()
            continue
        goal = merged(policy, wanted)
        after[branch] = goal.as_dict()
        if dry_run:
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
