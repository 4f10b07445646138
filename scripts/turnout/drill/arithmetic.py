"""The arithmetic of a drill: RPO, RTO and verdict from what was measured. Pure, no clock and no file is read here.

RPO is the failure instant F minus the commit time of the last recovered heartbeat, on the primary's clock. RTO is the
first end-to-end success minus F on one monotonic clock, plus the declared time to detect and to decide, less what is
declared to lie outside of it (validations that a real restore would not wait for).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from turnout.drill.record import (
    PHASES,
    Check,
    Failure,
    Outcome,
    Phase,
    Recovered,
    Rpo,
    Source,
    Verdict,
    lsn_number,
)
from turnout.errors import TurnoutError

F_TOLERANCE_S = 1.0
"""F is read in one query, but the list of what the repository held is taken a moment later: a heartbeat may commit, and
a segment reach the archive, between the two. So much later than F the recovered state may lie and still count as no
loss; anything beyond means that the drill used what did not exist at F."""

OPTIONAL_PHASES = frozenset({"redis_objects"})
"""Phases that a complete drill may lack: a service may have neither Redis nor uploaded files."""

DECLARED_PHASES = ("detect", "decide")
"""What a drill cannot measure: how long people and alerts take."""

MEASURED_PHASES = tuple(name for name in PHASES if name not in DECLARED_PHASES)

RTO_TOLERANCE = 0.01
"""Relative difference that is allowed between the sum of the phases and the whole."""

_TICK_S = 0.001
"""Numbers are written with milliseconds."""


def lsn_distance(later: str, earlier: str) -> int:
    """Return the bytes of WAL from `earlier` to `later`; negative where `later` comes first."""
    return lsn_number(later) - lsn_number(earlier)


def measure_rpo(failure: Failure, recovered: Recovered) -> Rpo:
    """Return what was lost between the failure instant and the recovered state, never below zero.

    Raises TurnoutError `drill-after-failure` where the recovered state is younger than F by more than
    `F_TOLERANCE_S`: such a drill recovered from what a failure at F would have destroyed.
    """
    seconds = (failure.at - recovered.at).total_seconds()
    if seconds < -F_TOLERANCE_S:
        raise TurnoutError(
            "drill-after-failure",
            observed=f"the last recovered heartbeat was committed {-seconds:.3f} s after the declared failure",
            expected=f"a state from before the failure (at most {F_TOLERANCE_S:g} s after it, while F is being read)",
            remedy="restore only what the repository held at F: name backup set and last WAL segment in the restore",
        )
    return Rpo(
        seconds=round(max(0.0, seconds), 3),
        heartbeats=max(0, failure.heartbeat - recovered.heartbeat),
        wal_bytes=max(0, lsn_distance(failure.lsn, recovered.lsn)),
    )


def measure_phases(
    began_s: float, marks: Iterable[tuple[str | None, float]], declared_s: Mapping[str, float]
) -> tuple[Phase, ...]:
    """Return the phases of the RTO, in their order.

    `began_s` is F and each mark the end of a phase, both in seconds on one monotonic clock; a phase lasts from the mark
    before it to its own. A phase marked twice has both stretches. A mark named None ends a stretch outside the RTO.
    `declared_s` has the seconds of `detect` and `decide`.

    Raises TurnoutError `drill-marks` for an unknown phase, a mark before the one before it, or a declared time that
    is missing or not above zero.
    """
    sums: dict[str, float] = {}
    previous_s = began_s
    for name, ended_s in marks:
        if name is not None and (name not in PHASES or name in DECLARED_PHASES):
            raise _marks(f"phase {name!r}", "a measured phase: " + ", ".join(MEASURED_PHASES))
        if not ended_s >= previous_s:
            raise _marks(
                f"{name or 'the stretch outside the RTO'} ends at {ended_s:.3f} s, before {previous_s:.3f} s",
                "marks that never fall, from one monotonic clock",
            )
        if name is not None:
            sums[name] = sums.get(name, 0.0) + ended_s - previous_s
        previous_s = ended_s
    for name in DECLARED_PHASES:
        seconds = declared_s.get(name)
        if seconds is None or not (seconds > 0.0 and isfinite(seconds)):
            raise TurnoutError(
                "drill-marks",
                observed=f"the declared time to {name} is {seconds}",
                expected="seconds above 0: nobody notices or decides in no time",
                remedy=f"recovery.{name}_s in group_vars/all/recovery.yml of the inventory",
            )
        sums[name] = seconds
    return tuple(
        Phase(name, round(sums[name], 3), Source.DECLARED if name in DECLARED_PHASES else Source.MEASURED)
        for name in PHASES
        if name in sums
    )


def _marks(observed: str, expected: str) -> TurnoutError:
    return TurnoutError(
        "drill-marks", observed=observed, expected=expected, remedy="mark each phase where it ends, in order"
    )


def rto_seconds(phases: Sequence[Phase]) -> float:
    """Return the sum of the phases."""
    return round(sum(phase.seconds for phase in phases), 3)


def sums_to(phases: Sequence[Phase], whole_s: float) -> bool:
    """Tell whether the phases sum to `whole_s` within 1 % (or the rounding of each)."""
    allowed = max(RTO_TOLERANCE * whole_s, _TICK_S * (len(phases) + 1))
    return abs(sum(phase.seconds for phase in phases) - whole_s) <= allowed


def missing_phases(phases: Iterable[Phase]) -> tuple[str, ...]:
    """Return the phases without which a drill did not reach its end, in their order."""
    seen = {phase.name for phase in phases}
    return tuple(name for name in PHASES if name not in seen and name not in OPTIONAL_PHASES)


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """Return the verdict of the checks: fail beats inconclusive beats pass; an unknown check is never a pass, and no
    checks at all are inconclusive."""
    outcomes = {check.outcome for check in checks}
    if Outcome.FAIL in outcomes:
        return Verdict.FAIL
    if outcomes == {Outcome.PASS}:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def worse(one: Verdict, other: Verdict) -> Verdict:
    """Return the worse of two verdicts."""
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    return max(one, other, key=order.index)
