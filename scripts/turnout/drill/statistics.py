"""What the history of drills says: quantiles, and the projection of the worst case with the error of past ones. Pure.

One drill samples a sawtooth: the age of the last archived segment, of the last backup. So quantiles over the history
are what is reported, of every drill that measured the value, whatever its verdict; leaving out the bad ones would
flatter.

Projected worst case = declared + fixed + data / copy rate + WAL rate x backup interval / replay rate (DESIGN,
section 9). `fixed` is all that is measured and does not grow with size. Rates come from the drills before; the same
model, given the sizes of a later drill, predicts that drill, and the difference to what was measured is the
projection's own error.

A rate says something of times and sizes like those that it was measured at, and nothing of a thousand times as much:
WAL is counted by its positions, and the segments that a backup or `archive_timeout` closes are full of zeros, which
compress to nothing and are replayed in no time. So the rates of WAL are those of drills whose backup was old enough (at
least the interval between two backups divided by `FARTHEST`) and had enough WAL after it (`LEAST_WAL_BYTES`, unless it
covered a whole interval), and nothing is projected to more than `FARTHEST` times what was replayed. Without such a
drill there is no projection, and it is said what would make one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from statistics import median

from turnout.counts import counted
from turnout.drill.record import Drill, Source
from turnout.drill.words import duration, size

LOOK_BACK = 10
"""Drills that a projection is made from: hardware and data change, so old rates are dropped."""

FARTHEST = 10
"""What was measured is projected to at most so many times its size and its time."""

LEAST_WAL_BYTES = 8 * 16 * 2**20
"""Eight segments of the usual size. A backup closes up to three by itself, and `archive_timeout` may have closed
others: fewer say next to nothing of what production writes."""

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
    most_data_bytes: int
    most_wal_bytes: int

    def reaches(self, data_bytes: float, wal_bytes: float) -> bool:
        """Tell whether such sizes are near enough to what was measured."""
        return data_bytes <= FARTHEST * self.most_data_bytes and wal_bytes <= FARTHEST * self.most_wal_bytes

    def measured_s(self, data_bytes: float, wal_bytes: float) -> float:
        """Return how long the model expects a restore of so much data and WAL to take, detect and decide apart."""
        one = self.costs
        return one.fixed_s + one.copy_s_per_byte * data_bytes + one.replay_s_per_byte * wal_bytes


def model(before: Iterable[Drill]) -> Model | None:
    """Return the model of the last `LOOK_BACK` drills that measured it, or None where there is none."""
    measured = [(drill, one) for drill in before if (one := costs(drill)) is not None][-LOOK_BACK:]
    known = [one for _, one in measured]
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
        max(drill.sizes.data_bytes or 0 for drill, _ in measured),
        max(drill.sizes.wal_bytes or 0 for drill, _ in measured),
    )


@dataclass(frozen=True, slots=True)
class Worst:
    """The projected worst case: a failure just before the next backup, at the highest rate of WAL seen.

    `drills` are those that it is made from, of which the largest replayed `seen_wal_bytes`, and the longest time from a
    backup to a failure was `seen_age_s`: `wal_bytes` lies at most `FARTHEST` times beyond.
    """

    rto_s: float
    declared_s: float
    fixed_s: float
    copy_s: float
    replay_s: float
    data_bytes: int
    wal_bytes: float
    drills: int
    seen_wal_bytes: int
    seen_age_s: float


def _says_rate(drill: Drill, interval_s: float) -> bool:
    """Tell whether a drill's backup had enough time and WAL after it to say what an interval between two brings."""
    age_s, wal = drill.sizes.backup_age_s or 0.0, drill.sizes.wal_bytes or 0
    return age_s >= interval_s or (age_s * FARTHEST >= interval_s and wal >= LEAST_WAL_BYTES)


def projection(drills: Sequence[Drill]) -> Worst | str:
    """Return the projection from all drills so far, or why there is none and what would make one."""
    sized = [drill for drill in drills if costs(drill) is not None][-LOOK_BACK:]
    if not sized:
        return "no drill has reached its end and knows what it copied and replayed"
    interval_s = next((one.sizes.backup_interval_s for one in reversed(sized) if one.sizes.backup_interval_s), None)
    if interval_s is None:
        return "no drill knows the interval between two backups (drill_backup_interval_s in group_vars/all/backup.yml)"
    # Times and WAL of the drills that say a rate; what is fixed, and how fast it copies, every drill knows.
    telling = [drill for drill in sized if _says_rate(drill, interval_s)]
    known, rates = model(sized), model(telling)
    if known is None or rates is None or rates.costs.wal_bytes_per_s is None:
        return _too_little(sized, interval_s)
    data = sized[-1].sizes.data_bytes or 0
    # A backup that was late makes more WAL than the schedule promises: the longest age seen counts too.
    age_s = max(drill.sizes.backup_age_s or 0.0 for drill in sized)
    wal = rates.costs.wal_bytes_per_s * max(interval_s, age_s)
    parts = (known.costs.fixed_s, known.costs.copy_s_per_byte * data, rates.costs.replay_s_per_byte * wal)
    rto_s = declared_s(sized[-1]) + sum(parts)
    if not isfinite(rto_s):  # a drill of next to no time makes any rate, and the projection from it, infinite
        return "the last drills measured next to no time or no data"
    if not rates.reaches(0, wal):
        return (
            f"{size(wal)} of WAL would be more than {FARTHEST} times the {size(rates.most_wal_bytes)} that a drill has "
            "replayed"
        )
    return Worst(
        rto_s,
        declared_s(sized[-1]),
        *parts,
        data_bytes=data,
        wal_bytes=wal,
        drills=len(telling),
        seen_wal_bytes=rates.most_wal_bytes,
        seen_age_s=max(drill.sizes.backup_age_s or 0.0 for drill in telling),
    )


def worst_case(drills: Sequence[Drill]) -> Worst | None:
    """Return the projection, or None where there is none."""
    found = projection(drills)
    return found if isinstance(found, Worst) else None


def _too_little(sized: Sequence[Drill], interval_s: float) -> str:
    """Return that no drill says a rate of WAL, and which one would."""
    most = max(sized, key=lambda drill: drill.sizes.backup_age_s or 0.0)
    return (
        f"of {counted(len(sized), 'drill')} the longest replayed {size(most.sizes.wal_bytes)} of WAL from "
        f"{duration(most.sizes.backup_age_s or 0.0)} after its backup, and {duration(interval_s)} lie between two; "
        f"wanted is one of at least {size(LEAST_WAL_BYTES)} and {duration(interval_s / FARTHEST)}: "
        "turnout drill, later after a backup"
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
    """Return a prediction for every drill that others like it came before: no one was ever asked for more."""
    found = []
    for index, drill in enumerate(drills):
        known = model(drills[:index])
        sizes = (drill.sizes.data_bytes or 0, drill.sizes.wal_bytes or 0)
        if known is None or costs(drill) is None or not measured_s(drill) or not known.reaches(*sizes):
            continue
        expected = known.measured_s(*sizes)
        found.append(Prediction(drill.id, expected, measured_s(drill)))
    return tuple(found)
