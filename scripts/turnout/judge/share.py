"""Sample-ratio mismatch: whether the candidate gets the share of the requests that the edges were told.

A user stays on one color, so the requests of one user are not independent, and the candidate's true part of them is
not its share even where all is well: where no user sends more than a part s of the requests, it varies about the
share w with a variance of at most w (1 - w) s. The null is therefore not one number but Beta(w (1/s - 1),
(1 - w) (1/s - 1)), and the alternative Beta(w/m, (1 - w)/m), m = min(w, 1 - w). E is the ratio of the two marginal
likelihoods of the counts: a Dirichlet mixture (Lindon, Malek 2022, "Anytime-valid inference for multinomial count
data") that is a martingale under the null, so it ever reaches 1/alpha with a probability of at most alpha. Requests
of one user that come together, as those of a page do, are counted as one: counts are divided by how many come at a
time in stable's history.

Each share that the candidate has, and each ten minutes at it, is a test of its own, so that what begins late is seen;
the k-th of them has alpha/(k (k + 1)), which sums up to alpha. All edges have one share, so it is also that of their
sum.
"""

from __future__ import annotations

from math import exp, lgamma
from typing import NamedTuple

from turnout.judge.counters import Delta, together
from turnout.judge.dispersion import Dispersion

ALPHA = 0.001
"""Highest probability of ever saying of a release that it does not get its share where it does, over all its SLOs and
steps."""
FAR = 1.5
"""The odds of the candidate's part are at least this many times, or at most one over this many times, those of its
share: less is not worth a hold, whatever the evidence."""
LEAST_USERS = 20.0
"""Equal users, 1/s, that there must be on average on either color. With fewer their whole number tells: of 200 users at
5 %, one or none is on the candidate once in 2,500 releases."""
SETTLE_SCRAPES, SETTLE_S = 2, 5.0
"""What is left out after a change of the share: scrapes with requests of before it, and what is answered late."""
RESTART_S = 600.0
HISTORY_S = 600.0
"""Shortest history of stable that says how many requests come at a time."""
_LARGEST = 700.0


class Share(NamedTuple):
    """What one SLO's requests say of the share after a scrape.

    Of `total` requests in the present test the candidate got `candidate`; `expected` is its share, a part of 1. `e` is
    the evidence against it, `threshold` what decides. `why` says why it is not judged, empty where it is.
    """

    expected: float
    candidate: float = 0.0
    total: float = 0.0
    e: float = 1.0
    threshold: float = 1.0 / ALPHA
    why: str = ""

    @property
    def far(self) -> bool:
        """Whether the candidate's part is far from its share; one without a request is."""
        odds = self.candidate * (1.0 - self.expected)
        wanted = (self.total - self.candidate) * self.expected
        return odds >= FAR * wanted or FAR * odds <= wanted

    @property
    def off(self) -> bool:
        """Whether the candidate gets far from its share, and luck is no explanation."""
        return not self.why and self.e >= self.threshold and self.far


class ShareTest(NamedTuple):
    """The running test: its number in the release, since when its share holds, how many differences were left out
    since, when its counting began (None before), and what it counted."""

    number: int = 0
    since_s: float = 0.0
    left_out: int = 0
    counted_s: float | None = None
    stable: Delta = Delta()
    candidate: Delta = Delta()


def begin(test: ShareTest, t_s: float) -> ShareTest:
    """Return the test of a share that holds from now on."""
    return ShareTest(test.number + 1, t_s)


def advance(test: ShareTest, t_s: float, pair: tuple[Delta, Delta], *, off: bool) -> ShareTest:
    """Return the test after one more scrape with both colors' differences. What stands is not begun anew."""
    if test.left_out < SETTLE_SCRAPES or t_s - test.since_s < SETTLE_S:
        return test._replace(left_out=test.left_out + 1)
    if test.counted_s is not None and t_s - test.counted_s >= RESTART_S and not off:
        test = test._replace(number=test.number + 1, counted_s=None, stable=Delta(), candidate=Delta())
    return test._replace(
        counted_s=t_s if test.counted_s is None else test.counted_s,
        stable=together(test.stable, pair[0]),
        candidate=together(test.candidate, pair[1]),
    )


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_evidence(candidate: float, stable: float, share: float, largest_user: float) -> float:
    """Return ln E of these counts; `share` is above 0 and below 1, `largest_user` above 0 and below 1."""
    users, least = 1.0 / largest_user - 1.0, min(share, 1.0 - share)
    a0, b0 = share * users, (1.0 - share) * users
    a1, b1 = share / least, (1.0 - share) / least
    far = _log_beta(candidate + a1, stable + b1) - _log_beta(a1, b1)
    return far - _log_beta(candidate + a0, stable + b0) + _log_beta(a0, b0)


def look(test: ShareTest, share: float, largest_user: float, history: Dispersion, *, tested: int) -> Share:
    """Return what a test says of a `share` below 1; `tested` SLOs have one."""
    total = test.stable.n + test.candidate.n
    found = Share(share, test.candidate.n, total, threshold=tested * test.number * (test.number + 1) / ALPHA)
    if history.span_s < HISTORY_S * 0.99:
        return found._replace(why=f"stable's history holds {history.span_s:.0f} s, {HISTORY_S:.0f} s are needed")
    if min(share, 1.0 - share) < LEAST_USERS * largest_user:
        return found._replace(why=f"too small for users of {100.0 * largest_user:g} % of the requests")
    clumps = history.clumps
    log_e = log_evidence(test.candidate.n / clumps, test.stable.n / clumps, share, largest_user)
    return found._replace(e=exp(min(log_e, _LARGEST)))
