"""The two log-likelihood ratios of a scrape: against the objective, and against stable.

Each is the logarithm of an e-value: under its null its exponential has an expectation of at most 1,
whatever the traffic was. Products of such numbers over scrapes are a test that may be looked at after every
scrape (Johari et al. 2017, "Peeking at A/B tests"; Lindon et al. 2022, "Anytime-valid inference for
multinomial count data"; Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by
betting").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, log1p

from turnout.judge.counters import Delta


@dataclass(frozen=True, slots=True)
class AbsoluteTable:
    """The objective's test, prepared: what one bad and one good event add to each component."""

    bad: tuple[float, ...]
    good: tuple[float, ...]


@lru_cache(maxsize=256)
def absolute_table(p0: float, ratios: tuple[float, ...]) -> AbsoluteTable:
    """Return ln(q_j/p0) and ln((1-q_j)/(1-p0)), where the odds of q_j are r_j times those of p0.

    `p0` is the highest bad ratio that is still healthy, above 0 and below 1.
    """
    # q = r p0 / (1 - p0 + r p0), so q/p0 = r/d and (1-q)/(1-p0) = 1/d, without the cancellation of 1 - q.
    log_d = [log1p((r - 1.0) * p0) for r in ratios]
    return AbsoluteTable(
        bad=tuple(log(r) - d for r, d in zip(ratios, log_d, strict=True)),
        good=tuple(-d for d in log_d),
    )


def absolute(candidate: Delta, table: AbsoluteTable) -> list[float]:
    """Return ABS, one value a component; null: p_g <= p0.

    l_j = e_g ln(q_j/p0) + (n_g - e_g) ln((1-q_j)/(1-p0)).
    """
    e, good = candidate.e, candidate.n - candidate.e
    return [e * b + good * g for b, g in zip(table.bad, table.good, strict=True)]


@lru_cache(maxsize=16)
def _logs(ratios: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(log(r) for r in ratios)


def relative(
    stable: Delta,
    candidate: Delta,
    *,
    rho: float,
    ratios: tuple[float, ...],
    allowance: float = 0.0,
) -> list[float] | None:
    """Return REL, one value a component, None where all are 0; null: p_g <= rho p_b.

    l_j = e_g ln r_j - (e_g + e_b) c_j, c_j = ln((n_g rho r_j + n_b)/(n_g rho + n_b)); 0 where a color has
    no traffic.

    With a warm-up `allowance` a the null is p_g <= rho (p_b + a): stable is credited with the a n_b bad
    events that it would have had, e_b + a n_b in place of e_b. The expectation stays at most 1, because
    with x = n_g rho (r-1)/(n_g rho + n_b) the credit multiplies it by exp(a n_b (x/(1+x) - ln(1+x))), which
    is below 1.
    """
    n_g, n_b = candidate.n, stable.n
    if n_g <= 0.0 or n_b <= 0.0:
        return None
    e_g = candidate.e
    e_all = e_g + stable.e + allowance * n_b
    if e_all == 0.0:
        return None
    weighted = n_g * rho
    base = weighted + n_b
    return [
        e_g * log_r - e_all * log((weighted * r + n_b) / base) for r, log_r in zip(ratios, _logs(ratios), strict=True)
    ]
