"""The table: every result with its evidence, its age, and what mends it; and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from turnout import tables
from turnout.checklist.model import Result, Verdict
from turnout.checklist.plan import Outcome
from turnout.checklist.waivers import used
from turnout.counts import counted

WIDTHS = {"what": 38, "evidence": 74}


def word(result: Result) -> str:
    """Return the first column of a row."""
    if result.waiver is not None:
        return "WAIVED"
    return {Verdict.PASS: "pass", Verdict.FAIL: "FAIL", Verdict.UNKNOWN: "UNKNOWN", Verdict.NOT_CONFIGURED: "-"}[
        result.verdict
    ]


def age(seconds: float | None) -> str:
    """Return an age in the largest unit that still tells something."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def table(outcome: Outcome, now_s: float) -> str:
    """Return the table for a terminal, what stops the release once more at its end."""
    rows: list[tuple[str, str, str, str]] = [("VERDICT", "CHECK", "AGE", "EVIDENCE")]
    for same in _alike(outcome.results):
        old = None if same[0].at_s is None else now_s - min(result.at_s or 0.0 for result in same)
        subjects = " ".join(result.subject for result in same)
        name = same[0].check + (f"  {subjects}" if subjects else "")
        rows.append((word(same[0]), name, age(old), _evidence(same[0])))
    lines = tables.lines(rows, most=(10, WIDTHS["what"], 6, WIDTHS["evidence"]), right=(2,))
    return "\n".join([*lines, "", summary(outcome)])


def _alike(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results, those of one check that say the same of several subjects together."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.check, word(result), _evidence(result)), []).append(result)
    return list(groups.values())


def _evidence(result: Result) -> str:
    if result.verdict is Verdict.NOT_CONFIGURED:
        return f"not configured; {result.remedy}" if result.remedy else "not configured"
    if result.waiver is not None:
        until = datetime.fromtimestamp(result.waiver.expires_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        said = f"{result.waiver.who} until {until}: {result.waiver.reason}"
        return f"{result.verdict.value}: {result.evidence} [waived by {said}]"
    return f"{result.evidence} -> {result.remedy}" if result.obstacle and result.remedy else result.evidence


def summary(outcome: Outcome) -> str:
    """Return one line: how many of each, and whether the release may begin."""
    counts = dict.fromkeys(("passed", "failed", "not known", "waived", "not configured"), 0)
    names = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.UNKNOWN: "not known"}
    for result in outcome.results:
        key = "waived" if result.waiver else names.get(result.verdict, "not configured")
        counts[key] += 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if outcome.refused_waivers:
        return f"{told}; {counted(len(outcome.refused_waivers), 'waiver')} refused"
    return told


def as_json(outcome: Outcome, *, now_s: float, release: str, took_s: float) -> dict[str, object]:
    """Return everything as plain data."""
    return {
        "release": release,
        "at": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        "passed": outcome.passed,
        "took_s": round(took_s, 2),
        "summary": summary(outcome),
        "results": [result.as_dict(now_s) for result in outcome.results],
        "waivers": used(outcome.results),
        "refused_waivers": [fault.as_dict() for fault in outcome.refused_waivers],
    }


def causes(results: Sequence[Result]) -> str:
    """Return the obstacles alone, one line each, for the end of a run."""
    return "\n".join(f"{word(result)} {result.name}: {result.evidence}; to mend: {result.remedy}" for result in results)
