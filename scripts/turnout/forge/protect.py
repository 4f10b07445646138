"""Protect the branches that `checklist.forge` names, as the checklist asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnout.checklist import config as checklist_config
from turnout.checklist.checks.forge import connect
from turnout.errors import TurnoutError
from turnout.forge.contexts import Needs, needs
from turnout.forge.required import lacking, merged
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
    lacked: dict[str, list[str]] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    goals = {}
    # All are read before any is set, so that a wrong repository, token or name changes nothing.
    for branch in config.forge.branches:
        policy = forge.policy(branch)
        found = needs(forge, branch, config.forge.required, policy)
        if found.unknown:
            raise _unknown(branch, found)
        lacked[branch] = found.lacks
        before[branch] = policy.as_dict() if policy else "not protected"
        goals[branch] = merged(found.found, found.wanted, exact=True) if found.lacks or policy is None else policy
        after[branch] = goals[branch].as_dict()
    for branch, goal in goals.items():
        if dry_run or not lacked[branch]:
            continue
        forge.set_policy(branch, goal)
        still = lacking(forge.policy(branch), goal, exact=True)
        if still:
            raise TurnoutError(
                "forge-policy-not-taken",
                observed=f"{branch} was set and still lacks: {'; '.join(still)}",
                expected="a branch that is protected as it was set",
                remedy="see whether another rule matches the branch, and what the token may do",
            )
    return lacked, before, after


def _unknown(branch: str, found: Needs) -> TurnoutError:
    why = "; ".join(f"nothing reported {name}{late}" for name, late in found.unknown.items())
    seen = ", ".join(found.reported) or "no check"
    return TurnoutError(
        "forge-context-unknown",
        observed=f"{branch}: {why}; its last pull requests and commits reported {seen}",
        expected="names of checks that CI reports for pull requests: a merge that waits for another waits for ever",
        remedy=f"correct checklist.forge.required, or let CI run for a pull request into {branch}; "
        "then ansible-playbook turnout.ops.forge_policy",
    )
