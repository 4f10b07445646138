"""The report of the matrix: one table, one JSON object; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faults.cases import ACTIONS, FAULTS

HEAD = ("ACTION", "FAULT", "CASES", "PASSED", "REQUESTS", "HELD", "FAILED", "SETTLED", "JOBS", "2 SCHED", "SECONDS")


def result_line(seen: Mapping[str, Any], number: int, of: int) -> str:
    """Return the line that is printed when a case has ended."""
    figures = seen["figures"]
    told = f"{number:>4}/{of}  {'ok    ' if seen['passed'] else 'FAILED'} {seen['seconds']:5.0f} s  {seen['case']}"
    told += f"  [settled in {figures.get('settled_s', '?')} s, held {figures.get('held', '?')}]"
    return "\n".join([told, *(f"            {problem}" for problem in seen["problems"])])


def _row(action: str, fault: str, of: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    def total(name: str) -> int:
        return sum(int(seen["figures"].get(name) or 0) for seen in of)

    settled = max((float(seen["figures"].get("settled_s") or 0) for seen in of), default=0.0)
    return (
        action,
        fault,
        str(len(of)),
        str(sum(1 for seen in of if seen["passed"])),
        str(total("requests")),
        str(total("held")),
        str(total("failed")),
        f"{settled:.1f} s",
        str(total("jobs")),
        str(total("slots_doubled")),
        f"{sum(float(seen['seconds']) for seen in of):.0f}",
    )


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return one row for each action and fault that was run, and one for all."""
    rows = [HEAD]
    for action in ACTIONS:
        for fault in FAULTS:
            of = [seen for seen in found if seen["action"] == action and seen["fault"] == fault.name]
            if of:
                rows.append(_row(action, fault.name, of))
    rows.append(_row("all", "", found))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def summary(found: Sequence[Mapping[str, Any]], **more: object) -> dict[str, Any]:
    """Return the JSON object that stands last; a matrix that ran no case is not well."""
    failed = [seen for seen in found if not seen["passed"]]

    def total(name: str) -> int:
        return sum(int(seen["figures"].get(name) or 0) for seen in found)

    return {
        "suite": "fault-matrix",
        **more,
        "cases": len(found),
        "passed": len(found) - len(failed),
        "failed": len(failed),
        "by_fault": {
            fault: {"cases": len(of), "passed": sum(1 for seen in of if seen["passed"])}
            for fault, of in _by(found, "fault").items()
        },
        "requests": total("requests"),
        "requests_held": total("held"),
        "requests_failed": total("failed"),
        "jobs": total("jobs"),
        "slots_doubled": total("slots_doubled"),
        "settled_s_max": max((float(seen["figures"].get("settled_s") or 0) for seen in found), default=None),
        "failures": [{"case": seen["case"], "problems": seen["problems"]} for seen in failed],
        "ok": bool(found) and not failed,
    }


def _by(found: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for seen in found:
        groups.setdefault(str(seen[key]), []).append(seen)
    return dict(sorted(groups.items()))
