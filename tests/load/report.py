"""What a load saw: records, and what is computed from them. No clock, no input or output."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

UNIX_FROM = 1e9
"""A time above this is seconds since 1970; below it is seconds of the monotonic clock."""
SAMPLES = 25


class Record(NamedTuple):
    """One request. Times are seconds of the machine's monotonic clock."""

    due: float
    """When the schedule wanted it sent."""
    start: float
    end: float
    nominal_s: float
    kind: str
    edge: str
    status: int
    """0 when there was no whole answer."""
    color: str
    release: str
    error: str
    """Empty when all was well."""
    fresh: bool
    """Whether it opened a connection of its own."""

    @property
    def latency_s(self) -> float:
        """From when it was due (not from when it was sent) to its end, beyond what it is meant to take."""
        return self.end - self.due - self.nominal_s


@dataclass(frozen=True)
class Mark:
    """A named span of time; several marks may share a name."""

    name: str
    t0: float
    t1: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of numbers in ascending order; nan of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_ms(records: Iterable[Record]) -> dict[str, float | None]:
    """Percentiles of the latency, in milliseconds; of failed requests too: waiting in vain is waiting."""
    ordered = sorted(record.latency_s for record in records)
    if not ordered:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(1000 * percentile(ordered, share), 2) for name, share in shares.items()}


def tally(records: Sequence[Record]) -> dict[str, Any]:
    """Count, failures and latency of some records."""
    return {
        "count": len(records),
        "failed": sum(1 for record in records if record.error),
        "latency_ms": latency_ms(records),
    }


def _grouped(records: Sequence[Record], key: Callable[[Record], str]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return dict(sorted(groups.items()))


def spans(records: Sequence[Record], key: Callable[[Record], str], unix_offset_s: float) -> dict[str, Any]:
    """For each group: how many answers, and when the first and the last of them ended."""
    found = {}
    for name, group in _grouped([record for record in records if record.status], key).items():
        first, last = min(r.end for r in group), max(r.end for r in group)
        found[name] = {
            "count": len(group),
            "failed": sum(1 for record in group if record.error),
            "first_s": round(first, 4),
            "last_s": round(last, 4),
            "first_unix": round(first + unix_offset_s, 4),
            "last_unix": round(last + unix_offset_s, 4),
        }
    return found


def windows(records: Sequence[Record], marks: Sequence[Mark], unix_offset_s: float) -> dict[str, Any]:
    """Tallies of the requests that were due within marks, one for each name of a mark."""
    found: dict[str, Any] = {}
    for name in sorted({mark.name for mark in marks}):
        edges = [
            tuple(t - unix_offset_s if t > UNIX_FROM else t for t in (mark.t0, mark.t1))
            for mark in marks
            if mark.name == name
        ]
        inside = [record for record in records if any(t0 <= record.due < t1 for t0, t1 in edges)]
        found[name] = {
            "marks": len(edges),
            "seconds": round(sum(t1 - t0 for t0, t1 in edges), 3),
            **tally(inside),
            "releases": dict(Counter(record.release for record in inside if record.release)),
        }
    return found


def read_marks(path: Path) -> list[Mark]:
    """Read marks, one JSON object a line; ValueError names the line that is wrong."""
    marks = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            mark = Mark(str(data["name"]), float(data["t0"]), float(data["t1"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f'{path}:{number}: expected {{"t0": SECONDS, "t1": SECONDS, "name": TEXT}}, got {line[:80]!r}'
            ) from None
        if (mark.t0 > UNIX_FROM) != (mark.t1 > UNIX_FROM) or mark.t1 < mark.t0:
            raise ValueError(f"{path}:{number}: t1 must follow t0, on the same clock")
        marks.append(mark)
    return marks


def summary(records: Sequence[Record], marks: Sequence[Mark], unix_offset_s: float, cpu_s: float) -> dict[str, Any]:
    """Everything that a run is judged by, as one JSON object."""
    failed = [record for record in records if record.error]
    begun, ended = (min(r.due for r in records), max(r.end for r in records)) if records else (math.nan, math.nan)
    seconds = max(r.due for r in records) - begun if len(records) > 1 else math.nan
    lag = sorted(record.start - record.due for record in records)
    return {
        "requests": len(records),
        "failed": len(failed),
        "failures": dict(Counter(record.error for record in failed).most_common()),
        "samples": [{**record._asdict(), "unix": round(record.end + unix_offset_s, 3)} for record in failed[:SAMPLES]],
        "seconds": None if math.isnan(seconds) else round(seconds, 3),
        "rate": None if not seconds > 0 else round(len(records) / seconds, 1),
        "first_due_s": None if math.isnan(begun) else begun,
        "last_end_s": None if math.isnan(ended) else ended,
        "unix_offset_s": unix_offset_s,
        "generator": {
            "cpu_share": None if not seconds > 0 else round(cpu_s / seconds, 3),
            "lag_ms": None
            if not lag
            else {"p50": round(1e3 * percentile(lag, 0.5), 2), "p99": round(1e3 * percentile(lag, 0.99), 2)},
        },
        "new_connections": sum(1 for record in records if record.fresh),
        "latency_ms": latency_ms(records),
        "kinds": {name: tally(group) for name, group in _grouped(records, lambda r: r.kind).items()},
        "edges": spans(records, lambda r: r.edge, unix_offset_s),
        "colors": spans(records, lambda r: r.color or "unknown", unix_offset_s),
        "releases": spans(records, lambda r: r.release or "unknown", unix_offset_s),
        "releases_by_edge": spans(records, lambda r: f"{r.edge} {r.release or 'unknown'}", unix_offset_s),
        "windows": windows(records, marks, unix_offset_s),
    }
