"""A summary of drills as text: the table of the command line and the generated document."""

from __future__ import annotations

from collections.abc import Sequence

from turnout import tables
from turnout.counts import counted
from turnout.drill.gate import WORST, Gate
from turnout.drill.record import Drill, Outcome, Verdict
from turnout.drill.statistics import FARTHEST, Spread, Worst, measured_s
from turnout.drill.summary import Summary
from turnout.drill.words import duration, size

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


def percent(ratio: float) -> str:
    """Return a ratio as percent with its sign."""
    return f"{100 * ratio:+.0f} %"


MET = {Outcome.PASS: "met", Outcome.FAIL: "MISSED", Outcome.UNKNOWN: "not measured", None: "-"}
"""A line of the gate in a word."""


def objective_rows(summary: Summary) -> list[list[str]]:
    """Return the gate's lines, each with what the history says beside it: how often it was over the target too."""
    rows = []
    for line in summary.gate.lines:
        spread, over = {"RPO": (summary.rpo, summary.rpo_over), "RTO": (summary.rto, summary.rto_over)}.get(
            line.name, (None, 0)
        )
        past = [""] * 4
        if line.name in ("RPO", "RTO"):
            values = [None] * 3 if spread is None else [spread.p50, spread.p95, spread.max]
            past = [*map(seconds, values), "-" if spread is None else f"{over} of {spread.count}"]
        rows.append([line.name, seconds(line.target_s), seconds(line.seen_s), *past, MET[line.outcome]])
    return rows


OBJECTIVE_HEAD = ["", "target", "now", "p50", "p95", "max", "drills over it", "gate"]
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
    """Return the projection of the worst case, what it is made from, and its past error; or why there is none."""
    worst = summary.worst
    if isinstance(worst, str):
        return f"Worst case: -, not enough drills to project: {worst}."
    words = (
        f"Worst case: RTO {seconds(worst.rto_s)} = declared {seconds(worst.declared_s)} + fixed "
        f"{seconds(worst.fixed_s)} + {size(worst.data_bytes)} of data {seconds(worst.copy_s)} + "
        f"{size(worst.wal_bytes)} of WAL {seconds(worst.replay_s)}, just before the next backup "
        f"({met(summary)}). Basis: {basis_words(worst)}."
    )
    return f"{words} Error of past projections: {error_words(summary.error, summary.underestimate)}."


def met(summary: Summary) -> str:
    """Return whether the projected worst case meets its target, as the gate has it."""
    return next(MET[line.outcome] for line in summary.gate.lines if line.name == WORST)


def basis_words(worst: Worst) -> str:
    """Return what the worst case was projected from, and how far."""
    return (
        f"{counted(worst.drills, 'drill')} with enough WAL, up to {size(worst.seen_wal_bytes)} and "
        f"{duration(worst.seen_age_s)} after a backup; that is projected {worst.wal_bytes / worst.seen_wal_bytes:.2g} "
        f"times as far, and to at most {FARTHEST} times"
    )


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
    return f"{counted(len(summary.drills), 'drill')}: {said}"


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
