"""The release gate: is recovery proven, recently and within its targets? Three answers; unknown is not yes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from turnout.counts import counted
from turnout.drill.objectives import Objectives
from turnout.drill.record import Drill, Outcome, Verdict
from turnout.drill.statistics import worst_case
from turnout.drill.words import duration

WORST, AGE = "RTO, projected worst case", "age of the last proof"

CLOCK_SLACK_S = 60.0
"""So far in the future may a drill have ended by this clock, before the clocks count as wrong."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that recovery is held to, in seconds: what was seen, None where nothing was, and what is allowed.

    `outcome` is None where a worst case cannot be projected: that is no fault.
    """

    name: str
    seen_s: float | None
    target_s: float
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer, with a cause for each thing that is wrong and a note for what one should know all the same.

    `lines` are what it is the worst of, beside drills that failed or never passed.
    """

    outcome: Outcome
    causes: tuple[str, ...]
    notes: tuple[str, ...]
    proof: Drill | None
    age_s: float | None
    lines: tuple[Line, ...] = ()


def last(drills: Sequence[Drill], verdict: Verdict) -> Drill | None:
    """Return the youngest drill of a verdict; `drills` are in the order of their end."""
    return next((drill for drill in reversed(drills) if drill.verdict is verdict), None)


def decide(drills: Sequence[Drill], objectives: Objectives, now: datetime) -> Gate:
    """Return whether a release may lean on the backups.

    fail: a drill failed since the last proof, the last proof is older than `max_age_s`, it missed its RTO or RPO, or a
    failure just before the next backup would miss the RTO, where the drills allow to project it.
    unknown: no drill has run, none has passed, none of the young ones measured an RPO, or the clocks disagree.
    `drills` are in the order of their end, as `turnout.drill.parse.read` returns them.
    """
    proof = last(drills, Verdict.PASS)
    age_s = None if proof is None else (now - proof.ended).total_seconds()
    by_rpo = _rpo_of(drills)
    stale = by_rpo is None or (now - by_rpo.ended).total_seconds() > objectives.max_age_s
    # That the proof itself is old is said by its age.
    known_rpo = by_rpo.rpo if by_rpo is not None and (by_rpo is proof or not stale) else None
    worst = worst_case(drills)
    lines = (
        _line("RPO", None if known_rpo is None else known_rpo.seconds, objectives.rpo_s),
        _line("RTO", None if proof is None else proof.rto_seconds, objectives.rto_s),
        Line(WORST, None, objectives.rto_s, None) if worst is None else _line(WORST, worst.rto_s, objectives.rto_s),
        _line(AGE, age_s if age_s is None or age_s >= -CLOCK_SLACK_S else None, objectives.max_age_s),
    )
    fails: list[str] = []
    unknowns: list[str] = []
    notes: list[str] = []
    failed = last(drills, Verdict.FAIL)
    if failed is not None and (proof is None or failed.ended > proof.ended):
        fails.append(f"drill {failed.id} failed since the last proof: {failed.causes[0]}")
    # The name of a drill may hold anything, also what a format would take for a place of its own.
    said = {
        "RPO": (f"RPO of drill {by_rpo.id if by_rpo else '-'} was ", "", "recovery.rpo_s"),
        "RTO": (f"RTO of drill {proof.id if proof else '-'} was ", "", "recovery.rto_s"),
        WORST: ("RTO of a failure just before the next backup is projected as ", "", "recovery.rto_s"),
        AGE: (f"the last proof, drill {proof.id if proof else '-'}, is ", " old", "recovery.max_age_s"),
    }
    for line in lines:
        if line.outcome is Outcome.FAIL:
            before, after, key = said[line.name]
            fails.append(
                f"{before}{duration(line.seen_s or 0.0)}{after}; allowed are {duration(line.target_s)} ({key})"
            )
    if not drills:
        unknowns.append("no drill has run yet: nobody knows whether the backups restore")
    elif proof is None or age_s is None:
        unknowns.append(f"none of {counted(len(drills), 'drill')} has passed yet; the last: {drills[-1].causes[0]}")
    else:
        if age_s < -CLOCK_SLACK_S:
            unknowns.append(f"drill {proof.id} ended {duration(-age_s)} from now: the clocks disagree")
        if proof.rto_seconds is None:
            unknowns.append(f"drill {proof.id} measured no RTO")
        if stale:
            unknowns.append(f"no drill of the last {duration(objectives.max_age_s)} that passed has measured an RPO")
        if drills[-1].verdict is Verdict.INCONCLUSIVE:
            notes.append(f"the last drill, {drills[-1].id}, was inconclusive: {drills[-1].causes[0]}")
    outcome = Outcome.FAIL if fails else Outcome.UNKNOWN if unknowns else Outcome.PASS
    return Gate(outcome, (*fails, *unknowns), tuple(notes), proof, age_s, lines)


def _line(name: str, seen_s: float | None, target_s: float) -> Line:
    if seen_s is None:
        return Line(name, None, target_s, Outcome.UNKNOWN)
    return Line(name, seen_s, target_s, Outcome.PASS if seen_s <= target_s else Outcome.FAIL)


def _rpo_of(drills: Sequence[Drill]) -> Drill | None:
    """Return the youngest drill that passed and measured an RPO; a drill to a chosen point measures none."""
    return next((one for one in reversed(drills) if one.verdict is Verdict.PASS and one.rpo is not None), None)
