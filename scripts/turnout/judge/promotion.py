"""The evidence for a larger share: that the candidate would not be a bad release at it.

It is the same kind of test as for a rollback with the null turned round, so a promotion comes as soon as
the traffic shows enough, with no timer and no smallest sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log, log1p
from typing import NamedTuple

from turnout.judge.constants import Constants
from turnout.judge.counters import Delta

FULL_SHARE_BP = 10_000


class Promotion(NamedTuple):
    """The ten running products of a step, as logarithms: A_f (objective) and B_f (comparison)."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def log_value(self) -> float:
        """ln of the mean of the ten products exp(A_f), exp(B_f)."""
        logs = self.a + self.b
        top = max(logs)
        return top + log(sum([exp(x - top) for x in logs]) / len(logs))


def begin(constants: Constants) -> Promotion:
    """Return the evidence at the start of a step: every product is 1."""
    zeros = (0.0,) * len(constants.promotion_factors)
    return Promotion(zeros, zeros)


def p_bad(p0: float, next_share_bp: int, constants: Constants) -> float:
    """Return min(0.5, 2 p0/w'): the candidate's bad ratio that would use twice the budget at share w'."""
    return min(constants.p_bad_ceiling, constants.promotion_budget * p0 * FULL_SHARE_BP / next_share_bp)


@lru_cache(maxsize=256)
def _good_logs(bad: float, factors: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(log1p(-f * bad) - log1p(-bad) for f in factors)


@lru_cache(maxsize=16)
def _factor_logs(factors: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(log(f) for f in factors)


def absolute(candidate: Delta, bad: float, factors: tuple[float, ...]) -> list[float]:
    """Return what a scrape adds to A_f; null: p_g >= p_bad.

    e_g ln f + (n_g - e_g) ln((1 - f p_bad)/(1 - p_bad)).
    """
    e, good = candidate.e, candidate.n - candidate.e
    return [e * lf + good * lg for lf, lg in zip(_factor_logs(factors), _good_logs(bad, factors), strict=True)]


def relative(stable: Delta, candidate: Delta, times: float, factors: tuple[float, ...]) -> list[float] | None:
    """Return what a scrape adds to B_f, None where it adds nothing; null: p_g >= 2 p_b (`times` is the 2).

    e_g ln f - (e_g + e_b) ln((2 n_g f + n_b)/(2 n_g + n_b)).
    """
    e_all = candidate.e + stable.e
    if e_all == 0.0 or candidate.n <= 0.0 or stable.n <= 0.0:
        return None
    weighted = times * candidate.n
    base = weighted + stable.n
    return [
        candidate.e * lf - e_all * log((weighted * f + stable.n) / base)
        for f, lf in zip(factors, _factor_logs(factors), strict=True)
    ]


def advance(promotion: Promotion, a: Sequence[float] | None, b: Sequence[float] | None) -> Promotion:
    """Return the evidence after one scrape; None adds nothing."""
    return Promotion(
        promotion.a if a is None else tuple([x + y for x, y in zip(promotion.a, a, strict=True)]),
        promotion.b if b is None else tuple([x + y for x, y in zip(promotion.b, b, strict=True)]),
    )
