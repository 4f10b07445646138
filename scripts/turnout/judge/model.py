"""The values that travel through the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from turnout.judge.counters import Counter, Delta
from turnout.judge.intervals import wilson
from turnout.judge.share import Share


@dataclass(frozen=True, slots=True)
class Pair:
    """Both colors' counters of one SLO at one scrape; None is a missing or stale reading."""

    stable: Counter | None
    candidate: Counter | None


MISSING = Pair(None, None)


@dataclass(frozen=True, slots=True)
class Scrape:
    """All that was read at one moment.

    `t_s` counts from the release's start. `share_bp` is the candidate's share, and `next_share_bp` the
    share that it asks for, None at the last step. `probes_per_s` synthetic requests go to each color beside it.
    """

    t_s: float
    share_bp: int
    next_share_bp: int | None
    slos: Mapping[str, Pair]
    probes_per_s: float = 0.0


class Verdict(StrEnum):
    """What to do with the candidate now."""

    PROMOTE = "promote"
    CONTINUE = "continue"
    HOLD = "hold"
    ROLLBACK = "rollback"
    BLIND = "blind"


class Sight(StrEnum):
    """Whether a scrape could be judged for one SLO, and if not, why not."""

    JUDGED = "judged"
    FIRST = "first reading"
    NO_TRAFFIC = "no traffic"
    NO_CANDIDATE = "candidate missing"
    NO_STABLE = "stable missing"


@dataclass(frozen=True, slots=True)
class Rate:
    """A color's events since the release began, and its bad ratio with the Wilson interval at 95 %."""

    total: float
    bad: float
    low: float
    high: float

    @property
    def ratio(self) -> float | None:
        """Bad events over all events, None without any."""
        return self.bad / self.total if self.total > 0.0 else None

    @classmethod
    def of(cls, seen: Delta, phi: float) -> Rate:
        """Return the rate of the events seen, its interval widened by phi."""
        low, high = wilson(seen.e, seen.n, phi=phi)
        return cls(seen.n, seen.e, low, high)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one SLO says after a scrape.

    `e_abs` is the evidence against the objective, `e_rel` that against stable, None in the watch, where
    there is no stable to compare with. `promotion` is the evidence for the next share, None where there is
    none to go to. `p0` is the null in force, with the warm-up allowance where it applies. `share` is what its
    requests say of the candidate's share, None where that was not asked for, and where all traffic is the candidate's.
    """

    name: str
    sight: Sight
    e_abs: float
    e_rel: float | None
    phi: float
    p0: float
    stable: Rate
    candidate: Rate
    promotion: float | None
    blocks_promotion: bool
    share: Share | None = None

    @property
    def value(self) -> float:
        """min(E_abs, E_rel): an outage of both colors is not blamed on the candidate."""
        return self.e_abs if self.e_rel is None else min(self.e_abs, self.e_rel)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict after a scrape, and why.

    `value` is the weighted mean over the SLOs of their values, to be compared with `threshold`. `watching`
    says that the candidate has all the traffic. `blind_for_s` counts from the last scrape that could be
    judged. `promotion_eta_s` is the time to promotion at this step's pace, None where that cannot be said.
    """

    t_s: float
    share_bp: int
    next_share_bp: int | None
    verdict: Verdict
    value: float
    threshold: float
    watching: bool
    blind_for_s: float
    promotion_eta_s: float | None
    rolled_back_at_s: float | None
    slos: tuple[Evidence, ...]
