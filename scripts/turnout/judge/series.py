"""Raw scrapes of several targets into one color's counters.

Pure: `prometheus` fetches the samples. A scrape is followed sample by sample, each series by itself, so
that one restarted process of several does not look like a fall of their sum, and a series that appears with
its first event is counted from zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from turnout.judge.counters import Counter
from turnout.slo.model import Slo, Source

Labels = frozenset[tuple[str, str]]
Target = tuple[str, str]
"""A scrape target: its labels job and instance."""

TARGET_LABELS = ("__name__", "job", "instance", "host")
"""Labels that a target gives to all of its series; they never make two series differ in kind."""


def target_of(labels: Labels) -> Target:
    """Return the target that a series comes from."""
    found = dict(labels)
    return found.get("job", ""), found.get("instance", "")


def kinds(source: Source, series: Iterable[Labels]) -> set[Labels]:
    """Return what is left of the series' labels without the target's and those that the source sums over.

    More than one kind means that the query caught counters of different things.
    """
    dropped = {*TARGET_LABELS, source.color_label, *source.sum_over}
    return {frozenset((name, value) for name, value in labels if name not in dropped) for labels in series}


def differing(found: Iterable[Labels]) -> list[str]:
    """Return the labels in which kinds of series differ."""
    listed = [dict(kind) for kind in found]
    names = {name for kind in listed for name in kind}
    return sorted(name for name in names if len({kind.get(name) for kind in listed}) > 1)


@dataclass(frozen=True, slots=True)
class Tick:
    """One scrape of one target: when, whether it answered, and the values of a color's series in it."""

    t_s: float
    up: bool
    total: Mapping[Labels, float]
    part: Mapping[Labels, float]


@dataclass(slots=True)
class _TargetState:
    """What is known of one target: the last value of every series, and how its last scrape went.

    One series may be both in the total and in its part, so each has its own last values.
    """

    total: dict[Labels, float] = field(default_factory=dict)
    part: dict[Labels, float] = field(default_factory=dict)
    counted: bool = False
    last_s: float = float("-inf")
    trouble: str | None = None


def _grow(last: dict[Labels, float], values: Mapping[Labels, float], *, counted: bool) -> float:
    """Return what the series of a scrape counted since the last one, and remember their values.

    A series never seen before on a target that was already counted began at zero. On a target's first
    scrape it is where counting begins.
    """
    grown = 0.0
    for labels, value in values.items():
        before = last.get(labels)
        if before is None:
            grown += value if counted else 0.0
        else:
            grown += value - before if value >= before else value
        last[labels] = value
    return grown


class ColorCounter:
    """Adds up one color's events of one SLO over its targets, from the first scrape that it is fed."""

    def __init__(self, slo: Slo) -> None:
        """Begin at zero."""
        self.slo = slo
        self._total = 0.0
        self._part = 0.0
        self._in_flight_before = 0.0
        self._targets: dict[Target, _TargetState] = {}

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets seen so far."""
        return tuple(self._targets)

    def last_s(self, target: Target) -> float:
        """Return the time of the last scrape that was fed of a target, minus infinity before any."""
        state = self._targets.get(target)
        return float("-inf") if state is None else state.last_s

    def feed(self, target: Target, tick: Tick) -> None:
        """Take one scrape of a target; scrapes come in the order of their time, and older ones are passed
        over."""
        state = self._targets.setdefault(target, _TargetState())
        if tick.t_s <= state.last_s:
            return
        state.last_s = tick.t_s
        if not tick.up:
            state.trouble = "did not answer its last scrape (up is 0)"
        elif not tick.total:
            state.trouble = f"had no series of {self.slo.total.query!r} in its last scrape"
        elif not tick.part and not self.slo.part.absent_is_zero:
            state.trouble = f"had no series of {self.slo.part.query!r} in its last scrape"
        else:
            state.trouble = None
            self._total += _grow(state.total, tick.total, counted=state.counted)
            self._part += _grow(state.part, tick.part, counted=state.counted)
            state.counted = True
            if self.slo.bad is None:
                # Good ones of events that began before counting did; without them total minus good falls below zero.
                self._in_flight_before = max(self._in_flight_before, self._part - self._total)

    def trouble(self, now_s: float, stale_s: float) -> str | None:
        """Return why the color cannot be read now, None where it can.

        It can be read when every target that it ever had answered within `stale_s` and had its series.
        """
        if not self._targets:
            return "has no series"
        for (job, instance), state in sorted(self._targets.items()):
            age_s = now_s - state.last_s
            if age_s > stale_s:
                return f"{job} {instance} was last scraped {age_s:.1f} s ago"
            if state.trouble is not None:
                return f"{job} {instance} {state.trouble}"
        return None

    @property
    def counter(self) -> Counter:
        """All and bad events since the first scrape."""
        bad = self._part if self.slo.bad is not None else self._total - self._part + self._in_flight_before
        return Counter(self._total, min(max(bad, 0.0), self._total))
