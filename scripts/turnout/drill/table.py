"""A summary of drills as text: the table of the command line and the generated document."""

from __future__ import annotations

from collections.abc import Sequence

from turnout import tables
from turnout.drill.gate import Gate, duration
from turnout.drill.record import Drill, Outcome, Verdict
from turnout.drill.statistics import Spread, measured_s
from turnout.drill.summary import Summary

SHOWN = 20
"""Drills of the history that text shows; the page and `--json` have all."""

ANSWER = {
    Outcome.PASS: "open: recovery is proven within its targets",
    Outcome.FAIL: "closed",
    Outcome.UNKNOWN: "closed: not known whether the backups restore",
}


def seconds(value: float | None) -> str:
    """Return seconds as a table shows them."""
    return "-" if value is None else duration(value)


def size(value: float | None) -> str:
    """Return bytes in the largest unit that leaves a number above 1."""
    if value is None:
        return "-"
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {unit}"
    return f"{value:.0f} B"


def percent(ratio: float) -> str:
    """Return a ratio as percent with its sign."""
    return f"{100 * ratio:+.0f} %"


def met(value: float | None, target: float) -> str:
    """Return whether a value meets its target, in a word."""
    return "not measured" if value is None else "met" if value <= target else "MISSED"


def objective_rows(summary: Summary) -> list[list[str]]:
    """Return the rows of targets against what was measured."""
    rows = []
    for name, target, spread in (
        ("RPO", summary.objectives.rpo_s, summary.rpo),
        ("RTO", summary.objectives.rto_s, summary.rto),
    ):
        worst = None if spread is None else spread.max
        values = [None] * 3 if spread is None else [spread.p50, spread.p95, spread.max]
        count = "0" if spread is None else str(spread.count)
        rows.append([name, seconds(target), *(seconds(value) for value in values), count, met(worst, target)])
    age = summary.gate.age_s
    limit = summary.objectives.max_age_s
    rows.append(["age of the last proof", seconds(limit), seconds(age), "", "", "", met(age, limit)])
    return rows


OBJECTIVE_HEAD = ["", "target", "p50", "p95", "max", "drills", "worst"]
PHASE_HEAD = ["phase of the RTO", "last", "p50", "p95", "max", ""]
HISTORY_HEAD = ["ended (UTC)", "drill", "mode", "verdict", "RPO", "RTO", "data", "WAL", "restore", "predicted", "error"]


def phase_rows(summary: Summary) -> list[list[str]]:
    """Return the phases of the RTO, with their sum as the last row."""
    rows = []
    for one in summary.phases:
        values = [one.last_s, one.spread.p50, one.spread.p95, one.spread.max]
        rows.append([one.name, *(seconds(value) for value in values), "declared" if one.declared else ""])
    whole = summary.last_whole
    if whole is not None and summary.rto is not None:
        values = [whole.rto_seconds, summary.rto.p50, summary.rto.p95, summary.rto.max]
        rows.append(["RTO", *(seconds(value) for value in values), ""])
    return rows


def history_rows(summary: Summary, drills: Sequence[Drill]) -> list[list[str]]:
    """Return one row a drill, with what the drills before it predicted."""
    predicted = {one.drill: one for one in summary.predictions}
    rows = []
    for drill in drills:
        known = predicted.get(drill.id)
        rows.append(
            [
                f"{drill.ended:%Y-%m-%d %H:%M}",
                drill.id,
                drill.mode.value,
                drill.verdict.value,
                seconds(drill.rpo.seconds if drill.rpo else None),
                seconds(drill.rto_seconds),
                size(drill.sizes.data_bytes),
                size(drill.sizes.wal_bytes),
                seconds(measured_s(drill) if drill.rto_seconds is not None else None),
                seconds(known.predicted_s if known else None),
                percent(known.error) if known else "-",
            ]
        )
    return rows


def worst_words(summary: Summary) -> str:
    """Return the projection of the worst case and its past error, in one sentence."""
    worst = summary.worst
    if worst is None:
        return "Worst case: not known; a projection needs a drill that reached its end and knows its sizes."
    words = (
        f"Worst case: RTO {seconds(worst.rto_s)} = declared {seconds(worst.declared_s)} + fixed "
        f"{seconds(worst.fixed_s)} + {size(worst.data_bytes)} of data {seconds(worst.copy_s)} + "
        f"{size(worst.wal_bytes)} of WAL {seconds(worst.replay_s)}, just before the next backup, from the last "
        f"{worst.drills} drills ({met(worst.rto_s, summary.objectives.rto_s)})."
    )
    return f"{words} Error of past projections: {error_words(summary.error, summary.underestimate)}."


def error_words(error: Spread | None, underestimate: float | None) -> str:
    """Return how far past projections were off."""
    if error is None:
        return "not known before the second drill"
    low = "none was too low" if underestimate is None else f"the lowest was {percent(-underestimate)} off"
    return f"median {100 * error.p50:.0f} %, at most {100 * error.max:.0f} % in {error.count}; {low}"


def gate_lines(gate: Gate) -> list[str]:
    """Return the gate's answer with its causes and notes, a line each."""
    head = f"Release gate: {ANSWER[gate.outcome]}"
    if gate.outcome is Outcome.PASS and gate.proof is not None and gate.age_s is not None:
        head += f" (drill {gate.proof.id}, {duration(max(0.0, gate.age_s))} ago)"
    return [head, *(f"  {cause}" for cause in gate.causes), *(f"  note: {note}" for note in gate.notes)]


def counts_words(summary: Summary) -> str:
    """Return how the drills of the history ended."""
    said = ", ".join(f"{summary.counts[verdict]} {verdict.value}" for verdict in Verdict)
    return f"{len(summary.drills)} drills: {said}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines: the first column to the left, the others to the right."""
    return tables.lines([head, *rows], right=range(1, len(head)))


def text(summary: Summary) -> str:
    """Return the summary as the command line shows it."""
    shown = summary.drills[-SHOWN:]
    blocks = [
        gate_lines(summary.gate),
        grid(OBJECTIVE_HEAD, objective_rows(summary)),
        grid(PHASE_HEAD, phase_rows(summary)) if summary.phases else ["No drill has reached its end: no RTO."],
        [worst_words(summary)],
        [counts_words(summary), *(grid(HISTORY_HEAD, history_rows(summary, shown)) if shown else [])],
        causes_lines(shown),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def causes_lines(drills: Sequence[Drill]) -> list[str]:
    """Return why drills did not pass, a line for each cause."""
    return [f"{drill.id} ({drill.verdict.value}): {cause}" for drill in drills for cause in drill.causes]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return [line(head), line(["---", *["---:"] * (len(head) - 1)]), *map(line, rows)]


def document(summary: Summary, command: str) -> str:
    """Return `docs/recovery-objectives.md`: targets and what is measured. `command` is what made it."""
    objectives = summary.objectives
    shown = summary.drills[-SHOWN:]
    lines = [
        "# Recovery objectives",
        "",
        f"Generated by `{command}` at {summary.now:%Y-%m-%d %H:%M} UTC from {counts_words(summary)}. Do not edit: the "
        "targets are changed in `group_vars/all/recovery.yml` of the inventory, the figures by the next drill.",
        "",
        "RPO is what a failure may lose, RTO how long until the service answers again, both from the failure on. The "
        f"RTO includes {seconds(objectives.detect_s)} to notice and {seconds(objectives.decide_s)} to decide, which "
        "are declared; everything else is measured by restoring. One drill samples a sawtooth, so quantiles over the "
        "history stand here, of every drill that measured the value, whatever its verdict.",
        "",
        "## Targets and reality",
        "",
        *_markdown(OBJECTIVE_HEAD, objective_rows(summary)),
        "",
        *gate_lines(summary.gate)[:1],
        "",
        *(f"- {line.strip()}" for line in gate_lines(summary.gate)[1:]),
        *([""] if gate_lines(summary.gate)[1:] else []),
        "## Phases of the RTO",
        "",
        *(_markdown(PHASE_HEAD, phase_rows(summary)) if summary.phases else ["No drill has reached its end yet."]),
        "",
        worst_words(summary),
        "",
        "## History",
        "",
        *(_markdown(HISTORY_HEAD, history_rows(summary, shown)) if shown else ["No drill has run yet."]),
    ]
    causes = causes_lines(shown)
    if causes:
        lines += ["", *(f"- {' '.join(cause.split())}" for cause in causes)]
    return "\n".join(lines) + "\n"
