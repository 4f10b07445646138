"""The running evidence: a mixture of bets, some of them placed late.

Source of mixtures and of their anytime validity: Howard et al. 2021, "Time-uniform, nonparametric,
nonasymptotic confidence sequences". Holding mass back and releasing it over time starts a small new test at
every scrape, so that a fault that begins late is not judged against an hour of good behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

from turnout.judge.constants import Constants


class EProcess(NamedTuple):
    """The state of one test: W_j, and the mass m that is still held back.

    `value` is E = m + sum W_j, 1 at the start; under the null it reaches 1/alpha with a probability of at
    most alpha.
    """

    held: float
    weights: tuple[float, ...]

    @property
    def value(self) -> float:
        """E = m + sum W_j."""
        return self.held + sum(self.weights)


def begin(constants: Constants) -> EProcess:
    """Return a fresh test: m = 1 - pi, W_j = pi/J."""
    count = len(constants.ratios)
    return EProcess(held=1.0 - constants.initial_mass, weights=(constants.initial_mass / count,) * count)


def held_mass(elapsed_s: float, constants: Constants) -> float:
    """Return m(t) = (1-pi) c/(c+t); `elapsed_s` counts from the test's first scrape."""
    c = constants.release_s
    return (1.0 - constants.initial_mass) * c / (c + elapsed_s)


def factors(llrs: Sequence[float], phi: float, constants: Constants) -> tuple[float, ...]:
    """Return what a scrape would multiply the components by, exp(l_j/phi), before `advance` cuts it.

    Dividing by phi >= 1 can only lower the expectation (Jensen), so the test stays valid.
    """
    top = log(constants.weight_ceiling)
    return tuple([exp(scaled if (scaled := llr / phi) < top else top) for llr in llrs])


def advance(process: EProcess, *, elapsed_s: float, grown: Sequence[float] | None, constants: Constants) -> EProcess:
    """Return the test after one scrape: W_j <- min(V f_j, max(V/alpha, comeback/J), 1e200), V = W_j + dm/J.

    f_j are the `factors`, and dm is the mass released since the last scrape. `grown` of None means nothing
    to judge: all factors are 1, and only mass moves. The cut lies at what the past alone says, and can only lower the
    expectation.
    """
    held = min(process.held, held_mass(elapsed_s, constants))
    count = len(process.weights)
    share = (process.held - held) / count
    if grown is None:
        return EProcess(held, tuple([w + share for w in process.weights]))
    most, comeback, ceiling = 1.0 / constants.alpha, constants.comeback / count, constants.weight_ceiling
    weights = [
        (w + share) * f if f <= most else min((w + share) * f, max((w + share) * most, comeback))
        for w, f in zip(process.weights, grown, strict=True)
    ]
    if max(weights) > ceiling:
        weights = [min(w, ceiling) for w in weights]
    return EProcess(held, tuple(weights))
