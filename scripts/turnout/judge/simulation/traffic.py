"""Requests and errors of many releases at once, second by second.

All arrays have one entry a release. Good and bad requests are independent Poisson counts, so a second's
number of requests varies as it does in life.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bursts:
    """Errors that come many at a time, in one second: sizes are geometric with mean `size`.

    They make up all of the bad ratio, with the same average as single errors would have.
    """

    size: float


@dataclass(frozen=True, slots=True)
class OnOff:
    """Errors that come in phases, of `on_s` seconds on average with a bad ratio of `ratio`.

    The phases take `duty` of the time; each color has its own. Between them the bad ratio is the ordinary
    one.
    """

    ratio: float
    on_s: float
    duty: float


@dataclass(frozen=True, slots=True)
class Outage:
    """Both colors fail together: `ratio` of the requests for `seconds`, beginning at a random time."""

    ratio: float
    seconds: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the requests and errors of a release are drawn.

    `stable` and `candidate` are bad ratios; the candidate's holds from `onset_s` on, and is stable's
    before. `giant` bad requests hit the candidate in one second at a random time. For `cold_s` seconds from
    its start a further `cold_ratio` of the candidate's requests are bad.
    """

    requests_per_s: float
    stable: float
    candidate: float
    onset_s: int = 0
    bursts: Bursts | None = None
    on_off: OnOff | None = None
    outage: Outage | None = None
    giant: int = 0
    cold_s: int = 0
    cold_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Second:
    """One second's counts: all and bad requests, of stable (b) and of the candidate (g)."""

    n_b: Floats
    e_b: Floats
    n_g: Floats
    e_g: Floats


class Drawer:
    """Draws the seconds of `count` releases, one after the other."""

    def __init__(self, traffic: Traffic, count: int, seconds: int, rng: np.random.Generator) -> None:
        """Choose what is random once a release: when the outage and the giant burst come."""
        self.traffic = traffic
        self.count = count
        self.rng = rng
        self.giant_at = rng.integers(0, max(1, seconds), count)
        self.outage_at = rng.integers(0, max(1, seconds - (traffic.outage.seconds if traffic.outage else 0)), count)
        self._on = {color: self._begin_phase() for color in "bg"}

    def _begin_phase(self) -> Bools:
        duty = self.traffic.on_off.duty if self.traffic.on_off else 0.0
        return self.rng.random(self.count) < duty

    def _phase(self, color: str) -> Bools:
        """Move a color's phases by one second and return where they are on."""
        on_off = self.traffic.on_off
        if on_off is None:
            return self._on[color]
        end = 1.0 / on_off.on_s
        begin = end * on_off.duty / (1.0 - on_off.duty)
        draw = self.rng.random(self.count)
        self._on[color] = np.where(self._on[color], draw >= end, draw < begin)
        return self._on[color]

    def _color(self, color: str, rate: Floats, ratio: Floats) -> tuple[Floats, Floats]:
        """Return a color's all and bad requests in one second, of `rate` requests on average."""
        traffic, rng = self.traffic, self.rng
        if traffic.bursts is not None:
            number = rng.poisson(rate * ratio / traffic.bursts.size)
            bad = np.zeros(self.count)
            hit = np.flatnonzero(number)
            if hit.size:
                # A sum of k geometric sizes is k plus a negative binomial.
                p = 1.0 / traffic.bursts.size
                bad[hit] = number[hit] + rng.negative_binomial(number[hit], p)
            return rng.poisson(rate * (1.0 - ratio)) + bad, bad
        if traffic.on_off is not None:
            ratio = np.where(self._phase(color), np.maximum(ratio, traffic.on_off.ratio), ratio)
        bad = rng.poisson(rate * ratio).astype(np.float64)
        return rng.poisson(rate * (1.0 - ratio)) + bad, bad

    def second(self, t: int, share: Floats) -> Second:
        """Return second `t` of the release, with the candidate's share of each release."""
        traffic = self.traffic
        stable = np.full(self.count, traffic.stable)
        candidate = np.full(self.count, traffic.candidate if t >= traffic.onset_s else traffic.stable)
        if t < traffic.cold_s:
            candidate = np.minimum(1.0, candidate + traffic.cold_ratio)
        if traffic.outage is not None:
            out = (t >= self.outage_at) & (t < self.outage_at + traffic.outage.seconds)
            stable = np.where(out, traffic.outage.ratio, stable)
            candidate = np.where(out, np.maximum(candidate, traffic.outage.ratio), candidate)
        n_b, e_b = self._color("b", traffic.requests_per_s * (1.0 - share), stable)
        n_g, e_g = self._color("g", traffic.requests_per_s * share, candidate)
        if traffic.giant:
            extra = np.where(self.giant_at == t, float(traffic.giant), 0.0)
            n_g, e_g = n_g + extra, e_g + extra
        return Second(n_b, e_b, n_g, e_g)

    def history(self, seconds: int) -> Floats:
        """Return stable's bad requests in the seconds before the release, with all the traffic to itself."""
        rate = np.full(self.count, self.traffic.requests_per_s)
        ratio = np.full(self.count, self.traffic.stable)
        return np.stack([self._color("b", rate, ratio)[1] for _ in range(seconds)])
