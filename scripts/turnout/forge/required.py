"""Judging what a forge said: required checks of a commit, and the policy of a branch. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from turnout.counts import counted
from turnout.forge.model import CommitCheck, Policy, State

_ACTIONS = re.compile(r".+ / .+ \(([a-z_]+)\)")
"""A job of Gitea's Actions: `workflow / job (event)`."""


def matching(name: str, checks: Sequence[CommitCheck]) -> list[CommitCheck]:
    """Return the checks that a required name means: that name, or a pattern with * and ?; brackets are themselves.

    A name without a pattern also means the job of that name in a workflow of Actions on Gitea, and all jobs of its
    matrix (`job (value)`).
    """
    if "*" in name or "?" in name:
        pattern = name.replace("[", "[[]")
        return [check for check in checks if check.name == name or fnmatchcase(check.name, pattern)]
    found = [check for check in checks if check.name == name or (event_of(check.name) and _is(name, check))]
    return found or [check for check in checks if _is(name, check)]


def _is(name: str, check: CommitCheck) -> bool:
    return name in jobs_of(check.name)


def event_of(context: str) -> str:
    """Return the event of a job of Gitea's Actions (`pull_request`), nothing for any other context."""
    found = _ACTIONS.fullmatch(context)
    return found.group(1) if found else ""


def jobs_of(context: str) -> set[str]:
    """Return what a context's job may be called: as it stands, without the event, without a matrix's values.

    Each with what stands before it or without: the workflow, or the job that calls another workflow.
    """
    parts = context.split(" / ")
    names = set()
    for first in range(len(parts)):
        job = " / ".join(parts[first:])
        names.add(job)
        while job.endswith(")") and " (" in job:
            job = job.rpartition(" (")[0]
            names.add(job)
    return names


_ORDER = (State.FAILED, State.PENDING, State.SKIPPED, State.PASSED)


def required(names: Sequence[str], checks: Sequence[CommitCheck]) -> list[CommitCheck]:
    """Return how each required check stands: the worst of those that its name means, MISSING for none."""
    rows = []
    for name in names:
        found = sorted(matching(name, checks), key=lambda check: _ORDER.index(check.state))
        if not found:
            rows.append(CommitCheck(name, State.MISSING, "no such check of this commit", None))
            continue
        worst = found[0]
        said = worst.said if worst.name == name else f"{worst.name}: {worst.said}"
        rows.append(CommitCheck(name, worst.state, said, worst.at, worst.url))
    return rows


def wanted_policy(contexts: Sequence[str]) -> Policy:
    """Return what a branch must have: a pull request, all checks, one review, stale reviews dismissed."""
    return Policy(True, 1, True, tuple(contexts), True)


def lacking(found: Policy | None, wanted: Policy, *, exact: bool = False) -> list[str]:
    """Return what a branch's policy lacks; what is stricter is no lack.

    Unless contexts are wanted `exact`ly, a name also means the job of that name.
    """
    if found is None:
        return ["the branch is not protected"]
    lacks = []
    if wanted.pull_request and not found.pull_request:
        lacks.append("a push without a pull request is let in")
    if found.approvals < wanted.approvals:
        lacks.append(f"{counted(found.approvals, 'approval')}, {wanted.approvals} wanted")
    if wanted.dismiss_stale and not found.dismiss_stale:
        lacks.append("stale approvals are not dismissed")
    if wanted.admins_too and not found.admins_too:
        strict = found.for_admins
        if strict is None or lacking(strict, replace(wanted, admins_too=False), exact=exact):
            lacks.append("administrators may pass it over")
    if missing := _missing(found, wanted, exact):
        lacks.append(f"checks that are not required: {', '.join(missing)}")
    return lacks


def _missing(found: Policy, wanted: Policy, exact: bool) -> list[str]:
    known = set(found.contexts)
    if not exact:
        known |= {job for context in found.contexts for job in jobs_of(context)}
    return [name for name in wanted.contexts if name not in known]


def merged(found: Policy | None, wanted: Policy, *, exact: bool = False) -> Policy:
    """Return the policy to be set: what is wanted, and whatever is stricter already."""
    if found is None:
        return wanted
    return Policy(
        pull_request=found.pull_request or wanted.pull_request,
        approvals=max(found.approvals, wanted.approvals),
        dismiss_stale=found.dismiss_stale or wanted.dismiss_stale,
        contexts=tuple(sorted({*found.contexts, *_missing(found, wanted, exact)})),
        admins_too=found.admins_too or wanted.admins_too,
        bypass=found.bypass,
    )


def combined(layers: Sequence[Policy]) -> Policy | None:
    """Return what several rules make of a branch: the strictest of each, None for no rule."""
    if not layers:
        return None
    strict = [layer for layer in layers if layer.admins_too]
    return Policy(
        pull_request=any(layer.pull_request for layer in layers),
        approvals=max(layer.approvals for layer in layers),
        dismiss_stale=any(layer.dismiss_stale for layer in layers),
        contexts=tuple(sorted({context for layer in layers for context in layer.contexts})),
        admins_too=len(strict) == len(layers),
        bypass=tuple(sorted({who for layer in layers for who in layer.bypass})),
        for_admins=combined(strict) if len(strict) < len(layers) else None,
    )
