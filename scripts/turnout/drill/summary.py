"""Everything that a report of drills says, as values; table, JSON, page and document are made of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from turnout.drill.gate import Gate, decide
from turnout.drill.objectives import Objectives
from turnout.drill.record import PHASES, Drill, Source, Verdict, as_dict, iso
from turnout.drill.statistics import Prediction, Spread, Worst, predictions, projection, spread


@dataclass(frozen=True, slots=True)
class PhaseSpread:
    """A phase's seconds over the history, and in the last drill that reached its end."""

    name: str
    declared: bool
    last_s: float | None
    spread: Spread


@dataclass(frozen=True, slots=True)
class Summary:
    """The history of drills against its targets.

    `rpo_over` and `rto_over` are how many drills were over the target; `worst` is why there is none where it is text.
    """

    drills: tuple[Drill, ...]
    objectives: Objectives
    now: datetime
    gate: Gate
    counts: dict[Verdict, int]
    rpo: Spread | None
    rto: Spread | None
    rpo_over: int
    rto_over: int
    phases: tuple[PhaseSpread, ...]
    worst: Worst | str
    predictions: tuple[Prediction, ...]
    error: Spread | None
    underestimate: float | None

    @property
    def last_whole(self) -> Drill | None:
        """Return the last drill that has an RTO: the one whose phases are shown."""
        return next((drill for drill in reversed(self.drills) if drill.rto_seconds is not None), None)


def summarize(drills: Sequence[Drill], objectives: Objectives, now: datetime) -> Summary:
    """Return the summary of drills in the order of their end."""
    whole = [drill for drill in drills if drill.rto_seconds is not None]
    phases = []
    for name in PHASES:
        seconds = spread(s for s in (drill.phase_seconds(name) for drill in whole) if s is not None)
        if seconds is not None:
            declared = any(phase.source is Source.DECLARED for phase in whole[-1].phases if phase.name == name)
            phases.append(PhaseSpread(name, declared, whole[-1].phase_seconds(name), seconds))
    past = predictions(drills)
    lost = [drill.rpo.seconds for drill in drills if drill.rpo is not None]
    took = [drill.rto_seconds for drill in whole if drill.rto_seconds is not None]
    return Summary(
        drills=tuple(drills),
        objectives=objectives,
        now=now,
        gate=decide(drills, objectives, now),
        counts={verdict: sum(drill.verdict is verdict for drill in drills) for verdict in Verdict},
        rpo=spread(lost),
        rto=spread(took),
        rpo_over=sum(one > objectives.rpo_s for one in lost),
        rto_over=sum(one > objectives.rto_s for one in took),
        phases=tuple(phases),
        worst=projection(drills),
        predictions=past,
        error=spread(abs(one.error) for one in past),
        underestimate=max((-one.error for one in past if one.error < 0), default=None),
    )


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as one object for `--json`."""
    gate = summary.gate
    return {
        "at": iso(summary.now),
        "objectives": summary.objectives.as_dict(),
        "gate": gate_json(gate),
        "drills": {verdict.value: count for verdict, count in summary.counts.items()},
        "rpo_s": None if summary.rpo is None else asdict(summary.rpo),
        "rto_s": None if summary.rto is None else asdict(summary.rto),
        "phases": [
            {"name": one.name, "declared": one.declared, "last_s": one.last_s, **asdict(one.spread)}
            for one in summary.phases
        ],
        "worst_case": None if isinstance(summary.worst, str) else asdict(summary.worst),
        "worst_case_missing": summary.worst if isinstance(summary.worst, str) else None,
        "predictions": [{**asdict(one), "error": one.error} for one in summary.predictions],
        "prediction_error": None if summary.error is None else asdict(summary.error),
        "history": [as_dict(drill) for drill in summary.drills],
    }


def gate_json(gate: Gate) -> dict[str, Any]:
    """Return the gate's answer as one object."""
    return {
        "outcome": gate.outcome.value,
        "causes": list(gate.causes),
        "notes": list(gate.notes),
        "lines": [{**asdict(one), "outcome": one.outcome and one.outcome.value} for one in gate.lines],
        "proof": None if gate.proof is None else gate.proof.id,
        "proof_ended": None if gate.proof is None else iso(gate.proof.ended),
        "age_s": gate.age_s,
    }
