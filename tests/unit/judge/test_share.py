"""Sample-ratio mismatch: who gets far from its share is said and held; users who stay on one color are no mismatch."""

from __future__ import annotations

import importlib
import json
from math import comb, exp, lgamma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slo_file import declared
from turnout.errors import TurnoutError
from turnout.judge import share
from turnout.judge.core import Judge
from turnout.judge.counters import Counter, Delta
from turnout.judge.dispersion import Dispersion, overdispersion
from turnout.judge.model import Pair, Scrape, Verdict
from turnout.judge.plan import SharePlan
from turnout.judge.release_page import render
from turnout.judge.report import NO_SHARE, judgement_from, judgement_json, reason, share_line
from turnout.judge.steps import Action, decide
from turnout.judge.story import read
from turnout.slo.model import Objective

API = Objective("api", p0=0.005, largest_user=0.0001)
KNOWN = Dispersion(1.0, 1800.0, 360_000.0, 0.0, ())


def released(
    objective=API, *, share_bp=500, stable=190, candidate=10, seconds=120, history=KNOWN, probes_per_s=0.0, changes=()
):
    """Judge a release whose counts are the same in each second; `changes` are (second, share, stable, candidate)."""
    judge = Judge([objective], {"api": history})
    state = judge.begin()
    n_b = n_g = 0
    found = []
    for t in range(seconds):
        for at, new_share, new_stable, new_candidate in changes:
            if t == at:
                share_bp, stable, candidate = new_share, new_stable, new_candidate
        n_b, n_g = n_b + stable, n_g + candidate
        pair = Pair(Counter(n_b, 0), Counter(n_g, 0))
        after = None if share_bp >= 2500 else 2500
        state, said = judge.observe(state, Scrape(float(t), share_bp, after, {"api": pair}, probes_per_s))
        found.append(said)
    return found


def first_off(found):
    return next((j.t_s for j in found if j.slos[0].share is not None and j.slos[0].share.off), None)


@pytest.mark.parametrize(
    ("stable", "candidate", "within_s"),
    [(195, 5, 60), (180, 20, 30), (200, 0, 15)],
    ids=["half of it", "twice as much", "nothing"],
)
def test_a_candidate_far_from_its_share_is_said_and_holds(stable, candidate, within_s):
    found = released(stable=stable, candidate=candidate)
    at = first_off(found)
    assert at is not None
    assert at <= within_s
    assert found[-1].slos[0].share.off, "it stands"
    assert found[-1].verdict is (Verdict.HOLD if candidate else Verdict.BLIND)
    assert all(j.verdict is not Verdict.PROMOTE for j in found if j.t_s >= at)
    words = reason(found[-1])
    for part in ("sample-ratio mismatch in api: observed: ", "where its share is 5 %", "expected: ", "to mend: "):
        assert part in words
    assert "turnout-edge show on every edge must say share_bp 500" in words


def test_a_candidate_that_gets_its_share_is_promoted_and_its_share_is_told():
    found = released()
    assert first_off(found) is None
    assert {j.verdict for j in found[1:]} == {Verdict.CONTINUE, Verdict.PROMOTE}
    assert share_line(found) == "api: 1140 of 22800 requests (5 %) where its share is 5 %".replace(
        "1140 of 22800", f"{found[-1].slos[0].share.candidate:.0f} of {found[-1].slos[0].share.total:.0f}"
    )


def test_a_release_that_is_held_by_its_share_ends_undecided_and_says_why():
    last = released(stable=195, candidate=5)[-1]
    decision = decide(last, SharePlan((500, 2500, 10_000), 600.0, 300.0), step_s=601.0)
    assert decision is not None
    assert decision.action is Action.UNDECIDED
    assert "sample-ratio mismatch in api" in decision.why


def test_nothing_is_held_for_a_share_that_nobody_asked_to_look_at():
    found = released(Objective("api", p0=0.005), stable=200, candidate=1)
    assert all(j.slos[0].share is None and j.verdict is not Verdict.HOLD for j in found)
    assert share_line(found) == NO_SHARE
    assert NO_SHARE.startswith("- (not configured")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"probes_per_s": 2.0}, "synthetic probes are on"),
        ({"history": Dispersion(1.0, 60.0, 1.0, 0.0, ())}, "history holds 60 s, 600 s are needed"),
        ({"objective": Objective("api", p0=0.005, largest_user=0.01)}, "too small for users of 1 %"),
    ],
)
def test_where_a_share_cannot_be_known_it_is_not_judged_and_says_so(options, why):
    found = released(stable=200, candidate=1, **options)
    assert first_off(found) is None
    assert all(j.verdict is not Verdict.HOLD for j in found)
    assert why in found[-1].slos[0].share.why
    assert share_line(found).startswith("api: - (")


def test_what_is_answered_just_after_a_move_is_not_held_against_the_new_share():
    found = released(changes=[(60, 2500, 150, 50)])
    late = released(changes=[(60, 2500, 190, 10), (64, 2500, 150, 50)])
    assert first_off(found) is first_off(late) is None


def test_a_share_that_is_lost_late_is_seen():
    found = released(seconds=1000, changes=[(500, 500, 195, 5)])
    at = first_off(found)
    assert at is not None
    assert 500 < at < 700


def test_at_all_of_the_traffic_there_is_no_share_to_test():
    found = released(share_bp=10_000, stable=0, candidate=200)
    assert all(j.slos[0].share is None for j in found)


def test_what_is_worth_little_is_not_far_however_sure_it_is():
    found = released(Objective("api", p0=0.005, largest_user=1e-6), stable=1880, candidate=120)  # 6 % instead of 5 %
    told = found[-1].slos[0].share
    assert told.e >= told.threshold
    assert not told.off


def test_a_mismatch_survives_the_json_that_it_is_kept_as():
    for last in (released(stable=195, candidate=5)[-1], released(probes_per_s=1.0)[-1]):
        assert judgement_from(json.loads(json.dumps(judgement_json(last)))) == last


def test_the_report_and_the_ledger_have_one_line_of_it(tmp_path):
    judgements = released(stable=195, candidate=5)
    lines = [json.dumps(judgement_json(judgement)) for judgement in judgements]
    (tmp_path / "judgements.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    line = share_line(judgements)
    assert line.startswith("api: MISMATCH at 119 s: ")
    page = render(read(tmp_path, {}), {})
    assert "Share of requests" in page
    assert line in page
    action = importlib.import_module("ansible_collections.turnout.ops.plugins.action.judge").ActionModule
    assert action._share(tmp_path) == line
    assert action._share(tmp_path / "none") == "-"


def test_judgements_of_before_have_no_share():
    line = judgement_json(released()[-1])
    del line["slos"]["api"]["share"]
    assert judgement_from(line).slos[0].share is None


# --- the test itself ---------------------------------------------------------------------------


def log_beta(a, b):
    return lgamma(a) + lgamma(b) - lgamma(a + b)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 40), part=st.floats(0.01, 0.9), largest=st.floats(0.0001, 0.025))
def test_the_evidence_has_an_expectation_of_one_while_users_fall_by_luck(n, part, largest):
    a, b = part * (1 / largest - 1), (1 - part) * (1 / largest - 1)
    total = 0.0
    for k in range(n + 1):
        mass = comb(n, k) * exp(log_beta(k + a, n - k + b) - log_beta(a, b))
        total += mass * exp(share.log_evidence(k, n - k, part, largest))
    assert total == pytest.approx(1.0, rel=1e-6)


def test_the_tests_of_a_release_share_one_alpha():
    tests, spent = share.ShareTest(), 0.0
    for _ in range(1000):
        tests = share.begin(tests, 0.0)
        spent += 1.0 / share.look(tests, 0.05, 0.001, KNOWN, tested=1).threshold
    assert spent <= share.ALPHA
    one, two = (share.look(share.begin(share.ShareTest(), 0.0), 0.05, 0.001, KNOWN, tested=n) for n in (1, 2))
    assert two.threshold == 2 * one.threshold


def test_stable_s_history_says_how_many_requests_come_at_a_time():
    rng = np.random.default_rng(4)

    def history(size):
        counts = rng.poisson(200 / size, 1800) * size
        totals = [0, *counts.cumsum()]
        return overdispersion([(float(t), Counter(float(n), 0.0)) for t, n in enumerate(totals)])

    assert history(1).clumps == pytest.approx(1.0, abs=0.35)
    assert history(20).clumps == pytest.approx(20.0, rel=0.35)
    assert history(20).phi == 1.0


def falsely_off(users, share_bp, releases, *, size=1.0, rate=200.0, seconds=1300):
    """Return how many of healthy releases are said to be far from their share.

    `users` send alike and each stays on one color; requests come `size` at a time.
    """
    rng = np.random.default_rng(users + share_bp)
    part = share_bp / 10_000
    history = KNOWN if size == 1.0 else Dispersion(1.0, 1800.0, 1.0, 0.0, (), clumps=size)
    false = 0
    for _ in range(releases):
        of_candidate = rng.binomial(users, part) / users
        per_s = np.array([1 - of_candidate, of_candidate]) * rate
        counts = rng.poisson(per_s * 10.0 / size, (seconds // 10, 2)) * size
        state = share.begin(share.ShareTest(), 0.0)
        off = False
        for t, (n_b, n_g) in enumerate(counts):
            pair = (Delta(float(n_b), 0.0), Delta(float(n_g), 0.0))
            state = share.advance(state, 10.0 * t, pair, off=False)
            off = off or share.look(state, part, 1.0 / users, history, tested=1).off
        false += off
    return false


@pytest.mark.parametrize(
    ("users", "share_bp", "size"), [(400, 500, 1.0), (2000, 100, 1.0), (40, 5000, 1.0), (400, 500, 20.0)]
)
def test_users_who_stay_on_one_color_are_no_mismatch(users, share_bp, size):
    assert falsely_off(users, share_bp, 400, size=size) <= 2


# --- declared ------------------------------------------------------------------------------------


def test_the_largest_user_is_declared_with_the_slo(parsed):
    assert parsed("turnout.dev/largest-user: '0.001'").for_judge().largest_user == 0.001
    assert parsed("turnout.dev/weight: '1'").for_judge().largest_user is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("turnout.dev/largest-user: '0.2'", "at most 0.025"),
        ("turnout.dev/largest-user: '0'", "above 0"),
        ("turnout.dev/largest-user: some", "is not a number"),
        ("turnout.dev/type: success\n    turnout.dev/largest-user: '0.001'", "not what an SLO of type success counts"),
    ],
)
def test_a_largest_user_that_says_nothing_is_an_error_with_its_line(parsed, lines, words):
    with pytest.raises(TurnoutError) as caught:
        parsed(lines)
    assert words in str(caught.value)
    assert "turnout.dev/largest-user" in str(caught.value)
    assert any(f":{line}: " in str(caught.value) for line in (6, 7))


@pytest.fixture
def parsed(tmp_path):
    return lambda annotations: declared(tmp_path, "api", annotations=annotations)
