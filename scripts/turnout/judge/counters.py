"""Cumulative counters, and what happened between two readings of them.

Only raw differences are used. `rate()` and `increase()` extrapolate to the edges of their window, which
invents events that nobody counted (Prometheus documentation, "increase").

Here and in the running evidence values are named tuples: as immutable as frozen dataclasses and built in
half the time, of which an hour's replay has half a million.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple


class Counter(NamedTuple):
    """One color's cumulative counts of one SLO: all events, and the bad ones among them."""

    total: float
    bad: float

    @property
    def good(self) -> float:
        """The events that ended well; a counter of its own where the SLO names a good query."""
        return self.total - self.bad

    @property
    def possible(self) -> bool:
        """Whether the two counts can belong together: 0 <= bad <= total."""
        return 0.0 <= self.bad <= self.total


class Delta(NamedTuple):
    """Events between two readings: `n` in all, `e` of them bad."""

    n: float = 0.0
    e: float = 0.0


NOTHING = Delta()


def together(one: Delta, other: Delta) -> Delta:
    """Return the events of two stretches."""
    return Delta(one.n + other.n, one.e + other.e)


def since(later: Delta, earlier: Delta) -> Delta:
    """Return the events of a stretch that began after another, longer one did."""
    return Delta(later.n - earlier.n, later.e - earlier.e)


def difference(before: Counter, after: Counter) -> Delta:
    """Return what happened between two readings.

    A count that fell means that the process began anew, so everything in the new reading is new. Both
    counts belong to one process: when either falls, both are read anew. The bad events are never more than
    all events; a difference where they are (a scrape between the two increments) counts only the possible
    ones.
    """
    if after.total < before.total or after.bad < before.bad:
        return Delta(after.total, after.bad)
    n = after.total - before.total
    return Delta(n, min(after.bad - before.bad, n))


class Tally(NamedTuple):
    """One color's events of one SLO, followed reading by reading since the first one.

    `total` events began, of which `bad` are known to be bad. Where good ones are counted (the other `bad` of a
    reading is then total minus good, which also holds what is still in flight), `gap` is what total minus good has
    grown by and `peak` the most that it was; it falls when answers end, by as much as was in flight at least, and the
    deepest fall is `in_flight`. `lost` events were in flight in a process that began anew: nobody will say how they
    ended.
    """

    reading: Counter | None = None
    total: float = 0.0
    bad: float = 0.0
    gap: float = 0.0
    peak: float = 0.0
    in_flight: float = 0.0
    lost: float = 0.0

    @property
    def seen(self) -> Delta:
        """All events that began, those in flight among them."""
        return Delta(self.total, self.bad)

    @property
    def judged(self) -> Delta:
        """The events whose end is known: those in flight are not judged yet. Neither count ever falls."""
        return Delta(self.total - self.lost - max(0.0, self.gap - self.bad), self.bad)


def follow(tally: Tally, after: Counter, *, counts_good: bool, in_flight: float = 0.0) -> Tally:
    """Return the tally after one more reading.

    `counts_good` says that total and good are the raw counters, else total and bad are; a fall of a raw counter is a
    restart, and no other fall is. Good and total may be counted at different moments of an event (total at its start),
    so that total minus good is bad only where it is more than can be in flight: `in_flight` events, or as many as
    were seen to be.
    """
    before = tally.reading
    if before is None:
        return tally._replace(reading=after)
    if not counts_good:
        seen = together(tally.seen, difference(before, after))
        return Tally(after, seen.n, seen.e, gap=seen.e)
    if after.total < before.total or after.good < before.good:
        # Total is counted on where only good began anew; what it counted since is lost then, as is what was in flight.
        anew = after.total < before.total
        n = after.total if anew else after.total - before.total
        open_ = max(0.0, tally.gap - tally.bad)
        lost = tally.lost + open_ + (0.0 if anew else max(0.0, n - after.good))
        gap = tally.bad + (after.bad if anew else 0.0)
        tally = tally._replace(gap=gap, peak=gap, lost=lost)
    else:
        n = after.total - before.total
        gap = tally.gap + n - (after.good - before.good)
        peak = max(tally.peak, gap)
        tally = tally._replace(gap=gap, peak=peak, in_flight=max(tally.in_flight, peak - gap))
    bad = max(tally.bad, tally.gap - max(in_flight, tally.in_flight))
    return tally._replace(reading=after, total=tally.total + n, bad=bad)


def in_flight_at(share: float, at_full: float) -> float:
    """Return how many events may be in flight at a share of the traffic, where there are `at_full` with all of it.

    Their number varies as a Poisson count does, so three of its standard deviations are added.
    """
    mean = at_full * share
    return float(ceil(mean + 3.0 * sqrt(mean)))
