"""The page of a report of drills: gate, targets, waterfall of the last RTO, history, projection. Self-contained."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from turnout.drill import table
from turnout.drill.record import Drill, Outcome, Source, Verdict
from turnout.drill.summary import Summary
from turnout.drill.words import duration, size
from turnout.html.markup import Html, el
from turnout.html.page import banner, chip, document, facts, section
from turnout.html.page import table as grid
from turnout.html.plot import Axis, Bar, Level, Line, Mark, line_chart, waterfall_chart

_BANNER = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.UNKNOWN: "warn"}
_CHIP = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INCONCLUSIVE: "warn"}
_MET = {"met": "good", "MISSED": "bad", "not measured": "warn", "-": "info"}


def page(summary: Summary) -> str:
    """Return the whole page."""
    head, *words = table.gate_lines(summary.gate)
    return document(
        "Recovery, measured",
        el("h1", "Recovery, measured"),
        el("p", f"{table.counts_words(summary)}; at {summary.now:%Y-%m-%d %H:%M} UTC", class_="sub"),
        banner(_BANNER[summary.gate.outcome], head, *(word.strip() for word in words)),
        _targets(summary),
        _waterfall(summary),
        section("History", _rpo(summary), _rto(summary), _history(summary)),
        _projection(summary),
    )


def _targets(summary: Summary) -> Html:
    rows = [[*row[:-1], chip(_MET[row[-1]], row[-1])] for row in table.objective_rows(summary)]
    declared = summary.objectives
    return section(
        "Targets and reality",
        grid(table.OBJECTIVE_HEAD, rows, numbers=range(1, 7)),
        el(
            "p",
            f"The RTO includes {duration(declared.detect_s)} to notice and {duration(declared.decide_s)} to decide, "
            "which are declared. The gate is the worst of its lines, which are of the last proof. Quantiles are of all "
            "drills that measured the value, whatever their verdict.",
            class_="note",
        ),
    )


def _waterfall(summary: Summary) -> Html:
    drill = summary.last_whole
    if drill is None:
        return section("The last RTO", el("p", "No drill has reached its end yet.", class_="empty"))
    bars, start_s = [], 0.0
    for phase in drill.phases:
        declared = phase.source is Source.DECLARED
        bars.append(
            Bar(phase.name, start_s, phase.seconds, "declared" if declared else "", "warn" if declared else "info")
        )
        start_s += phase.seconds
    return section(
        f"The RTO of drill {drill.id}: {table.seconds(drill.rto_seconds)}",
        waterfall_chart(
            "From the failure to the first answer of the restored service", bars, note="one phase after the other"
        ),
        grid(table.PHASE_HEAD, table.phase_rows(summary), numbers=range(1, 5)),
    )


def _since(moment: datetime, summary: Summary) -> float:
    """Return a moment in seconds from the report, negative before it."""
    return (moment - summary.now).total_seconds()


def _ago(value: float) -> str:
    return "now" if round(value) == 0 else duration(-value) if value < 0 else f"in {duration(value)}"


def _x(summary: Summary) -> Axis:
    """Return the axis of time: from the first drill to now, which only clocks that disagree put after a drill."""
    times = [_since(drill.ended, summary) for drill in summary.drills]
    return Axis("before this report", min([*times, -60.0]), max([*times, 0.0]), time=True, form=_ago, room=0.02)


def _failures(summary: Summary) -> list[Mark]:
    """Return a mark for each drill that failed; of many only the last, whose words would hide each other."""
    failed = [drill for drill in summary.drills if drill.verdict is Verdict.FAIL]
    return [Mark(_since(drill.ended, summary), "failed", "bad") for drill in failed[-5:]]


def _rpo(summary: Summary) -> Html:
    points = [(_since(one.ended, summary), one.rpo.seconds if one.rpo else None) for one in summary.drills]
    return line_chart(
        "RPO: what a failure at that moment would have lost",
        [Line("RPO of a drill", points, dots=True)],
        x=_x(summary),
        y=Axis("duration", low=0.0, time=True, form=duration),
        levels=[Level(summary.objectives.rpo_s, f"target {duration(summary.objectives.rpo_s)}")],
        marks=_failures(summary),
        note="Drills to a chosen point, and those that did not get so far, have none.",
    )


def _rto(summary: Summary) -> Html:
    points = [(_since(one.ended, summary), one.rto_seconds) for one in summary.drills]
    worst = summary.worst
    levels = [Level(summary.objectives.rto_s, f"target {duration(summary.objectives.rto_s)}")]
    if not isinstance(worst, str):
        levels.append(Level(worst.rto_s, f"projected worst case {duration(worst.rto_s)}"))
    return line_chart(
        "RTO: until the restored service answered",
        [Line("RTO of a drill", points, dots=True, color=3)],
        x=_x(summary),
        y=Axis("duration", low=0.0, time=True, form=duration),
        levels=levels,
        marks=_failures(summary),
    )


def _history(summary: Summary) -> Html:
    drills = list(reversed(summary.drills))
    column = table.HISTORY_HEAD.index("verdict")
    rows: list[Sequence[object]] = [
        [*row[:column], chip(_CHIP[drill.verdict], row[column]), *row[column + 1 :]]
        for drill, row in zip(drills, table.history_rows(summary, drills), strict=True)
    ]
    if not rows:
        return el("p", "No drill has run yet.", class_="empty")
    return el("div", grid(table.HISTORY_HEAD, rows, numbers=range(4, len(table.HISTORY_HEAD))), _causes(drills))


def _causes(drills: Sequence[Drill]) -> Html | None:
    lines = table.causes_lines(drills)
    return (
        el("div", el("h3", "Why drills did not pass"), el("ul", *(el("li", one) for one in lines))) if lines else None
    )


def _projection(summary: Summary) -> Html:
    worst = summary.worst
    if isinstance(worst, str):
        return section("Projected worst case", el("p", table.worst_words(summary)))
    parts = [
        Bar("declared", 0.0, worst.declared_s, "detect and decide", "warn"),
        Bar("fixed", worst.declared_s, worst.fixed_s, "what does not grow"),
        Bar("copy", worst.declared_s + worst.fixed_s, worst.copy_s, f"{size(worst.data_bytes)} of data"),
        Bar(
            "replay",
            worst.declared_s + worst.fixed_s + worst.copy_s,
            worst.replay_s,
            f"{size(worst.wal_bytes)} of WAL",
        ),
    ]
    past = [(float(index), 100 * one.error) for index, one in enumerate(summary.predictions, start=1)]
    return section(
        "Projected worst case",
        facts(
            {
                "RTO": f"{duration(worst.rto_s)} ({table.met(summary)})",
                "basis": table.basis_words(worst),
                "its own past error": table.error_words(summary.error, summary.underestimate),
            }
        ),
        waterfall_chart("A failure just before the next backup, at the highest rate of WAL seen", parts),
        line_chart(
            "Error of past projections",
            [Line("predicted less measured, of the measured part", past, dots=True, color=4)],
            x=Axis("projection", 0.5, len(past) + 0.5, form=lambda number: f"{number:g}"),
            y=Axis("percent", form=lambda value: f"{value:+.3g} %", low=_low(past), high=_high(past)),
            note="Below 0: the projection promised too much. Each is of one drill, from the drills before it.",
        ),
    )


def _low(points: Sequence[tuple[float, float]]) -> float:
    return min(-10.0, *(1.1 * y for _, y in points)) if points else -10.0


def _high(points: Sequence[tuple[float, float]]) -> float:
    return max(10.0, *(1.1 * y for _, y in points)) if points else 10.0
