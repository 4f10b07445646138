"""Which contexts a branch must require: as its pull requests and commits reported them, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from turnout.forge.model import LOOKED_AT, CommitCheck, Forge, Policy, State
from turnout.forge.required import event_of, jobs_of, lacking, matching, wanted_policy


@dataclass(frozen=True)
class Needs:
    """What a branch needs: `wanted` in full, `lacks` in words, `found` without what nothing can ever pass.

    `unknown` has the required names that nothing reported, with what came after the merge; `reported` is all that was.
    """

    wanted: Policy
    lacks: list[str]
    found: Policy | None
    unknown: dict[str, str]
    reported: tuple[str, ...]


def needs(forge: Forge, branch: str, names: Sequence[str], found: Policy | None) -> Needs:
    """Compare a branch's policy with what it must be, each name as the context that was reported. Raises TurnoutError.

    What the last pull requests reported comes first, since a merge waits for just that; commits of the branch count
    where no pull request reported anything.
    """
    held = found.contexts if found else ()
    told = _reported(forge, forge.heads(branch), names)
    of_pulls = bool(told)
    late = [] if _all_meant(names, told) else _reported(forge, forge.tips(branch), names)
    seen = {check.name for checks in (*told, *late) for check in checks}
    contexts: list[str] = []
    unknown: dict[str, str] = {}
    dead, lacks = [], []
    for name in names:
        meant = _meant(name, told if of_pulls else late)
        if not meant:
            kept = [context for context in held if context == name or name in jobs_of(context)]
            contexts += kept
            if not kept:
                after = sorted({check.name for checks in late for check in matching(name, checks)})
                unknown[name] = f", but after the merge {', '.join(after)}" if after else ""
                lacks.append(f"{name} is not required, and nothing reported it{unknown[name]}")
            continue
        contexts += _covering(forge, name, meant, held, seen) or [forge.literal(one) for one in _best(meant)]
        if name in held and name not in seen and all(event_of(one) for one in meant):
            dead.append(name)
            lacks.append(f"{name} is required and nothing reports it: nothing can be merged")
    wanted = wanted_policy(contexts)
    if found is not None and dead:
        found = replace(found, contexts=tuple(context for context in found.contexts if context not in dead))
    return Needs(wanted, [*lacking(found, wanted, exact=True), *lacks], found, unknown, tuple(sorted(seen)))


def _reported(forge: Forge, commits: Sequence[str], names: Sequence[str]) -> list[list[CommitCheck]]:
    """Return what the newest of these commits reported, as far back as it takes to meet each name."""
    told: list[list[CommitCheck]] = []
    for sha in commits[:LOOKED_AT]:
        if _all_meant(names, told):
            break
        if checks := forge.reported(sha):
            told.append(checks)
    return told


def _all_meant(names: Sequence[str], told: Sequence[Sequence[CommitCheck]]) -> bool:
    return all(_meant(name, told) for name in names)


def _meant(name: str, told: Sequence[Sequence[CommitCheck]]) -> list[str]:
    """Return the contexts that a name means in what the newest commit reported that has any: workflows are renamed."""
    for checks in told:
        if found := matching(name, checks):
            return sorted({check.name for check in found})
    return []


def _best(meant: Sequence[str]) -> list[str]:
    """Return those that a pull request waits for: jobs that run for pull requests, and what belongs to no event."""
    for_pulls = [one for one in meant if event_of(one).startswith("pull_request")]
    return for_pulls + [one for one in meant if not event_of(one)] or list(meant)


def _covering(forge: Forge, name: str, meant: Sequence[str], held: Sequence[str], seen: set[str]) -> list[str]:
    """Return what is required already and means all jobs of one event, and nothing but them; empty for none."""

    def held_for(context: str) -> str | None:
        for pattern in held:
            if pattern == context or (
                forge.covers(pattern, context) and not _wider(forge, pattern, name, context, seen)
            ):
                return pattern
        return None

    best = _best(meant)
    events = {event_of(one) for one in meant if one not in best}
    for group in (best, *([one for one in meant if event_of(one) == event] for event in sorted(events))):
        patterns = [held_for(one) for one in group]
        if all(patterns):
            return [pattern for pattern in patterns if pattern]
    return []


def _wider(forge: Forge, pattern: str, name: str, context: str, seen: set[str]) -> bool:
    """Tell whether another job would do as well: one that was seen, or this one by another name."""
    others = [one for one in seen if not matching(name, [_named(one)])]
    return any(forge.covers(pattern, one) for one in (*others, context.replace(name, "~")))


def _named(context: str) -> CommitCheck:
    return CommitCheck(context, State.PASSED, "", None)
