"""phi: by how much stable's bad events come in bursts.

Errors that come one by one and errors that come fifty at a time can have the same ratio. The likelihood
ratios count every bad event as independent, so bursts would look like overwhelming evidence; phi says how
many bad events count as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from turnout.judge.counters import NOTHING, Counter, Delta, difference, together

BLOCKS_S = (5.0, 60.0)
ENOUGH_S = 1800.0


@dataclass(frozen=True, slots=True)
class Dispersion:
    """What stable's history says about bursts.

    `phi` is at least 1. `span_s` is the length of the history that was readable; `total` and `bad` count
    its events. `blocks` holds, per block length that could be measured, its estimate before the maximum was
    taken.
    """

    phi: float
    span_s: float
    total: float
    bad: float
    blocks: tuple[tuple[float, float], ...]

    @property
    def enough(self) -> bool:
        """Whether the history is as long as the stated false-rollback rates assume: 30 minutes.

        A scrape's worth of tolerance, since a history of 1,800 scrapes at 1 s spans 1,799 s.
        """
        return self.span_s >= ENOUGH_S * 0.99 and bool(self.blocks)


UNKNOWN = Dispersion(phi=1.0, span_s=0.0, total=0.0, bad=0.0, blocks=())


def _slots(history: Sequence[tuple[float, Counter | None]]) -> tuple[list[float | None], float, Delta]:
    """Return the bad events since the first reading, one entry a scrape interval, the interval in seconds,
    and the sum.

    None marks a scrape that is missing. Intervals are counted from scrape to scrape, so that a clock that
    drifts against its nominal interval does not shift the blocks.
    """
    times = [t for t, _ in history]
    interval = median([b - a for a, b in pairwise(times) if b > a] or [0.0])
    if interval <= 0.0:
        return [], 0.0, NOTHING
    slots: list[float | None] = []
    seen = NOTHING
    previous_t: float | None = None
    last: Counter | None = None
    for t, reading in history:
        if previous_t is not None:
            skipped = round((t - previous_t) / interval) - 1
            if skipped < 0:
                slots.pop()
            slots.extend([None] * skipped)
        previous_t = t
        if reading is None or not reading.possible:
            slots.append(None)
            continue
        if last is not None:
            seen = together(seen, difference(last, reading))
        last = reading
        slots.append(seen.e)
    return slots, interval, seen


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


def overdispersion(history: Iterable[tuple[float, Counter | None]], blocks_s: Sequence[float] = BLOCKS_S) -> Dispersion:
    """Return phi from stable's own history, readings in time order.

    phi = max(1, max over block lengths of sum (e1 - m/2)^2 / sum(m/4)), where m is a block's bad events and
    e1 those of its first half. Were bad events independent at a steady rate, e1 would be binomial with a
    variance of m/4 and the quotient about 1; events that come k at a time make it about k. The two block
    lengths see bursts of about a second and of about half a minute. A block is used when its borders were
    scraped; a block length is used when at least two scrapes fit in it.
    """
    readings = list(history)
    slots, interval, seen = _slots(readings)
    known = [t for t, reading in readings if reading is not None and reading.possible]
    if interval <= 0.0 or len(known) < 2:
        return UNKNOWN
    blocks: list[tuple[float, float]] = []
    for block_s in blocks_s:
        if block_s / interval < 1.5:
            continue
        stride = max(2, round(block_s / interval))
        if len(slots) <= stride:
            continue
        estimate = _block_estimate(slots, stride)
        blocks.append((block_s, 1.0 if estimate is None else estimate))
    return Dispersion(
        phi=max([1.0, *(estimate for _, estimate in blocks)]),
        span_s=known[-1] - known[0],
        total=seen.n,
        bad=seen.e,
        blocks=tuple(blocks),
    )
