"""What Prometheus learns of drills: text for node exporter's textfile folder. Pure.

Times are exported as moments, so that ages grow between two drills; what has never happened is 0, not missing, so that
an alert can tell "never" from "not exported".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from turnout.drill.gate import last
from turnout.drill.objectives import Objectives
from turnout.drill.record import Drill, Verdict
from turnout.drill.statistics import measured_s, quantile, worst_case

TYPICAL_FROM = 3
"""Drills from which on one can say what is usual."""

Sample = tuple[dict[str, str], float]


def _family(name: str, help_: str, samples: Iterable[Sample]) -> list[str]:
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
    found = False
    for labels, value in samples:
        found = True
        said = ",".join(f'{key}="{text}"' for key, text in labels.items())
        lines.append(f"{name}{{{said}}} {value:.15g}" if said else f"{name} {value:.15g}")
    return lines if found else []


def _usual_s(whole: Sequence[Drill]) -> list[Sample]:
    """Return the median of the measured time of the drills before the last one, once there are enough."""
    before = [measured_s(drill) for drill in whole[:-1]][-10:]
    return [({}, quantile(before, 0.5))] if len(before) >= TYPICAL_FROM else []


def render(drills: Sequence[Drill], objectives: Objectives) -> str:
    """Return the text of the exporter's file for drills in the order of their end."""
    proof = last(drills, Verdict.PASS)
    newest = drills[-1] if drills else None
    whole = [drill for drill in drills if drill.rto_seconds is not None]
    lost = [drill.rpo.seconds for drill in drills if drill.rpo is not None]
    worst = worst_case(drills)
    families = [
        _family(
            "turnout_drill_last_proof_timestamp_seconds",
            "When the last drill that passed ended; 0: none has.",
            [({}, proof.ended.timestamp() if proof else 0.0)],
        ),
        _family(
            "turnout_drill_last_run_timestamp_seconds",
            "When the last drill ended, whatever its verdict; 0: none has run.",
            [({}, newest.ended.timestamp() if newest else 0.0)],
        ),
        _family(
            "turnout_drill_last_verdict",
            "1 for the verdict of the last drill, 0 for the others.",
            [({"verdict": one.value}, float(newest is not None and newest.verdict is one)) for one in Verdict],
        ),
        _family(
            "turnout_drill_rpo_seconds",
            "What the last drill that measured it would have lost.",
            [({}, seconds) for seconds in lost[-1:]],
        ),
        _family(
            "turnout_drill_rto_seconds",
            "RTO of the last drill that reached its end, declared phases included.",
            [({}, drill.rto_seconds or 0.0) for drill in whole[-1:]],
        ),
        _family(
            "turnout_drill_measured_seconds",
            "The RTO without its declared phases: what got slower where this grows.",
            [({}, measured_s(drill)) for drill in whole[-1:]],
        ),
        _family(
            "turnout_drill_usual_seconds",
            "Median of turnout_drill_measured_seconds over up to ten drills before the last.",
            _usual_s(whole),
        ),
        _family(
            "turnout_drill_phase_seconds",
            "Phases of the RTO of the last drill that reached its end.",
            [
                ({"phase": phase.name, "source": phase.source.value}, phase.seconds)
                for drill in whole[-1:]
                for phase in drill.phases
            ],
        ),
        _family(
            "turnout_drill_worst_case_rto_seconds",
            "Projected RTO of a failure just before the next backup.",
            [({}, worst.rto_s)] if worst else [],
        ),
        _family(
            "turnout_recovery_objective_seconds",
            "What recovery is held to.",
            [({"objective": key.removesuffix("_s")}, value) for key, value in objectives.as_dict().items()],
        ),
    ]
    return "\n".join(line for family in families for line in family) + "\n"
