"""Drill records for tests: one good record, and strategies that draw any."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from turnout.drill.arithmetic import DECLARED_PHASES
from turnout.drill.finish import finish
from turnout.drill.record import (
    PHASES,
    Check,
    Drill,
    Failure,
    Mode,
    Outcome,
    Phase,
    Recovered,
    Sizes,
    Source,
)

F = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def lsn(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def phase(name: str, seconds: float) -> Phase:
    return Phase(name, seconds, Source.DECLARED if name in DECLARED_PHASES else Source.MEASURED)


SECONDS = {
    "detect": 60.0,
    "decide": 300.0,
    "provision": 0.0,
    "preflight": 1.5,
    "copy": 20.0,
    "consistency": 2.0,
    "target": 10.0,
    "promote": 1.0,
    "fixups": 0.5,
    "validation": 3.0,
    "redis_objects": 1.0,
    "smoke": 2.0,
}


def drill(number: int = 0, **changes: Any) -> Drill:
    """Return a good drill of night `number`; `changes` go to `finish`, `seconds` into its phases, `lost_s` into its
    RPO."""
    at = F + timedelta(days=number)
    seconds = {**SECONDS, **changes.pop("seconds", {})}
    lost_s = changes.pop("lost_s", 12.5)
    given: dict[str, Any] = {
        "id": f"drill-{number:03d}",
        "mode": Mode.LATEST,
        "started": at,
        "ended": at + timedelta(seconds=60),
        "failure": Failure(at, lsn(0x2_0000_0000), 1000),
        "recovered": Recovered(at - timedelta(seconds=lost_s), lsn(0x1_F000_0000), 1000 - int(lost_s)),
        "phases": tuple(phase(name, seconds[name]) for name in PHASES if seconds[name] is not None),
        "sizes": Sizes(2_000_000_000, 500_000_000, 43_200.0, 86_400.0),
        "checks": (Check("rows", Outcome.PASS, 0.2, "3 of 3"),),
        "egress_blocked": 4,
    }
    return finish(**{**given, **changes})


def replaced(one: Drill, **changes: Any) -> Drill:
    return replace(one, **changes)


moments = st.datetimes(datetime(2000, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))
lsns = st.integers(0, 2**64 - 1).map(lsn)
counts = st.integers(0, 2**53)
durations = st.floats(0, 1e6)
texts = st.text(max_size=20)
points = st.tuples(moments, lsns, counts)
checks = st.builds(Check, st.text(min_size=1, max_size=10), st.sampled_from(Outcome), durations, texts)


@st.composite
def phase_lists(draw: st.DrawFn) -> tuple[Phase, ...]:
    names = draw(st.one_of(st.just(PHASES), st.lists(st.sampled_from(PHASES), unique=True)))
    return tuple(
        phase(name, draw(st.floats(0.001, 1e6)) if name in DECLARED_PHASES else draw(durations))
        for name in PHASES
        if name in names
    )


@st.composite
def drills(draw: st.DrawFn) -> Drill:
    started = draw(moments)
    failure = draw(st.none() | points)
    recovered = draw(st.none() | points)
    return finish(
        id=draw(st.text(min_size=1, max_size=10)),
        mode=draw(st.sampled_from(Mode)),
        started=started,
        ended=started + timedelta(seconds=draw(durations)),
        failure=Failure(*failure) if failure else None,
        recovered=Recovered(*recovered) if recovered else None,
        phases=draw(phase_lists()),
        sizes=Sizes(
            draw(st.none() | counts), draw(st.none() | counts), draw(st.none() | durations), draw(st.none() | durations)
        ),
        checks=tuple(draw(st.lists(checks, max_size=4))),
        egress_blocked=draw(st.none() | counts),
        causes=draw(st.lists(st.text(min_size=1, max_size=10), max_size=2)),
    )
