"""The numbers that fix the judge, each with its meaning.

They were measured together, in a simulation over many kinds of traffic; changing one by itself gives up the
stated rates. `turnout judge simulate` prints what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log


@dataclass(frozen=True, slots=True)
class Constants:
    """The judge's constants. The defaults are the only ones that the documented rates hold for."""

    alpha: float = 0.01
    """Highest probability of ever rolling back a release that keeps its objectives."""

    canary_alpha_share: float = 0.8
    """Part of `alpha` spent before 100 % of traffic; the rest is for the watch that follows."""

    rho: float = 1.25
    """A candidate up to this many times as bad as stable is not blamed by the comparison."""

    ratios: tuple[float, ...] = (1.25, 1.6, 2.2, 3.3, 5.5, 11.0, 30.0, 100.0)
    """How many times worse the candidate is in each alternative that the mixture bets on."""

    initial_mass: float = 0.8
    """pi: the part of the bet that is placed at once; the rest is released over time."""

    release_s: float = 300.0
    """c: seconds after which half of the held-back mass has been released."""

    beta: float = 0.05
    """Highest probability of promoting a candidate at twice its budget."""

    promotion_factors: tuple[float, ...] = (0.02, 0.1, 0.25, 0.5, 0.7)
    """f: how many times better than bad the candidate is in each alternative of the promotion evidence."""

    promotion_budget: float = 2.0
    """A release at this many times its budget, or this many times stable's rate, must not be promoted."""

    p_bad_ceiling: float = 0.5
    """p_bad never exceeds this, however small the next share."""

    hold_value: float = 10.0
    """From this rollback value on the share does not grow."""

    weight_ceiling: float = 1e200
    """A component of the mixture is cut here, so that sums and products stay finite."""

    comeback: float = 4.0
    """What one scrape may raise the components to together, however small a good release has made them. Without it no
    late fault is found in fewer than three scrapes, however bad it is; from 2 on two scrapes decide. Below 8 the watch,
    which has no stable to compare with, takes three."""

    @property
    def llr_ceiling(self) -> float:
        """ln(1/alpha): what one scrape may add at most beyond `comeback`, so that no single burst decides."""
        return log(1.0 / self.alpha)

    @property
    def canary_threshold(self) -> float:
        """The rollback value at which a canary is rolled back: 1/(0.8 alpha)."""
        return 1.0 / (self.alpha * self.canary_alpha_share)

    @property
    def watch_threshold(self) -> float:
        """The rollback value at which a release in service is rolled back: 1/(0.2 alpha)."""
        return 1.0 / (self.alpha * (1.0 - self.canary_alpha_share))

    @property
    def hold_relative(self) -> float:
        """The E_rel that holds a release by itself: 1/alpha."""
        return 1.0 / self.alpha

    @property
    def promotion_threshold(self) -> float:
        """The promotion evidence that lets the share grow: 1/beta."""
        return 1.0 / self.beta


DEFAULT = Constants()
