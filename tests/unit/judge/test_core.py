"""The judge's rules, scrape by scrape."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.judge.constants import DEFAULT, Constants
from turnout.judge.core import Judge
from turnout.judge.counters import Counter, Delta, difference, together
from turnout.judge.dispersion import Dispersion
from turnout.judge.model import MISSING, Pair, Scrape, Sight, Verdict
from turnout.slo.model import Objective

API = Objective("api", p0=0.005)
WORKER = Objective("worker", p0=0.01)


class Release:
    """Feeds a judge counts per scrape, and keeps the cumulative counters."""

    def __init__(
        self, *objectives, dispersion=None, share_bp=500, next_share_bp=2500, readings=None, constants=DEFAULT
    ):
        self.judge = Judge(objectives or (API,), dispersion, constants)
        self.state = self.judge.begin(readings)
        self.share_bp, self.next_share_bp = share_bp, next_share_bp
        self.t = 0.0
        self.sums = {o.name: [0, 0, 0, 0] for o in self.judge.objectives}
        self.last = None
        self.observe({name: self.pair(name) for name in self.sums})

    def pair(self, name):
        n_b, e_b, n_g, e_g = self.sums[name]
        return Pair(Counter(n_b, e_b), Counter(n_g, e_g))

    def observe(self, pairs, t=None):
        self.t = self.t if t is None else t
        scrape = Scrape(self.t, self.share_bp, self.next_share_bp, pairs)
        self.state, self.last = self.judge.observe(self.state, scrape)
        return self.last

    def add(self, stable=(0, 0), candidate=(0, 0), name="api"):
        for index, count in enumerate((*stable, *candidate)):
            self.sums[name][index] += count

    def scrape(self, stable=(190, 0), candidate=(10, 0), *, hide=(), seconds=1.0):
        """One scrape of every SLO with the same counts; `hide` names the colors that are missing in it."""
        pairs = {}
        for name in self.sums:
            self.add(stable, candidate, name)
            pair = self.pair(name)
            pairs[name] = Pair(
                None if "stable" in hide else pair.stable, None if "candidate" in hide else pair.candidate
            )
        return self.observe(pairs, self.t + seconds)

    def many(self, times, **counts):
        return [self.scrape(**counts) for _ in range(times)]


def verdicts(judgements):
    return [j.verdict for j in judgements]


# --- counters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (Counter(10, 1), Counter(15, 3), Delta(5, 2)),
        (Counter(10, 1), Counter(10, 1), Delta(0, 0)),
        (Counter(1000, 50), Counter(7, 2), Delta(7, 2)),
        (Counter(1000, 50), Counter(2000, 2), Delta(2000, 2)),
        (Counter(10, 0), Counter(11, 3), Delta(1, 1)),
    ],
    ids=["grown", "still", "reset", "reset seen in the bad ones only", "bad ones counted first"],
)
def test_the_difference_of_two_readings(before, after, wanted):
    assert difference(before, after) == wanted


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=40),
)
def test_differences_add_up_to_all_that_was_counted_over_resets(steps):
    reading, seen, counted = Counter(0, 0), Delta(), Delta()
    for good, bad, restart in steps:
        counted = together(counted, Delta(good + bad, bad))
        begun = Counter(0, 0) if restart else reading
        after = Counter(begun.total + good + bad, begun.bad + bad)
        if restart and (after.total >= reading.total and after.bad >= reading.bad):
            # A restart that overtook both counts cannot be seen, by anybody.
            after = Counter(reading.total + good + bad, reading.bad + bad)
        seen = together(seen, difference(reading, after))
        reading = after
    assert seen == counted


# --- rollback ---------------------------------------------------------------------------------


def test_a_candidate_that_fails_everything_is_rolled_back_at_the_second_scrape():
    release = Release()
    assert verdicts(release.many(3, candidate=(10, 10))) == [Verdict.HOLD, Verdict.ROLLBACK, Verdict.ROLLBACK]
    assert release.last.rolled_back_at_s == 2.0


def test_a_rollback_stays_one_whatever_comes_after():
    release = Release()
    release.many(3, candidate=(10, 10))
    assert set(verdicts(release.many(600))) == {Verdict.ROLLBACK}
    assert release.scrape(hide=("candidate",)).verdict is Verdict.ROLLBACK
    release.share_bp, release.next_share_bp = 10_000, None
    assert release.scrape().verdict is Verdict.ROLLBACK


def test_one_burst_in_one_scrape_rolls_nothing_back():
    release = Release()
    release.many(300)
    release.scrape(candidate=(5000, 5000))
    assert Verdict.ROLLBACK not in verdicts(release.many(600))


def test_an_outage_of_both_colors_is_not_blamed_on_the_candidate():
    release = Release()
    release.many(60)
    out = release.many(120, stable=(190, 190), candidate=(10, 10))
    assert Verdict.ROLLBACK not in verdicts(out)
    assert out[-1].slos[0].e_abs > 1e100
    assert out[-1].value < 1.0
    # Only the comparison is left to speak after it, and it still does.
    release.many(60)
    assert Verdict.ROLLBACK in verdicts(release.many(30, candidate=(10, 10)))


def test_a_candidate_worse_than_a_perfect_stable_but_within_the_objective_is_held():
    release = Release(Objective("api", p0=0.2))
    judgements = release.many(600, candidate=(20, 1))
    assert Verdict.ROLLBACK not in verdicts(judgements)
    assert judgements[-1].verdict is Verdict.HOLD
    assert judgements[-1].slos[0].e_rel >= 100
    assert judgements[-1].slos[0].e_abs < 10


def test_the_rollback_value_is_the_weighted_mean_of_the_smaller_evidence():
    heavy = Objective("api", p0=0.005, weight=3.0)
    release = Release(heavy, WORKER)
    release.add((190, 0), (10, 3), "api")
    release.add((190, 0), (10, 0), "worker")
    judgement = release.observe({name: release.pair(name) for name in release.sums}, 1.0)
    api, worker = judgement.slos
    assert api.value == min(api.e_abs, api.e_rel)
    assert judgement.value == pytest.approx((3.0 * api.value + worker.value) / 4.0)


def test_one_slo_of_six_is_enough_to_roll_back():
    objectives = [Objective(f"slo{i}", p0=0.005) for i in range(6)]
    release = Release(*objectives)
    for t in range(1, 30):
        for o in objectives:
            release.add((190, 0), (10, 10 if o.name == "slo3" else 0), o.name)
        release.observe({name: release.pair(name) for name in release.sums}, float(t))
    assert release.last.verdict is Verdict.ROLLBACK
    assert release.last.rolled_back_at_s <= 3.0


def test_a_single_event_is_evidence():
    bad, good = Release(), Release()
    assert bad.scrape(candidate=(1, 1)).slos[0].e_abs > 10.0
    assert good.scrape(candidate=(1, 0)).slos[0].e_abs < 1.0
    assert good.last.slos[0].promotion > 1.0


def test_phi_weakens_the_evidence():
    def value(phi):
        release = Release(dispersion={"api": Dispersion(phi, 1800.0, 1.0, 1.0, ((5.0, phi),))})
        return release.scrape(candidate=(10, 2)).value

    assert value(1.0) > value(3.0) > value(30.0) > 0.5


# --- promotion --------------------------------------------------------------------------------


def test_a_healthy_candidate_is_promoted_as_soon_as_the_evidence_allows_and_each_step_begins_anew():
    release = Release()
    first = verdicts(release.many(40))
    assert first[0] is Verdict.CONTINUE
    at = first.index(Verdict.PROMOTE)
    assert 5 < at < 30
    release.share_bp, release.next_share_bp = 2500, 10_000
    assert release.scrape(stable=(150, 0), candidate=(50, 0)).verdict is Verdict.CONTINUE
    assert release.last.slos[0].promotion < 20


def test_time_alone_promotes_nothing():
    release = Release()
    assert set(verdicts(release.many(500, candidate=(0, 0), seconds=60.0))) == {Verdict.BLIND}


def test_a_promotion_needs_the_evidence_of_every_slo_with_traffic():
    release = Release(API, WORKER)
    for t in range(1, 200):
        release.add((190, 0), (10, 0), "api")
        release.add((1, 0), (0, 0), "worker")
        release.observe({name: release.pair(name) for name in release.sums}, float(t))
    assert release.last.verdict is Verdict.CONTINUE
    assert not release.last.slos[0].blocks_promotion
    assert release.last.slos[1].blocks_promotion


@pytest.mark.parametrize(
    ("worker", "history", "wanted"),
    [
        (WORKER, None, Verdict.PROMOTE),
        (WORKER, Dispersion(1.0, 1800.0, total=500.0, bad=0.0, blocks=()), Verdict.CONTINUE),
        (
            Objective("worker", p0=0.01, gates_promotion=False),
            Dispersion(1.0, 1800.0, total=500.0, bad=0.0, blocks=()),
            Verdict.PROMOTE,
        ),
    ],
    ids=["never any traffic", "traffic in stable's history", "declared not to gate"],
)
def test_an_slo_without_traffic_now(worker, history, wanted):
    release = Release(API, worker, dispersion={"worker": history} if history else None)
    for t in range(1, 60):
        release.add((190, 0), (10, 0), "api")
        release.observe({name: release.pair(name) for name in release.sums}, float(t))
    assert release.last.verdict is wanted


@pytest.mark.parametrize("once", [((1, 0), (0, 0)), ((0, 0), (1, 0))], ids=["of stable", "of the candidate"])
def test_one_event_of_either_color_is_traffic(once):
    release = Release(API, WORKER)
    release.add(*once, "worker")
    for t in range(1, 60):
        release.add((190, 0), (10, 0), "api")
        release.observe({name: release.pair(name) for name in release.sums}, float(t))
    assert not release.last.slos[0].blocks_promotion
    assert release.last.slos[1].blocks_promotion
    assert release.last.verdict is Verdict.CONTINUE


def test_a_missing_color_of_one_slo_blocks_promotion_but_not_the_judging_of_the_others():
    release = Release(API, WORKER)
    release.many(60)
    assert release.last.verdict is Verdict.PROMOTE
    for hidden in (MISSING, Pair(None, Counter(1e6, 0)), Pair(Counter(1e6, 0), None)):
        release.add((190, 0), (10, 0), "api")
        judgement = release.observe({"api": release.pair("api"), "worker": hidden}, release.t + 1)
        assert judgement.verdict is Verdict.CONTINUE


def test_there_is_no_promotion_from_the_last_step():
    release = Release(share_bp=5000, next_share_bp=None)
    assert set(verdicts(release.many(200))) == {Verdict.CONTINUE}
    assert release.last.slos[0].promotion is None


def test_a_doubtful_candidate_is_held_rather_than_promoted():
    # At a small next share nearly everything promotes, so evidence for and against can stand together.
    release = Release(Objective("api", p0=0.05), next_share_bp=501)
    seen = release.many(60, candidate=(10, 2))
    doubtful = [j for j in seen if 10 <= j.value < 125]
    assert doubtful
    assert set(verdicts(doubtful)) == {Verdict.HOLD}
    assert any(not j.slos[0].blocks_promotion for j in doubtful)


def test_the_time_to_promotion_is_foretold():
    release = Release()
    seen = release.many(10)
    promoted = next(j.t_s for j in release.many(60) if j.verdict is Verdict.PROMOTE)
    assert seen[-1].promotion_eta_s == pytest.approx(promoted - seen[-1].t_s, abs=6)


def eta_of(release, name="api"):
    """The seconds in which an SLO's evidence reaches its threshold, growing as it has in `elapsed_s`."""
    index = [o.name for o in release.judge.objectives].index(name)
    have = release.state.slos[index].tests.promotion.log_value
    elapsed_s = release.t - release.state.step_started_s
    return (log(release.judge.constants.promotion_threshold) - have) * elapsed_s / have


def test_the_time_to_promotion_is_that_of_the_slowest_slo_at_the_pace_of_this_step():
    release = Release(API, WORKER)
    release.many(3)
    release.share_bp, release.next_share_bp = 600, 2500
    release.scrape()
    for t in range(1, 5):
        release.scrape(seconds=1.5)
        assert release.last.promotion_eta_s == pytest.approx(max(eta_of(release), eta_of(release, "worker"))), t
    assert eta_of(release) > eta_of(release, "worker") > 0.0


def test_an_slo_that_has_its_evidence_does_not_hide_one_that_has_not():
    release = Release(API, WORKER)
    while release.scrape().verdict is not Verdict.PROMOTE:
        if release.last.slos[0].blocks_promotion != release.last.slos[1].blocks_promotion:
            late = "api" if release.last.slos[0].blocks_promotion else "worker"
            assert release.last.promotion_eta_s == pytest.approx(eta_of(release, late))
            break
    swapped = Release(WORKER, API)
    swapped.many(round(release.t))
    assert swapped.last.promotion_eta_s == release.last.promotion_eta_s > 0.0


def test_what_can_be_promoted_waits_no_longer():
    release = Release()
    release.many(60)
    assert release.last.verdict is Verdict.PROMOTE
    assert release.last.promotion_eta_s == 0.0


def test_no_time_is_foretold_where_nothing_has_grown_yet():
    bad = Release()
    bad.scrape(candidate=(15, 1))
    assert -1.0 < bad.state.slos[0].tests.promotion.log_value < 0.0
    assert bad.last.promotion_eta_s is None
    idle = Release()
    idle.scrape(candidate=(0, 0))
    assert idle.last.promotion_eta_s is None
    # Evidence in the first scrape of a step, which has no length yet.
    judge = Judge([API])
    state = judge.begin({"api": Pair(Counter(0, 0), Counter(0, 0))})
    state, judgement = judge.observe(state, Scrape(0.0, 500, 2500, {"api": Pair(Counter(190, 0), Counter(10, 0))}))
    assert state.slos[0].tests.promotion.log_value > 0.0
    assert judgement.promotion_eta_s is None


# --- limits that are just met -----------------------------------------------------------------


def with_limit(name, value):
    """The usual constants, with one limit set to a value that the evidence meets exactly."""
    return replace(DEFAULT, hold_value=value) if name == "hold_value" else type("Met", (Constants,), {name: value})()


@pytest.mark.parametrize(
    ("name", "counts", "met", "beyond"),
    [
        ("canary_threshold", {"candidate": (10, 3)}, Verdict.ROLLBACK, Verdict.HOLD),
        ("hold_value", {"candidate": (10, 3)}, Verdict.HOLD, Verdict.CONTINUE),
        ("hold_relative", {"candidate": (10, 1)}, Verdict.HOLD, Verdict.CONTINUE),
        ("promotion_threshold", {}, Verdict.PROMOTE, Verdict.CONTINUE),
    ],
)
def test_evidence_that_just_meets_a_limit_counts(name, counts, met, beyond):
    first = Release()
    first.scrape(**counts)
    evidence = first.last.slos[0]
    value = {
        "canary_threshold": first.last.value,
        "hold_value": first.last.value,
        "hold_relative": evidence.e_rel,
        "promotion_threshold": evidence.promotion,
    }[name]
    for limit, verdict in ((value, met), (value * (1 + 1e-9), beyond)):
        release = Release(constants=with_limit(name, limit))
        assert release.scrape(**counts).verdict is verdict, limit


# --- what cannot be seen ----------------------------------------------------------------------


def test_the_first_reading_is_where_counting_begins():
    release = Release()
    assert release.last.verdict is Verdict.BLIND
    assert release.last.slos[0].sight is Sight.FIRST
    judge = Judge([API])
    huge = {"api": Pair(Counter(9e6, 9e5), Counter(9e6, 9e6))}
    _, judgement = judge.observe(judge.begin(), Scrape(0.0, 500, 2500, huge))
    assert judgement.value == pytest.approx(1.0)
    assert judgement.slos[0].candidate.total == 0


@pytest.mark.parametrize(
    ("counts", "sight"),
    [
        ({"hide": ("candidate",)}, Sight.NO_CANDIDATE),
        ({"hide": ("stable",)}, Sight.NO_STABLE),
        ({"hide": ("stable", "candidate")}, Sight.NO_CANDIDATE),
        ({"candidate": (0, 0)}, Sight.NO_TRAFFIC),
    ],
)
def test_what_is_not_judged_is_blind_and_never_a_pass(counts, sight):
    release = Release()
    release.many(60)
    judgements = release.many(10, **counts)
    assert set(verdicts(judgements)) == {Verdict.BLIND}
    assert release.last.slos[0].sight is sight
    assert release.last.blind_for_s == 10.0
    release.scrape()
    assert release.last.verdict is Verdict.PROMOTE
    assert release.last.blind_for_s == 0.0


def test_a_series_that_is_not_in_the_scrape_at_all_is_missing():
    release = Release()
    assert release.observe({}, 1.0).verdict is Verdict.BLIND


def test_an_impossible_reading_is_missing():
    release = Release()
    pair = Pair(Counter(100, 0), Counter(5, 50))
    assert release.observe({"api": pair}, 1.0).slos[0].sight is Sight.NO_CANDIDATE


def test_after_a_missed_scrape_the_next_difference_covers_both():
    one, other = Release(), Release()
    one.scrape(candidate=(10, 0), hide=("candidate", "stable"))
    one.scrape(candidate=(10, 1))
    assert one.last.slos[0].candidate.total == 20
    other.scrape(stable=(380, 0), candidate=(20, 1), seconds=2.0)
    assert one.last.value == pytest.approx(other.last.value)
    assert one.last.slos[0].e_rel == pytest.approx(other.last.slos[0].e_rel)


@pytest.mark.parametrize("hidden", ["stable", "candidate"])
def test_a_shared_burst_while_one_color_is_missing_is_not_held_against_the_other(hidden):
    release = Release()
    release.many(60)
    release.scrape(stable=(190, 190), candidate=(10, 10), hide=(hidden,))
    release.scrape()
    assert release.last.slos[0].e_rel < 1.0


def test_a_restarted_candidate_is_judged_on_what_it_counts_anew():
    release = Release()
    release.many(30)
    release.sums["api"][2:] = [0, 0]
    judgement = release.scrape(candidate=(10, 1))
    assert judgement.slos[0].candidate.total == 310
    assert judgement.slos[0].candidate.bad == 1


def test_readings_from_before_the_release_are_where_the_first_scrape_begins():
    judge = Judge([API])
    state = judge.begin({"api": Pair(Counter(1000, 1), None)})
    pairs = {"api": Pair(Counter(1200, 1), Counter(0, 0))}
    _, judgement = judge.observe(state, Scrape(0.0, 500, 2500, pairs))
    assert judgement.slos[0].stable.total == 200


def test_the_clock_of_the_released_mass_starts_with_the_candidate():
    judge = Judge([API])
    state = judge.begin()
    for t in range(600):
        state, _ = judge.observe(state, Scrape(float(t), 500, 2500, {"api": Pair(Counter(t, 0), None)}))
    assert state.started_s is None
    state, _ = judge.observe(state, Scrape(600.0, 500, 2500, {"api": Pair(Counter(600, 0), Counter(0, 0))}))
    assert state.started_s == 600.0
    assert state.slos[0].tests.absolute.held == pytest.approx(0.2)


# --- warm-up ----------------------------------------------------------------------------------

LATENCY = Objective("api", p0=0.01, warm_up_s=30.0, warm_up_allowance=0.3)


def test_a_declared_cold_start_is_excused_for_its_time():
    release = Release(LATENCY)
    cold = release.many(30, candidate=(10, 2))
    assert Verdict.ROLLBACK not in verdicts(cold)
    assert cold[-1].slos[0].p0 == pytest.approx(0.31)
    assert cold[-1].slos[0].e_rel < 10
    assert Verdict.ROLLBACK not in verdicts(release.many(300))
    assert release.last.slos[0].p0 == pytest.approx(0.01)


def test_the_time_of_a_cold_start_begins_with_the_candidates_first_reading_and_ends_with_it():
    release = Release(Objective("api", p0=0.01, warm_up_s=0.5, warm_up_allowance=0.3), readings={})
    judge, state = release.judge, release.judge.begin()
    p0 = []
    for t, candidate in ((0.0, None), (7.0, None), (9.0, Counter(0, 0)), (9.5, Counter(9, 0)), (9.6, Counter(18, 0))):
        state, judgement = judge.observe(state, Scrape(t, 500, 2500, {"api": Pair(Counter(t, 0), candidate)}))
        p0.append(judgement.slos[0].p0)
    assert p0 == pytest.approx([0.31, 0.31, 0.31, 0.31, 0.01])


def test_a_cold_start_that_does_not_end_is_rolled_back():
    release = Release(LATENCY)
    judgements = release.many(60, candidate=(10, 2))
    assert 31 <= release.last.rolled_back_at_s <= 40
    assert judgements[-1].verdict is Verdict.ROLLBACK


def test_a_warm_up_is_no_blind_pause():
    release = Release(LATENCY)
    release.many(20, candidate=(10, 10))
    assert release.last.rolled_back_at_s <= 8


# --- the watch --------------------------------------------------------------------------------


def watch(**options):
    return Release(share_bp=10_000, next_share_bp=None, **options)


def test_the_watch_compares_with_the_objective_alone():
    release = watch()
    judgement = release.scrape(stable=(0, 0), candidate=(200, 0))
    assert judgement.watching
    assert judgement.slos[0].e_rel is None
    assert judgement.threshold == pytest.approx(500.0)
    assert Verdict.PROMOTE not in verdicts(release.many(600, stable=(0, 0), candidate=(200, 0)))
    bad = release.many(20, stable=(0, 0), candidate=(200, 20))
    assert Verdict.ROLLBACK in verdicts(bad)


def test_the_watch_needs_no_stable():
    release = watch()
    assert release.scrape(candidate=(200, 0), hide=("stable",)).verdict is Verdict.CONTINUE


def test_the_watch_begins_anew_so_an_outage_in_the_canary_is_not_blamed_later():
    release = Release()
    release.many(30, stable=(190, 190), candidate=(10, 10))
    assert release.last.slos[0].e_abs > 1e20
    release.share_bp, release.next_share_bp = 10_000, None
    assert release.scrape(stable=(0, 0), candidate=(200, 0)).verdict is Verdict.CONTINUE
    assert release.last.value < 1.0


def test_a_share_that_is_taken_back_from_all_of_it_is_a_canary_again():
    release = watch()
    release.scrape(stable=(0, 0), candidate=(200, 0))
    release.share_bp, release.next_share_bp = 500, 2500
    judgement = release.scrape()
    assert not judgement.watching
    assert judgement.slos[0].e_rel is not None
    assert judgement.threshold == pytest.approx(125.0)


def test_the_clock_of_the_watch_starts_with_it_and_once():
    release = Release()
    release.many(600)
    release.share_bp, release.next_share_bp = 10_000, None
    release.many(2, stable=(0, 0), candidate=(200, 0), seconds=300.0)
    assert release.state.watch_started_s == 900.0
    assert release.state.slos[0].tests.watch.held == pytest.approx(0.1)


def test_alpha_is_split_between_canary_and_watch():
    judge = Judge([API])
    constants = judge.constants
    assert 1 / constants.canary_threshold + 1 / constants.watch_threshold == pytest.approx(constants.alpha)
    assert constants.canary_threshold == pytest.approx(125.0)


# --- whatever comes ---------------------------------------------------------------------------

readings = st.none() | st.builds(
    lambda total, bad: Counter(float(total), float(min(total, bad))),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
pairs = st.builds(Pair, readings, readings)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 100.0),
            st.sampled_from([(500, 2500), (2500, 10_000), (10_000, None)]),
            pairs,
            pairs,
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_readings_give_a_verdict_that_follows_from_its_evidence(scrapes):
    judge = Judge([API, WORKER])
    state = judge.begin()
    t, rolled_back = 0.0, False
    for gap_s, (share_bp, next_share_bp), api, worker in scrapes:
        t += gap_s
        scrape = Scrape(t, share_bp, next_share_bp, {"api": api, "worker": worker})
        state, judgement = judge.observe(state, scrape)
        rolled_back = rolled_back or judgement.value >= judgement.threshold
        judged = any(e.sight is Sight.JUDGED for e in judgement.slos)
        assert 0.0 <= judgement.value < 1e203
        assert (judgement.verdict is Verdict.ROLLBACK) == rolled_back
        if judgement.verdict is Verdict.BLIND:
            assert not judged
        if judgement.verdict is Verdict.PROMOTE:
            assert judged
            assert next_share_bp is not None
            assert judgement.value < 10
        for evidence in judgement.slos:
            assert 0.0 <= evidence.candidate.low <= evidence.candidate.high <= 1.0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.integers(0, 39))
def test_one_more_bad_event_never_lowers_the_rollback_value(bad, at):
    def value(counts):
        release = Release()
        for e in counts:
            release.scrape(candidate=(10, e))
        return release.last.value

    at = min(at, len(bad) - 1)
    worse = [min(10, e + (index == at)) for index, e in enumerate(bad)]
    assert value(worse) >= value(bad) * (1.0 - 1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 190), min_size=1, max_size=20))
def test_what_stable_suffers_never_raises_the_evidence_against_the_candidate(stable_bad):
    calm, rough = Release(), Release()
    for e in stable_bad:
        calm.scrape(candidate=(10, 1))
        rough.scrape(stable=(190, e), candidate=(10, 1))
    assert rough.last.slos[0].e_rel <= calm.last.slos[0].e_rel * (1.0 + 1e-9)
    assert rough.last.slos[0].e_abs == pytest.approx(calm.last.slos[0].e_abs)


def test_the_judge_is_pure():
    judge = Judge([API])
    state = judge.begin()
    scrape = Scrape(0.0, 500, 2500, {"api": Pair(Counter(1, 0), Counter(1, 0))})
    assert judge.observe(state, scrape) == judge.observe(state, scrape)
