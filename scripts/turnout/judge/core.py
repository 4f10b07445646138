"""The judge: a scrape and what was known before it in, a verdict and what is known after it out.

How a value travels: `Scrape` -> `_see` (differences of the counters) -> the likelihood ratios -> `EProcess`
and `Promotion` (running evidence) -> `Evidence` of each SLO -> `_decide` -> `Judgement`.

Readings that the rule as written leaves open, and the ones taken here:

- t in m(t) counts seconds from the first scrape that holds a reading of the candidate, for all SLOs alike.
- The first reading of a counter is where counting starts; it is not itself judged.
- A missing reading moves no evidence; the next difference covers more time. The comparison always covers
  the same time for both colors, from the last scrape where both were readable, so that a burst that hit
  both is never held against one alone.
- Where good events are counted, total minus good also holds those in flight, which are not judged before they end or
  are more than can be in flight (`counters.follow`). What can be is learned from stable's history.
- An impossible reading (more bad than total events) is treated as missing.
- The mean over the SLIs is over all that were declared, with their declared weights, judged or not: an SLI
  without traffic keeps E = 1. Choosing them by what was seen would void the guarantee.
- A promotion needs the evidence of every SLI by itself: a mean over them would let five good ones carry a
  bad one. Left out are those without traffic (no event of either color since the release began, nor in
  stable's history) and those declared not to gate. A missing color is not "no traffic": an SLI with one
  missing at this scrape blocks it.
- alpha is split: the canary rolls back at 1/(0.8 alpha), the watch at 1/(0.2 alpha). The watch begins a
  fresh E_abs at the first scrape at 100 %: the canary's own may have grown in an outage that hit both
  colors.
- The warm-up allowance a makes the nulls p_g <= p0 + a and p_g <= rho (p_b + a). It does not ease
  promotion: a cold start is excused, not recommended.
- A candidate that gets far from its share (`share`) holds, for the SLOs that ask for it. It never rolls back: who
  gets too few or too many requests need not be bad.
- A scrape is blind when it brought nothing that could be judged for any SLI; that outranks hold and
  promote, and never undoes a rollback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import NamedTuple

from turnout.judge import eprocess, likelihood, promotion, share
from turnout.judge.constants import DEFAULT, Constants
from turnout.judge.counters import Counter, Delta, Tally, follow, in_flight_at, since
from turnout.judge.dispersion import UNKNOWN, Dispersion
from turnout.judge.eprocess import EProcess
from turnout.judge.model import MISSING, Evidence, Judgement, Pair, Rate, Scrape, Sight, Verdict
from turnout.judge.promotion import FULL_SHARE_BP, Promotion
from turnout.judge.share import Share, ShareTest
from turnout.slo.model import Objective

P0_CEILING = 0.999
"""A null enlarged by the warm-up allowance stays below 1, where there would be nothing left to test."""

LEAST_SHARE = 0.01
"""A candidate that has less of the traffic, as smoke tests give it, may still have events in flight."""

KNOWN_FACTORS = 20_000
"""How many worked-out factors are kept at most: a few megabytes."""


class _Counts(NamedTuple):
    """One SLO's events since the release began.

    `paired_*` are the events up to the last scrape where both colors were readable, None before the first.
    """

    stable: Tally = Tally()
    candidate: Tally = Tally()
    paired_stable: Delta | None = None
    paired_candidate: Delta | None = None


class _Tests(NamedTuple):
    """One SLO's running evidence."""

    absolute: EProcess
    relative: EProcess
    watch: EProcess
    promotion: Promotion


class _SloState(NamedTuple):
    counts: _Counts
    tests: _Tests
    share: ShareTest = ShareTest()


@dataclass(frozen=True, slots=True)
class JudgeState:
    """Everything that the judge remembers of a release."""

    slos: tuple[_SloState, ...]
    started_s: float | None = None
    watch_started_s: float | None = None
    step_started_s: float | None = None
    share_bp: int | None = None
    judged_s: float | None = None
    rolled_back_at_s: float | None = None


class _Seen(NamedTuple):
    """One scrape's differences for one SLO. None: nothing readable to take a difference of."""

    sight: Sight
    candidate: Delta | None
    pair: tuple[Delta, Delta] | None


@dataclass(frozen=True, slots=True)
class _Moment:
    """Where in the release a scrape stands: seconds since the candidate's first reading, and in the watch."""

    elapsed_s: float
    watch_elapsed_s: float | None
    next_share_bp: int | None

    @property
    def watching(self) -> bool:
        return self.watch_elapsed_s is not None

    def allowance(self, objective: Objective) -> float:
        """Return the warm-up allowance in force: its declared amount during its declared time, else 0."""
        return objective.warm_up_allowance if self.elapsed_s <= objective.warm_up_s else 0.0


def _usable(reading: Counter | None) -> Counter | None:
    return reading if reading is not None and reading.possible else None


def _see(
    before: _Counts, pair: Pair, objective: Objective, in_flight: float, share: float, *, watching: bool
) -> tuple[_Counts, _Seen]:
    """Take the differences of a scrape and remember its readings; `in_flight` events were seen to be in flight in
    stable, with all of the traffic."""
    stable, candidate = _usable(pair.stable), _usable(pair.candidate)
    good = objective.counts_good
    d_candidate = None
    of_stable, of_candidate = before.stable, before.candidate
    if stable is not None:
        of_stable = follow(of_stable, stable, counts_good=good, in_flight=in_flight)
    if candidate is not None:
        allowed = in_flight_at(max(share, LEAST_SHARE), in_flight)
        of_candidate = follow(of_candidate, candidate, counts_good=good, in_flight=allowed)
        if before.candidate.reading is not None:
            d_candidate = since(of_candidate.judged, before.candidate.judged)
    both = None
    paired_stable, paired_candidate = before.paired_stable, before.paired_candidate
    if stable is not None and candidate is not None:
        if paired_stable is not None and paired_candidate is not None:
            both = (since(of_stable.judged, paired_stable), since(of_candidate.judged, paired_candidate))
        paired_stable, paired_candidate = of_stable.judged, of_candidate.judged
    if candidate is None:
        sight = Sight.NO_CANDIDATE
    elif stable is None and not watching:
        sight = Sight.NO_STABLE
    elif d_candidate is None:
        sight = Sight.FIRST
    elif d_candidate.n <= 0.0:
        sight = Sight.NO_TRAFFIC
    else:
        sight = Sight.JUDGED
    return _Counts(of_stable, of_candidate, paired_stable, paired_candidate), _Seen(sight, d_candidate, both)


class Judge:
    """Judges one release; what it remembers of it is `JudgeState`, handed in and out.

    `dispersion` gives phi per SLO, from stable's history; an SLO without one is judged with phi = 1.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        dispersion: Mapping[str, Dispersion] | None = None,
        constants: Constants = DEFAULT,
    ) -> None:
        """Prepare to judge by `objectives`, at least one of them."""
        if not objectives:
            raise ValueError("a judge needs at least one objective")
        self.objectives = tuple(objectives)
        self.constants = constants
        self.dispersion = tuple((dispersion or {}).get(o.name, UNKNOWN) for o in objectives)
        self._shares_tested = sum(o.largest_user is not None for o in objectives)
        self._weight_sum = sum(o.weight for o in objectives)
        self._known_factors: dict[tuple[Delta, float, float], tuple[float, ...]] = {}

    def begin(self, readings: Mapping[str, Pair] | None = None) -> JudgeState:
        """Return the state before the first scrape.

        `readings` are each color's last ones from before the release, so that its first scrape has
        something to be compared with.
        """
        fresh = eprocess.begin(self.constants)
        tests = _Tests(fresh, fresh, fresh, promotion.begin(self.constants))
        states = []
        for objective in self.objectives:
            pair = (readings or {}).get(objective.name, MISSING)
            counts = _Counts(Tally(_usable(pair.stable)), Tally(_usable(pair.candidate)))
            states.append(_SloState(counts, tests))
        return JudgeState(slos=tuple(states))

    def observe(self, state: JudgeState, scrape: Scrape) -> tuple[JudgeState, Judgement]:
        """Judge one scrape. Scrapes come in the order of their time."""
        state = self._enter(state, scrape)
        moment = self._moment(state, scrape)
        after: list[_SloState] = []
        evidence: list[Evidence] = []
        for objective, history, slo in zip(self.objectives, self.dispersion, state.slos, strict=True):
            pair = scrape.slos.get(objective.name, MISSING)
            part = scrape.share_bp / FULL_SHARE_BP
            counts, seen = _see(slo.counts, pair, objective, history.in_flight, part, watching=moment.watching)
            test, told = self._share(objective, history, slo.share, seen, scrape)
            slo_after = _SloState(counts, self._weigh(objective, history.phi, slo.tests, seen, moment), test)
            after.append(slo_after)
            said = self._evidence(objective, history, slo_after, seen, moment)
            evidence.append(said if told is None else replace(said, share=told))
        judged = any(e.sight is Sight.JUDGED for e in evidence)
        state = replace(state, slos=tuple(after), judged_s=scrape.t_s if judged else state.judged_s)
        return self._decide(state, scrape, tuple(evidence), judged=judged)

    def _enter(self, state: JudgeState, scrape: Scrape) -> JudgeState:
        """Start the clocks that this scrape starts, and a new step where the share has changed."""
        if state.started_s is None and any(_usable(p.candidate) is not None for p in scrape.slos.values()):
            state = replace(state, started_s=scrape.t_s)
        if state.watch_started_s is None and scrape.share_bp >= FULL_SHARE_BP:
            state = replace(state, watch_started_s=scrape.t_s)
        if state.share_bp != scrape.share_bp:
            none = promotion.begin(self.constants)
            slos = tuple(
                _SloState(s.counts, s.tests._replace(promotion=none), share.begin(s.share, scrape.t_s))
                for s in state.slos
            )
            state = replace(state, slos=slos, share_bp=scrape.share_bp, step_started_s=scrape.t_s)
        return state

    @staticmethod
    def _moment(state: JudgeState, scrape: Scrape) -> _Moment:
        watch_started_s = state.watch_started_s if scrape.share_bp >= FULL_SHARE_BP else None
        return _Moment(
            elapsed_s=0.0 if state.started_s is None else scrape.t_s - state.started_s,
            watch_elapsed_s=None if watch_started_s is None else scrape.t_s - watch_started_s,
            next_share_bp=scrape.next_share_bp,
        )

    def _share(
        self, objective: Objective, history: Dispersion, test: ShareTest, seen: _Seen, scrape: Scrape
    ) -> tuple[ShareTest, Share | None]:
        """Move the test of the candidate's share by one scrape, and return what it says."""
        largest_user = objective.largest_user
        if largest_user is None or not 0 < scrape.share_bp < FULL_SHARE_BP:
            return test, None
        part = scrape.share_bp / FULL_SHARE_BP
        if scrape.probes_per_s:
            return test, Share(part, why="synthetic probes are on, which go to each color alike")

        def look(at: ShareTest) -> Share:
            return share.look(at, part, largest_user, history, tested=self._shares_tested)

        if seen.pair is not None:
            test = share.advance(test, scrape.t_s, seen.pair, off=look(test).off)
        return test, look(test)

    def _weigh(self, objective: Objective, phi: float, tests: _Tests, seen: _Seen, moment: _Moment) -> _Tests:
        """Move the running evidence of one SLO by one scrape."""
        constants = self.constants
        candidate = seen.candidate if seen.candidate is not None and seen.candidate.n > 0.0 else None
        allowance = moment.allowance(objective)
        absolute = relative = a = b = None
        if candidate is not None:
            absolute = self._absolute_factors(candidate, min(objective.p0 + allowance, P0_CEILING), phi)
        if moment.watch_elapsed_s is not None:
            elapsed_s = moment.watch_elapsed_s
            watch = eprocess.advance(tests.watch, elapsed_s=elapsed_s, grown=absolute, constants=constants)
            return tests._replace(watch=watch)
        if seen.pair is not None:
            llrs = likelihood.relative(*seen.pair, rho=constants.rho, ratios=constants.ratios, allowance=allowance)
            relative = None if llrs is None else eprocess.factors(llrs, phi, constants)
        if moment.next_share_bp is not None:
            if candidate is not None:
                bad = promotion.p_bad(objective.p0, moment.next_share_bp, constants)
                a = promotion.absolute(candidate, bad, constants.promotion_factors)
            if seen.pair is not None:
                b = promotion.relative(*seen.pair, constants.promotion_budget, constants.promotion_factors)
        elapsed_s = moment.elapsed_s
        return _Tests(
            eprocess.advance(tests.absolute, elapsed_s=elapsed_s, grown=absolute, constants=constants),
            eprocess.advance(tests.relative, elapsed_s=elapsed_s, grown=relative, constants=constants),
            tests.watch,
            promotion.advance(tests.promotion, a, b),
        )

    def _absolute_factors(self, candidate: Delta, p0: float, phi: float) -> tuple[float, ...]:
        """Return ABS as factors. The same few counts come again and again, so they are worked out once."""
        key = (candidate, p0, phi)
        found = self._known_factors.get(key)
        if found is None:
            table = likelihood.absolute_table(p0, self.constants.ratios)
            found = eprocess.factors(likelihood.absolute(candidate, table), phi, self.constants)
            if len(self._known_factors) < KNOWN_FACTORS:
                self._known_factors[key] = found
        return found

    def _evidence(
        self, objective: Objective, history: Dispersion, slo: _SloState, seen: _Seen, moment: _Moment
    ) -> Evidence:
        """Write down what one SLO says now."""
        counts, tests, phi = slo.counts, slo.tests, history.phi
        evidence_for = None
        if moment.next_share_bp is not None:
            evidence_for = exp(min(tests.promotion.log_value, log(self.constants.weight_ceiling)))
        enough = evidence_for is not None and evidence_for >= self.constants.promotion_threshold
        idle = history.total == counts.stable.total == counts.candidate.total == 0.0
        missing = seen.sight in (Sight.NO_CANDIDATE, Sight.NO_STABLE)
        return Evidence(
            name=objective.name,
            sight=seen.sight,
            e_abs=tests.watch.value if moment.watching else tests.absolute.value,
            e_rel=None if moment.watching else tests.relative.value,
            phi=phi,
            p0=objective.p0 + moment.allowance(objective),
            stable=Rate.of(counts.stable.seen, phi),
            candidate=Rate.of(counts.candidate.seen, phi),
            promotion=evidence_for,
            blocks_promotion=missing or not (enough or idle or not objective.gates_promotion),
        )

    def _decide(
        self, state: JudgeState, scrape: Scrape, evidence: tuple[Evidence, ...], *, judged: bool
    ) -> tuple[JudgeState, Judgement]:
        """Apply the rules, in the order rollback, blind, hold, promote, continue."""
        constants = self.constants
        watching = scrape.share_bp >= FULL_SHARE_BP
        value = sum(o.weight * e.value for o, e in zip(self.objectives, evidence, strict=True)) / self._weight_sum
        threshold = constants.watch_threshold if watching else constants.canary_threshold
        if state.rolled_back_at_s is None and value >= threshold:
            state = replace(state, rolled_back_at_s=scrape.t_s)
        promotable = scrape.next_share_bp is not None and not any(e.blocks_promotion for e in evidence)
        if state.rolled_back_at_s is not None:
            verdict = Verdict.ROLLBACK
        elif not judged:
            verdict = Verdict.BLIND
        elif value >= constants.hold_value or any(
            (e.e_rel is not None and e.e_rel >= constants.hold_relative) or (e.share is not None and e.share.off)
            for e in evidence
        ):
            verdict = Verdict.HOLD
        elif promotable:
            verdict = Verdict.PROMOTE
        else:
            verdict = Verdict.CONTINUE
        judged_s = state.judged_s if state.judged_s is not None else state.started_s
        return state, Judgement(
            t_s=scrape.t_s,
            share_bp=scrape.share_bp,
            next_share_bp=scrape.next_share_bp,
            verdict=verdict,
            value=value,
            threshold=threshold,
            watching=watching,
            blind_for_s=0.0 if judged_s is None else scrape.t_s - judged_s,
            promotion_eta_s=self._promotion_eta_s(state, scrape, evidence),
            rolled_back_at_s=state.rolled_back_at_s,
            slos=evidence,
        )

    def _promotion_eta_s(self, state: JudgeState, scrape: Scrape, evidence: tuple[Evidence, ...]) -> float | None:
        """Return the seconds to promotion if every SLO's evidence keeps growing as it has in this step."""
        if scrape.next_share_bp is None or state.step_started_s is None:
            return None
        elapsed_s = scrape.t_s - state.step_started_s
        wanted = log(self.constants.promotion_threshold)
        longest = 0.0
        for slo, said in zip(state.slos, evidence, strict=True):
            if not said.blocks_promotion:
                continue
            have = slo.tests.promotion.log_value
            if have <= 0.0 or elapsed_s <= 0.0:
                return None
            longest = max(longest, (wanted - have) * elapsed_s / have)
        return longest
