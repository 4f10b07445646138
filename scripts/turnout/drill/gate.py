"""The release gate: is recovery proven, recently and within its targets? Three answers; unknown is not yes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnout.drill.objectives import Objectives
from turnout.drill.record import Drill, Outcome, Verdict

CLOCK_SLACK_S = 60.0
"""So far in the future may a drill have ended by this clock, before the clocks count as wrong."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer, with a cause for each thing that is wrong and a note for what one should know all the same."""

    outcome: Outcome
    causes: tuple[str, ...]
    notes: tuple[str, ...]
    proof: Drill | None
    age_s: float | None


def duration(seconds: float) -> str:
    """Return a duration as a person says it: 12.5 s, 3 min 20 s, 5 h 2 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, size, small, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def last(drills: Sequence[Drill], verdict: Verdict) -> Drill | None:
    """Return the youngest drill of a verdict; `drills` are in the order of their end."""
    return next((drill for drill in reversed(drills) if drill.verdict is verdict), None)


def decide(drills: Sequence[Drill], objectives: Objectives, now: datetime) -> Gate:
    """Return whether a release may lean on the backups.

    fail: a drill failed since the last proof, the last proof is older than `max_age_s`, or it missed its RTO or RPO.
    unknown: no drill has run, none has passed, none of the young ones measured an RPO, or the clocks disagree.
    `drills` are in the order of their end, as `turnout.drill.parse.read` returns them.
    """
    if not drills:
        return Gate(
            Outcome.UNKNOWN, ("no drill has run yet: nobody knows whether the backups restore",), (), None, None
        )
    proof = last(drills, Verdict.PASS)
    fails: list[str] = []
    unknowns: list[str] = []
    notes: list[str] = []
    failed = last(drills, Verdict.FAIL)
    if failed is not None and (proof is None or failed.ended > proof.ended):
        fails.append(f"drill {failed.id} failed since the last proof: {failed.causes[0]}")
    age_s = None
    if proof is None:
        unknowns.append(f"none of {len(drills)} drills has passed yet; the last: {drills[-1].causes[0]}")
    else:
        age_s = (now - proof.ended).total_seconds()
        _judge(proof, age_s, objectives, fails, unknowns)
        unknowns += _judge_rpo(drills, objectives, now, fails)
        if drills[-1].verdict is Verdict.INCONCLUSIVE:
            notes.append(f"the last drill, {drills[-1].id}, was inconclusive: {drills[-1].causes[0]}")
    outcome = Outcome.FAIL if fails else Outcome.UNKNOWN if unknowns else Outcome.PASS
    return Gate(outcome, (*fails, *unknowns), tuple(notes), proof, age_s)


def _judge(proof: Drill, age_s: float, objectives: Objectives, fails: list[str], unknowns: list[str]) -> None:
    if age_s < -CLOCK_SLACK_S:
        unknowns.append(f"drill {proof.id} ended {duration(-age_s)} from now: the clocks disagree")
    if age_s > objectives.max_age_s:
        fails.append(
            f"the last proof, drill {proof.id}, is {duration(age_s)} old; allowed are "
            f"{duration(objectives.max_age_s)} (recovery.max_age_s)"
        )
    rto_s = proof.rto_seconds
    if rto_s is None:
        unknowns.append(f"drill {proof.id} measured no RTO")
    elif rto_s > objectives.rto_s:
        fails.append(
            f"RTO of drill {proof.id} was {duration(rto_s)}; allowed are {duration(objectives.rto_s)} (recovery.rto_s)"
        )


def _judge_rpo(drills: Sequence[Drill], objectives: Objectives, now: datetime, fails: list[str]) -> list[str]:
    """Judge the youngest RPO of a drill that passed; a drill to a chosen point measures none."""
    for drill in reversed(drills):
        if drill.verdict is not Verdict.PASS or drill.rpo is None:
            continue
        if (now - drill.ended).total_seconds() > objectives.max_age_s:
            break
        if drill.rpo.seconds > objectives.rpo_s:
            fails.append(
                f"RPO of drill {drill.id} was {duration(drill.rpo.seconds)}; allowed are "
                f"{duration(objectives.rpo_s)} (recovery.rpo_s)"
            )
        return []
    return [f"no drill of the last {duration(objectives.max_age_s)} that passed has measured an RPO"]
