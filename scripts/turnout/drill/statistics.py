"""What the history of drills says: quantiles, and the projection of the worst case with the error of past ones. Pure.

One drill samples a sawtooth: the age of the last archived segment, of the last backup. So quantiles over the history
are what is reported, of every drill that measured the value, whatever its verdict; leaving out the bad ones would
flatter.

Projected worst case = declared + fixed + data / copy rate + WAL rate x backup interval / replay rate (DESIGN,
section 9). `fixed` is all that is measured and does not grow with size. Rates come from the drills before; the same
model, given the sizes of a later drill, predicts that drill, and the difference to what was measured is the
projection's own error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from statistics import median

from turnout.drill.record import Drill, Source

LOOK_BACK = 10
"""Drills that a projection is made from: hardware and data change, so old rates are dropped."""

COPY = "copy"
REPLAY = ("consistency", "target")
"""Phases in which WAL is replayed: to consistency, then to the target."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of what was measured, in seconds; `count` values."""

    count: int
    p50: float
    p95: float
    max: float


def quantile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that at least a part `q` of the values do not exceed (nearest rank, no interpolation:
    an objective that was missed once in five drills was missed)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(q * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Spread | None:
    """Return the quantiles, or None of nothing."""
    known = list(values)
    if not known:
        return None
    return Spread(len(known), quantile(known, 0.5), quantile(known, 0.95), max(known))


@dataclass(frozen=True, slots=True)
class Costs:
    """What one drill says of the model: measured seconds that do not grow, seconds for a byte of data and of WAL, and
    the bytes of WAL that production writes a second."""

    fixed_s: float
    copy_s_per_byte: float
    replay_s_per_byte: float
    wal_bytes_per_s: float | None


def declared_s(drill: Drill) -> float:
    """Return the seconds of a drill's phases that were declared, not measured."""
    return sum(phase.seconds for phase in drill.phases if phase.source is Source.DECLARED)


def measured_s(drill: Drill) -> float:
    """Return the seconds of a drill's phases that were measured: its RTO less what was declared."""
    return sum(phase.seconds for phase in drill.phases if phase.source is Source.MEASURED)


def costs(drill: Drill) -> Costs | None:
    """Return the costs that a drill measured, or None of one that did not reach its end or knows no sizes."""
    copy_s = drill.phase_seconds(COPY)
    data, wal = drill.sizes.data_bytes, drill.sizes.wal_bytes
    if drill.rto_seconds is None or copy_s is None or not data or not wal:
        return None
    replay_s = sum(drill.phase_seconds(name) or 0.0 for name in REPLAY)
    age_s = drill.sizes.backup_age_s
    return Costs(
        fixed_s=measured_s(drill) - copy_s - replay_s,
        copy_s_per_byte=copy_s / data,
        replay_s_per_byte=replay_s / wal,
        wal_bytes_per_s=wal / age_s if age_s else None,
    )


@dataclass(frozen=True, slots=True)
class Model:
    """Costs of the last drills put together: medians, and the highest rate of WAL that was seen."""

    drills: int
    costs: Costs

    def measured_s(self, data_bytes: float, wal_bytes: float) -> float:
        """Return how long the model expects a restore of so much data and WAL to take, detect and decide apart."""
        one = self.costs
        return one.fixed_s + one.copy_s_per_byte * data_bytes + one.replay_s_per_byte * wal_bytes


def model(before: Iterable[Drill]) -> Model | None:
    """Return the model of the last `LOOK_BACK` drills that measured it, or None where there is none."""
    known = [one for one in map(costs, before) if one is not None][-LOOK_BACK:]
    if not known:
        return None
    rates = [one.wal_bytes_per_s for one in known if one.wal_bytes_per_s is not None]
    return Model(
        len(known),
        Costs(
            median(one.fixed_s for one in known),
            median(one.copy_s_per_byte for one in known),
            median(one.replay_s_per_byte for one in known),
            max(rates) if rates else None,
        ),
    )


@dataclass(frozen=True, slots=True)
class Worst:
    """The projected worst case: a failure just before the next backup, at the highest rate of WAL seen."""

    rto_s: float
    declared_s: float
    fixed_s: float
    copy_s: float
    replay_s: float
    data_bytes: int
    wal_bytes: float
    drills: int


def worst_case(drills: Sequence[Drill]) -> Worst | None:
    """Return the projection from all drills so far, or None where it would be no number or something is not known."""
    known = model(drills)
    sized = [drill for drill in drills if costs(drill) is not None]
    intervals = [drill.sizes.backup_interval_s for drill in sized if drill.sizes.backup_interval_s]
    if known is None or known.costs.wal_bytes_per_s is None or not intervals:
        return None
    data = sized[-1].sizes.data_bytes or 0
    # A backup that was late makes more WAL than the schedule promises: the longest age seen counts too.
    ages = [drill.sizes.backup_age_s for drill in sized[-LOOK_BACK:] if drill.sizes.backup_age_s]
    wal = known.costs.wal_bytes_per_s * max([intervals[-1], *ages])
    rto_s = declared_s(sized[-1]) + known.measured_s(data, wal)
    if not isfinite(rto_s):  # a drill of next to no time makes any rate, and the projection from it, infinite
        return None
    return Worst(
        rto_s=rto_s,
        declared_s=declared_s(sized[-1]),
        fixed_s=known.costs.fixed_s,
        copy_s=known.costs.copy_s_per_byte * data,
        replay_s=known.costs.replay_s_per_byte * wal,
        data_bytes=data,
        wal_bytes=wal,
        drills=known.drills,
    )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the drills before a drill predicted for its sizes, and what it measured; without the declared phases, which
    would make any prediction look good."""

    drill: str
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Return (predicted - measured) / measured; below 0 where the projection promised too much."""
        return (self.predicted_s - self.measured_s) / self.measured_s


def predictions(drills: Sequence[Drill]) -> tuple[Prediction, ...]:
    """Return a prediction for every drill that others came before."""
    found = []
    for index, drill in enumerate(drills):
        known = model(drills[:index])
        if known is None or costs(drill) is None or not measured_s(drill):
            continue
        expected = known.measured_s(drill.sizes.data_bytes or 0, drill.sizes.wal_bytes or 0)
        found.append(Prediction(drill.id, expected, measured_s(drill)))
    return tuple(found)
