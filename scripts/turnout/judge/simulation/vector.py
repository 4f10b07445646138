"""The judge over many releases at once: the same rules as `core`, on arrays.

It knows one SLO, scrapes that are never missing, and at most one row of steps. Tests feed the same counts
to it and to the core and compare every value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.judge.constants import DEFAULT, Constants
from turnout.judge.dispersion import BLOCKS_S
from turnout.judge.eprocess import held_mass
from turnout.judge.simulation.traffic import Bools, Floats, Second

FULL_BP = 10_000


def dispersion(bad: Floats) -> Floats:
    """Return phi of each release from its stable's bad requests, one row a second."""
    estimates = [np.ones(bad.shape[1])]
    for block_s in BLOCKS_S:
        stride = round(block_s)
        half = stride // 2
        blocks = bad[: len(bad) // stride * stride].reshape(-1, stride, bad.shape[1])
        e1, e2 = blocks[:, :half].sum(axis=1), blocks[:, stride - half :].sum(axis=1)
        quarters = ((e1 + e2) / 4.0).sum(axis=0)
        squares = (((e1 - e2) / 2.0) ** 2).sum(axis=0)
        estimates.append(np.divide(squares, quarters, out=np.ones_like(squares), where=quarters > 0.0))
    return np.max(estimates, axis=0)


@dataclass(slots=True)
class State:
    """What the judge remembers: one column a release."""

    absolute: Floats
    relative: Floats
    watch: Floats
    held: float
    watch_held: Floats
    watch_since: Floats
    promote_a: Floats
    promote_b: Floats
    step: NDArray[np.int64]


class VectorJudge:
    """Judges `count` releases that go through the same steps, each at its own pace.

    `steps_bp` are the candidate's shares; the last one is where it stays. A single one below 100 % is a
    canary that is never asked to grow.
    """

    def __init__(
        self,
        *,
        p0: float,
        phi: Floats,
        steps_bp: tuple[int, ...],
        warm_up_s: float = 0.0,
        allowance: float = 0.0,
        constants: Constants = DEFAULT,
    ) -> None:
        """Begin before the first scrape."""
        self.p0, self.phi, self.steps_bp, self.constants = p0, phi, steps_bp, constants
        self.warm_up_s, self.allowance = warm_up_s, allowance
        self.ratios = np.array(constants.ratios)[:, None]
        self.factors = np.array(constants.promotion_factors)[:, None]
        self.shares = np.array(steps_bp) / FULL_BP
        nexts = [min(constants.p_bad_ceiling, constants.promotion_budget * p0 * FULL_BP / s) for s in steps_bp[1:]]
        self.p_bad = np.array([*nexts, constants.p_bad_ceiling])
        count, kinds = len(phi), len(constants.ratios)
        fresh = np.full((kinds, count), constants.initial_mass / kinds)
        zeros = np.zeros((len(constants.promotion_factors), count))
        self.state = State(
            absolute=fresh,
            relative=fresh.copy(),
            watch=fresh.copy(),
            held=1.0 - constants.initial_mass,
            watch_held=np.full(count, 1.0 - constants.initial_mass),
            watch_since=np.full(count, 0.0 if self.shares[0] >= 1.0 else np.nan),
            promote_a=zeros,
            promote_b=zeros.copy(),
            step=np.zeros(count, dtype=np.int64),
        )

    @property
    def share(self) -> Floats:
        """The candidate's share in each release."""
        return self.shares[self.state.step]

    def _grow(self, weights: Floats, released: Floats | float, llr: Floats) -> Floats:
        constants, kinds = self.constants, len(weights)
        bet = weights + released / kinds
        most = np.maximum(bet / constants.alpha, constants.comeback / kinds)
        with np.errstate(over="ignore"):
            grown: Floats = np.minimum(bet * np.exp(np.minimum(llr / self.phi, np.log(constants.weight_ceiling))), most)
        return np.minimum(grown, constants.weight_ceiling)

    def _absolute(self, second: Second, p0: float) -> Floats:
        log_d = np.log1p((self.ratios - 1.0) * p0)
        llr: Floats = second.e_g * np.log(self.ratios) - second.n_g * log_d
        return llr

    def _relative(self, second: Second, allowance: float) -> Floats:
        weighted = second.n_g * self.constants.rho
        both = (second.n_g > 0.0) & (second.n_b > 0.0)
        base = np.where(both, weighted + second.n_b, 1.0)
        cost = np.log(np.where(both, weighted * self.ratios + second.n_b, 1.0) / base)
        bad = second.e_g + second.e_b + allowance * second.n_b
        llr: Floats = np.where(both, second.e_g * np.log(self.ratios) - bad * cost, 0.0)
        return llr

    def scrape(self, t_s: float, second: Second) -> tuple[Floats, Bools, Bools]:
        """Judge one scrape: return each release's rollback value, whether it is rolled back, and whether
        promoted.

        `t_s` counts from the candidate's first reading. The share of a promoted release grows before the
        next scrape.
        """
        state, constants = self.state, self.constants
        allowance = self.allowance if t_s <= self.warm_up_s else 0.0
        watching = self.share >= 1.0
        began = watching & np.isnan(state.watch_since)
        state.watch_since = np.where(began, t_s, state.watch_since)
        llr = self._absolute(second, self.p0 + allowance)
        value = np.empty(len(self.phi))
        held = held_mass(t_s, constants)
        if not watching.all():
            released = state.held - held
            relative = self._relative(second, allowance)
            state.absolute = np.where(watching, state.absolute, self._grow(state.absolute, released, llr))
            state.relative = np.where(watching, state.relative, self._grow(state.relative, released, relative))
            value = np.minimum(held + state.absolute.sum(axis=0), held + state.relative.sum(axis=0))
        e_rel = held + state.relative.sum(axis=0)
        state.held = held
        if watching.any():
            c = constants.release_s
            watch_held = (1.0 - constants.initial_mass) * c / (c + np.where(watching, t_s - state.watch_since, 0.0))
            grown = self._grow(state.watch, state.watch_held - watch_held, llr)
            state.watch = np.where(watching, grown, state.watch)
            state.watch_held = np.where(watching, watch_held, state.watch_held)
            value = np.where(watching, watch_held + state.watch.sum(axis=0), value)
        back = value >= np.where(watching, constants.watch_threshold, constants.canary_threshold)
        hold = (value >= constants.hold_value) | (~watching & (e_rel >= constants.hold_relative))
        promoted = self._promote(second, watching) & ~back & ~hold & (second.n_g > 0.0)
        if promoted.any():
            state.step = state.step + promoted
            state.promote_a = np.where(promoted, 0.0, state.promote_a)
            state.promote_b = np.where(promoted, 0.0, state.promote_b)
        return value, back, promoted

    def _promote(self, second: Second, watching: Bools) -> Bools:
        """Return the releases whose evidence is enough for their next share."""
        state, f = self.state, self.factors
        if len(self.steps_bp) == 1:
            return np.zeros(len(self.phi), dtype=bool)
        p_bad = self.p_bad[state.step]
        good = np.log1p(-f * p_bad) - np.log1p(-p_bad)
        state.promote_a = state.promote_a + second.e_g * np.log(f) + (second.n_g - second.e_g) * good
        weighted = self.constants.promotion_budget * second.n_g
        both = (second.n_g > 0.0) & (second.n_b > 0.0)
        base = np.where(both, weighted + second.n_b, 1.0)
        cost = np.log(np.where(both, weighted * f + second.n_b, 1.0) / base)
        state.promote_b = state.promote_b + np.where(
            both, second.e_g * np.log(f) - (second.e_g + second.e_b) * cost, 0.0
        )
        logs = np.concatenate([state.promote_a, state.promote_b])
        top = logs.max(axis=0)
        value = top + np.log(np.exp(logs - top).mean(axis=0))
        enough: Bools = (value >= np.log(self.constants.promotion_threshold)) & ~watching
        return enough & (state.step < len(self.steps_bp) - 1)
