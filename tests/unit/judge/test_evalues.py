"""Each piece of evidence has an expectation of at most 1 under its null: enumerated exactly."""

from __future__ import annotations

from itertools import product
from math import comb, exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.judge import eprocess, likelihood, promotion
from turnout.judge.constants import DEFAULT, Constants
from turnout.judge.counters import Delta

ONE = 1.0 + 1e-9
ROUNDING = 1e-9


def moved(process, elapsed_s, llrs, phi=1.0, constants=DEFAULT):
    """One scrape of the running evidence; `llrs` of None is one with nothing to judge."""
    grown = None if llrs is None else eprocess.factors(llrs, phi, constants)
    return eprocess.advance(process, elapsed_s=elapsed_s, grown=grown, constants=constants)


def binomial(n: int, p: float) -> list[float]:
    return [comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(n + 1)]


def cut(llr: float, phi: float) -> float:
    return exp(min(llr / phi, DEFAULT.llr_ceiling))


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 40),
    p0=st.floats(1e-4, 0.6),
    below=st.floats(0.0, 1.0),
    phi=st.floats(1.0, 50.0),
)
def test_absolute_is_an_e_value_for_every_ratio_within_the_objective(n, p0, below, phi):
    table = likelihood.absolute_table(p0, DEFAULT.ratios)
    mass = binomial(n, p0 * below)
    for j in range(len(DEFAULT.ratios)):
        values = [likelihood.absolute(Delta(n, e), table)[j] for e in range(n + 1)]
        assert sum(m * exp(v) for m, v in zip(mass, values, strict=True)) <= ONE
        assert sum(m * cut(v, phi) for m, v in zip(mass, values, strict=True)) <= ONE


@pytest.mark.parametrize("p0", [0.001, 0.005, 0.2])
def test_absolute_is_exactly_one_at_the_objective(p0):
    table = likelihood.absolute_table(p0, DEFAULT.ratios)
    for j in range(len(DEFAULT.ratios)):
        total = sum(m * exp(likelihood.absolute(Delta(30, e), table)[j]) for e, m in enumerate(binomial(30, p0)))
        assert total == pytest.approx(1.0, abs=ROUNDING)


def test_absolute_is_the_formula_of_the_design():
    p0, n, e = 0.005, 100, 3
    table = likelihood.absolute_table(p0, DEFAULT.ratios)
    for r, got in zip(DEFAULT.ratios, likelihood.absolute(Delta(n, e), table), strict=True):
        odds = r * p0 / (1.0 - p0)
        q = odds / (1.0 + odds)
        assert got == pytest.approx(e * log(q / p0) + (n - e) * log((1.0 - q) / (1.0 - p0)))


def relative_expectation(n_g, n_b, p_g, p_b, allowance, j, transform):
    total = 0.0
    for (e_g, m_g), (e_b, m_b) in product(enumerate(binomial(n_g, p_g)), enumerate(binomial(n_b, p_b))):
        llrs = likelihood.relative(
            Delta(n_b, e_b), Delta(n_g, e_g), rho=DEFAULT.rho, ratios=DEFAULT.ratios, allowance=allowance
        )
        total += m_g * m_b * transform(0.0 if llrs is None else llrs[j])
    return total


@settings(deadline=None, max_examples=60)
@given(
    n_g=st.integers(1, 12),
    n_b=st.integers(1, 12),
    p_b=st.floats(0.0, 0.7),
    below=st.floats(0.0, 1.0),
    allowance=st.sampled_from([0.0, 0.05, 0.3]),
    j=st.integers(0, 7),
    phi=st.floats(1.0, 20.0),
)
def test_relative_is_an_e_value_while_the_candidate_is_within_rho_of_stable(n_g, n_b, p_b, below, allowance, j, phi):
    p_g = min(1.0, DEFAULT.rho * (p_b + allowance)) * below
    assert relative_expectation(n_g, n_b, p_g, p_b, allowance, j, exp) <= ONE
    assert relative_expectation(n_g, n_b, p_g, p_b, allowance, j, lambda x: cut(x, phi)) <= ONE


def test_relative_grows_beyond_its_null():
    assert relative_expectation(12, 12, 0.9, 0.1, 0.0, 4, exp) > 1.0


def test_relative_says_nothing_where_a_color_has_no_traffic():
    for stable, candidate in ((Delta(0, 0), Delta(5, 5)), (Delta(5, 5), Delta(0, 0))):
        assert likelihood.relative(stable, candidate, rho=1.25, ratios=DEFAULT.ratios) is None


@settings(deadline=None, max_examples=100)
@given(
    n=st.integers(1, 40),
    p_bad=st.floats(1e-4, 0.5),
    above=st.floats(0.0, 1.0),
)
def test_promotion_by_the_objective_is_an_e_value_for_every_bad_release(n, p_bad, above):
    p = p_bad + (1.0 - p_bad) * above
    for i in range(len(DEFAULT.promotion_factors)):
        total = sum(
            m * exp(promotion.absolute(Delta(n, e), p_bad, DEFAULT.promotion_factors)[i])
            for e, m in enumerate(binomial(n, p))
        )
        assert total <= ONE


@settings(deadline=None, max_examples=60)
@given(
    n_g=st.integers(1, 12),
    n_b=st.integers(1, 12),
    p_b=st.floats(0.0, 0.5),
    above=st.floats(0.0, 1.0),
    i=st.integers(0, 4),
)
def test_promotion_by_comparison_is_an_e_value_for_every_release_twice_as_bad(n_g, n_b, p_b, above, i):
    p_g = 2.0 * p_b + (1.0 - 2.0 * p_b) * above
    total = 0.0
    for (e_g, m_g), (e_b, m_b) in product(enumerate(binomial(n_g, p_g)), enumerate(binomial(n_b, p_b))):
        adds = promotion.relative(Delta(n_b, e_b), Delta(n_g, e_g), 2.0, DEFAULT.promotion_factors)
        total += m_g * m_b * exp(0.0 if adds is None else adds[i])
    assert total <= ONE


@pytest.mark.parametrize(("p0", "share_bp", "wanted"), [(0.005, 10_000, 0.01), (0.005, 500, 0.2), (0.2, 500, 0.5)])
def test_p_bad_is_twice_the_budget_at_the_next_share(p0, share_bp, wanted):
    assert promotion.p_bad(p0, share_bp, DEFAULT) == pytest.approx(wanted)


@settings(deadline=None, max_examples=25)
@given(
    p0=st.floats(0.01, 0.3),
    below=st.floats(0.2, 1.0),
    phi=st.floats(1.0, 5.0),
    sizes=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    gaps_s=st.lists(st.floats(0.5, 400.0), min_size=3, max_size=3),
)
def test_the_running_evidence_has_an_expectation_of_at_most_one_after_every_scrape(p0, below, phi, sizes, gaps_s):
    table = likelihood.absolute_table(p0, DEFAULT.ratios)
    outcomes = [(1.0, eprocess.begin(DEFAULT))]
    elapsed_s = 0.0
    for n, gap_s in zip(sizes, gaps_s, strict=True):
        elapsed_s += gap_s
        after = []
        for mass, process in outcomes:
            for e, m in enumerate(binomial(n, p0 * below)):
                llrs = likelihood.absolute(Delta(n, e), table) if n else None
                after.append((mass * m, moved(process, elapsed_s, llrs, phi)))
        outcomes = after
        assert sum(mass * process.value for mass, process in outcomes) <= ONE


def test_evidence_begins_at_one_and_stays_there_without_traffic():
    process = eprocess.begin(DEFAULT)
    assert process.value == pytest.approx(1.0)
    for t in (1.0, 60.0, 3600.0, 86400.0):
        process = moved(process, t, None)
        assert process.value == pytest.approx(1.0)
    assert process.held == pytest.approx(0.2 * 300.0 / (300.0 + 86400.0))


def test_half_of_the_held_mass_is_released_after_c_seconds():
    assert eprocess.held_mass(0.0, DEFAULT) == pytest.approx(0.2)
    assert eprocess.held_mass(300.0, DEFAULT) == pytest.approx(0.1)


def test_one_scrape_multiplies_a_component_by_at_most_one_over_alpha():
    before = eprocess.begin(DEFAULT)
    after = moved(before, 0.0, [1e9] * 8)
    assert after.weights == pytest.approx([w * 100.0 for w in before.weights])
    # So a single scrape, however bad, cannot roll a release back.
    assert after.value < DEFAULT.canary_threshold


def scrapes_to_roll_back(process, start_s: float, n: int, e: int, threshold: float) -> int:
    """How many scrapes with e of n bad it takes from there."""
    table = likelihood.absolute_table(0.005, DEFAULT.ratios)
    for scrape in range(1, 100):
        process = moved(process, start_s + scrape, likelihood.absolute(Delta(n, e), table))
        if process.value >= threshold:
            return scrape
    return 100


def after_ten_good_minutes(n: int) -> eprocess.EProcess:
    table = likelihood.absolute_table(0.005, DEFAULT.ratios)
    process = eprocess.begin(DEFAULT)
    for t in range(1, 601):
        process = moved(process, float(t), likelihood.absolute(Delta(n, 0), table))
    return process


def test_a_total_fault_that_begins_late_takes_two_scrapes_as_an_early_one_does():
    begun = eprocess.begin(DEFAULT)
    assert scrapes_to_roll_back(begun, 0.0, 10, 10, DEFAULT.canary_threshold) == 2
    assert scrapes_to_roll_back(after_ten_good_minutes(10), 600.0, 10, 10, DEFAULT.canary_threshold) == 2
    assert scrapes_to_roll_back(after_ten_good_minutes(200), 600.0, 200, 10, DEFAULT.watch_threshold) == 3


@settings(deadline=None, max_examples=60)
@given(
    weights=st.lists(st.floats(0.0, 1e3), min_size=8, max_size=8),
    llrs=st.lists(st.floats(-1e12, 1e12), min_size=8, max_size=8),
)
def test_no_single_scrape_decides_however_long_the_release_was_good(weights, llrs):
    before = eprocess.EProcess(held=0.05, weights=tuple(weights))
    after = moved(before, 900.0, llrs)
    assert sum(after.weights) <= 100.0 * (sum(weights) + 0.05) + DEFAULT.comeback
    quiet = before._replace(weights=tuple(w / 1e6 for w in weights))
    assert moved(quiet, 900.0, llrs).value < DEFAULT.hold_value


@settings(deadline=None)
@given(llrs=st.lists(st.floats(-1e12, 1e12), min_size=8, max_size=8), times=st.integers(1, 400))
def test_evidence_is_finite_and_positive_whatever_comes(llrs, times):
    process = eprocess.begin(DEFAULT)
    for t in range(times):
        process = moved(process, float(t), llrs)
    assert 0.0 < process.value < 1e202


def test_a_late_start_is_seen_faster_than_without_released_mass():
    table = likelihood.absolute_table(0.005, DEFAULT.ratios)

    def scrapes_to_detect(constants: Constants) -> int:
        process = eprocess.begin(constants)
        for t in range(1, 3601):
            llrs = likelihood.absolute(Delta(50, 0), table)
            process = moved(process, t, llrs, constants=constants)
        for t in range(1, 10_000):
            llrs = likelihood.absolute(Delta(50, 1), table)
            process = moved(process, 3600 + t, llrs, constants=constants)
            if process.value >= constants.canary_threshold:
                return t
        return 10_000

    assert scrapes_to_detect(DEFAULT) * 5 < scrapes_to_detect(Constants(initial_mass=1.0))


def test_the_promotion_value_is_the_mean_of_the_ten_products():
    evidence = promotion.begin(DEFAULT)
    assert exp(evidence.log_value) == pytest.approx(1.0)
    evidence = promotion.advance(evidence, [1.0, 2.0, 3.0, 4.0, 5.0], None)
    wanted = (sum(exp(x) for x in (1, 2, 3, 4, 5)) + 5.0) / 10.0
    assert exp(evidence.log_value) == pytest.approx(wanted)


def test_promotion_evidence_does_not_overflow():
    evidence = promotion.begin(DEFAULT)
    for _ in range(10_000):
        evidence = promotion.advance(evidence, [50.0] * 5, [-50.0] * 5)
    assert evidence.log_value == pytest.approx(500_000.0, rel=1e-3)
