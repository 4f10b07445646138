"""phi: by how much stable's bad events come in bursts.

Errors that come one by one and errors that come fifty at a time can have the same ratio. The likelihood
ratios count every bad event as independent, so bursts would look like overwhelming evidence; phi says how
many bad events count as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from math import sqrt
from operator import mul
from statistics import fmean, median

from turnout.judge.counters import Counter, Tally, follow

BLOCKS_S = (5.0, 60.0)
ENOUGH_S = 1800.0
WANTED_S = 7200.0
"""How much history is asked for. The thirty blocks of a minute in half an hour give phi a standard deviation of a
quarter, and the larger of two noisy estimates is too large on average: with two hours 7 % fewer requests fail before
1 % bad is found beside a stable at 0.4 %."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """What stable's history says about bursts.

    `phi` is at least 1. `span_s` is the length of the history that was readable; `total` and `bad` count
    its events. `blocks` holds, per block length that could be measured, its estimate before the maximum was
    taken. `in_flight` events were in flight at once: begun, and not yet known to be good or bad.
    `clumps` is to all events what phi is to bad ones: how many come at a time.
    """

    phi: float
    span_s: float
    total: float
    bad: float
    blocks: tuple[tuple[float, float], ...]
    in_flight: float = 0.0
    clumps: float = 1.0

    @property
    def enough(self) -> bool:
        """Whether the history is as long as the stated false-rollback rates assume: 30 minutes.

        A scrape's worth of tolerance, since a history of 1,800 scrapes at 1 s spans 1,799 s.
        """
        return self.span_s >= ENOUGH_S * 0.99 and bool(self.blocks)


UNKNOWN = Dispersion(phi=1.0, span_s=0.0, total=0.0, bad=0.0, blocks=())


def _slots(history: Sequence[tuple[float, Counter | None]], bad: Sequence[float]) -> tuple[list[float | None], float]:
    """Return the bad events since the first reading, one entry a scrape interval, and the interval in seconds.

    None marks a scrape that is missing. Intervals are counted from scrape to scrape, so that a clock that
    drifts against its nominal interval does not shift the blocks.
    """
    times = [t for t, _ in history]
    interval = median([b - a for a, b in pairwise(times) if b > a] or [0.0])
    if interval <= 0.0:
        return [], 0.0
    slots: list[float | None] = []
    previous_t: float | None = None
    for (t, reading), seen in zip(history, bad, strict=True):
        if previous_t is not None:
            skipped = round((t - previous_t) / interval) - 1
            if skipped < 0:
                slots.pop()
            slots.extend([None] * skipped)
        previous_t = t
        slots.append(seen if reading is not None and reading.possible else None)
    return slots, interval


def _tallies(readings: Iterable[Counter | None], *, counts_good: bool) -> list[Tally]:
    """Return the tally after each reading; a missing or impossible one leaves it as it was."""
    tally, found = Tally(), []
    for reading in readings:
        if reading is not None and reading.possible:
            tally = follow(tally, reading, counts_good=counts_good)
        found.append(tally)
    return found


def _settled(gaps: Sequence[float], fell: float) -> list[float]:
    """Return the bad events in a history of total minus good, without what was in flight.

    No more were bad than total minus good ever was later. What it rose by between the moments at which it was that
    little is spread evenly, except for more than it ever `fell` by, which is a burst.
    """
    low: list[int] = []
    for index in reversed(range(len(gaps))):
        if not low or gaps[index] <= gaps[low[-1]]:
            low.append(index)
    low.reverse()
    found = [gaps[low[0]]] * (low[0] + 1) if low else []
    for one, two in pairwise(low):
        rise, scrapes = gaps[two] - gaps[one], two - one
        found += [gaps[one] + (rise * n / scrapes if rise <= fell else 0.0) for n in range(1, scrapes)] + [gaps[two]]
    return found


LAGS = 60
"""Longest time in scrapes over which answers are looked for; twice what can be told of it."""
ENDED = 0.1
"""The part still in flight below which events count as ended; so does one that is lost in the estimate's noise."""


def _in_flight(seen: Sequence[Tally]) -> float:
    """Return how many events were in flight at once, 0 where good and total were counted at the same moment.

    As many as total minus good once fell by, at least. Where events last longer than a scrape, hardly all of them end
    at once, so their mean number is worked out too, as events a scrape x the scrapes that one lasts. S(k), the part
    that is in flight k scrapes after its start, is the regression of total minus good on the events that began then
    (a random-walk of bad events is the same at all lags, and is taken off); the sum of S(k) is the mean life.
    """
    fell = seen[-1].in_flight if seen else 0.0
    lags = min(LAGS, len(seen) // 10)
    if not fell or lags < 4:
        return fell
    began = [after.total - before.total for before, after in pairwise(seen)]
    mean = fmean(began)
    odd = [n - mean for n in began]
    variance = fmean([n * n for n in odd])
    if not variance:
        return fell
    grown = [seen[t].gap - seen[t - lags - 1].gap for t in range(lags + 1, len(seen))]
    middle = fmean(grown)
    grown = [gap - middle for gap in grown]
    left = [fmean(map(mul, grown, odd[lags - k :])) / variance for k in range(lags + 1)]
    always = fmean(left[lags // 2 :])
    noise = sqrt(fmean([gap * gap for gap in grown]) / variance / len(grown))
    lasted = takewhile(lambda part: part > max(ENDED, 3.0 * noise), (part - always for part in left))
    return max(fell, mean * sum(lasted))


def _block_estimate(slots: Sequence[float | None], stride: int) -> float | None:
    """Return sum (e1 - m/2)^2 / sum(m/4) over blocks of `stride` intervals, None where no bad event was in
    one.

    A block of an odd number of intervals has its middle one left out of m and of e1: at 1 s scrapes a 5 s
    block compares its first two seconds with its last two. Splitting the middle scrape's events evenly
    instead would make bursts look smaller than they are.
    """
    half = stride // 2
    squares = quarters = 0.0
    for start in range(0, len(slots) - stride, stride):
        begin, middle = slots[start], slots[start + half]
        second, end = slots[start + stride - half], slots[start + stride]
        if begin is None or middle is None or second is None or end is None:
            continue
        e1, e2 = middle - begin, end - second
        squares += ((e1 - e2) / 2.0) ** 2
        quarters += (e1 + e2) / 4.0
    return squares / quarters if quarters > 0.0 else None


def overdispersion(
    history: Iterable[tuple[float, Counter | None]],
    blocks_s: Sequence[float] = BLOCKS_S,
    *,
    counts_good: bool = False,
) -> Dispersion:
    """Return phi from stable's own history, readings in time order.

    phi = max(1, max over block lengths of sum (e1 - m/2)^2 / sum(m/4)), where m is a block's bad events and
    e1 those of its first half. Were bad events independent at a steady rate, e1 would be binomial with a
    variance of m/4 and the quotient about 1; events that come k at a time make it about k. The two block
    lengths see bursts of about a second and of about half a minute. A block is used when its borders were
    scraped; a block length is used when at least two scrapes fit in it.
    """
    readings = list(history)
    counters = [reading for _, reading in readings]
    seen = _tallies(counters, counts_good=counts_good)
    in_flight = _in_flight(seen)
    gaps = [tally.gap for tally in seen]
    slots, interval = _slots(readings, _settled(gaps, seen[-1].in_flight) if in_flight else gaps)
    known = [t for t, reading in readings if reading is not None and reading.possible]
    if interval <= 0.0 or len(known) < 2:
        return UNKNOWN
    all_slots, _ = _slots(readings, [tally.total for tally in seen])
    clumps = 1.0
    blocks: list[tuple[float, float]] = []
    for block_s in blocks_s:
        if block_s / interval < 1.5:
            continue
        stride = max(2, round(block_s / interval))
        if len(slots) <= stride:
            continue
        estimate = _block_estimate(slots, stride)
        blocks.append((block_s, 1.0 if estimate is None else estimate))
        clumps = max(clumps, _block_estimate(all_slots, stride) or 1.0)
    return Dispersion(
        phi=max([1.0, *(estimate for _, estimate in blocks)]),
        span_s=known[-1] - known[0],
        total=seen[-1].total,
        bad=gaps[-1],
        blocks=tuple(blocks),
        in_flight=in_flight,
        clumps=clumps,
    )
