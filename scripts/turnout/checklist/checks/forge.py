"""What the forge says of the release's commit and of the branches. Runs on the controller."""

from __future__ import annotations

import time
from collections.abc import Iterator

from turnout.checklist.config import Checklist
from turnout.checklist.config import Forge as ForgeConfig
from turnout.checklist.engine import Task
from turnout.checklist.model import Result, Situation, Verdict
from turnout.counts import counted
from turnout.forge.contexts import needs
from turnout.forge.model import Forge, State
from turnout.forge.open import open_forge
from turnout.forge.required import lacking, required, wanted_policy


def connect(config: Checklist, forge: ForgeConfig, check: str) -> Forge:
    """Return the forge, each of its requests bounded below the check's own limit."""
    limit_s = config.limit_of(check) * 0.8
    return open_forge(forge.kind, forge.url, forge.repository, forge.token, limit_s=limit_s, ca_file=forge.ca_file)


def tasks(config: Checklist, situation: Situation) -> Iterator[Task]:
    """Yield the checks that ask the forge."""
    forge = config.forge
    if forge is None:
        return
    commit = str(situation.manifest.get("commit"))
    yield Task("ci", config.limit_of("ci"), lambda: _ci(connect(config, forge, "ci"), forge, commit))
    for branch in forge.branches:
        yield Task(
            "branch-policy",
            config.limit_of("branch-policy"),
            lambda branch=branch: [_policy(connect(config, forge, "branch-policy"), forge, branch)],  # type: ignore[misc]
            branch,
        )


_VERDICTS = {State.PASSED: Verdict.PASS, State.PENDING: Verdict.UNKNOWN}


def _ci(forge: Forge, config: ForgeConfig, commit: str) -> list[Result]:
    """Judge each required check: pending is not known yet; failed, skipped and missing are failures."""
    now_s = time.time()
    rows = []
    for check in required(config.required, forge.checks(commit)):
        verdict = _VERDICTS.get(check.state, Verdict.FAIL)
        evidence = f"{check.state.value} for commit {commit[:12]}"
        evidence += f" ({check.said})" if check.said and check.said != check.state.value else ""
        remedy = {
            State.PENDING: "wait until it has ended",
            State.MISSING: "let CI run it for this commit, or correct checklist.forge.required",
            State.SKIPPED: "let CI run it: a check that was skipped has looked at nothing",
        }.get(check.state, f"mend it and release another commit {check.url}".strip())
        at_s = check.at.timestamp() if check.at else now_s
        rows.append(Result("ci", verdict, evidence, "" if verdict is Verdict.PASS else remedy, check.name, at_s))
    return rows


def _policy(forge: Forge, config: ForgeConfig, branch: str) -> Result:
    found = forge.policy(branch)
    lacks = needs(forge, branch, config.required, found).lacks if found else lacking(None, wanted_policy(()))
    now_s = time.time()
    if lacks or found is None:
        remedy = "ansible-playbook turnout.ops.forge_policy --check --diff, then without --check"
        return Result("branch-policy", Verdict.FAIL, "; ".join(lacks), remedy, branch, now_s)
    approvals, checks = counted(found.approvals, "approval"), counted(len(found.contexts), "check")
    evidence = f"pull request, {approvals}, stale ones dismissed, {checks} required"
    if found.bypass:
        evidence += f"; may pass it over: {', '.join(found.bypass)}"
    return Result("branch-policy", Verdict.PASS, evidence, "", branch, now_s)
