"""phi: about 1 for single errors, about k for errors that come k at a time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnout.judge.counters import Counter
from turnout.judge.dispersion import overdispersion


def history(bad_per_scrape, *, interval_s=1.0, total=100):
    readings = [(-(len(bad_per_scrape) + 0.0) * interval_s, Counter(0.0, 0.0))]
    all_, bad = 0.0, 0.0
    for index, e in enumerate(bad_per_scrape, start=1):
        all_, bad = all_ + total, bad + e
        readings.append(((index - len(bad_per_scrape)) * interval_s, Counter(all_, bad)))
    return readings


def poisson(rate, rng):
    count, left = 0, rng.expovariate(1.0)
    while left < rate:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


def test_single_errors_have_a_phi_of_about_one():
    rng = random.Random(1)
    found = overdispersion(history([poisson(2.0, rng) for _ in range(1800)]))
    assert 1.0 <= found.phi < 1.6
    assert found.enough
    assert [block for block, _ in found.blocks] == [5.0, 60.0]


@pytest.mark.parametrize("size", [5, 20, 100])
def test_errors_that_come_k_at_a_time_have_a_phi_of_about_k(size):
    rng = random.Random(size)
    found = overdispersion(history([size * poisson(0.1, rng) for _ in range(1800)]))
    assert size * 0.7 < found.phi < size * 1.8


def test_the_formula_by_hand():
    # Two blocks of 5 s: first two seconds against last two; the middle one is left out.
    found = overdispersion(history([3, 1, 7, 0, 0, 0, 0, 0, 2, 0]))
    five = dict(found.blocks)[5.0]
    assert five == pytest.approx(((4 - 2) ** 2 + (0 - 1) ** 2) / (4 / 4 + 2 / 4))
    assert found.phi == pytest.approx(five)
    assert found.bad == 13


def test_phases_of_half_a_minute_show_in_the_longer_blocks():
    phases = ([0] * 30 + [4] * 30) * 30
    blocks = dict(overdispersion(history(phases)).blocks)
    assert blocks[5.0] == pytest.approx(0.0)
    assert blocks[60.0] == pytest.approx(120.0)


def test_no_bad_event_is_a_phi_of_one():
    assert overdispersion(history([0] * 1800)).phi == 1.0


def test_no_history_is_a_phi_of_one_that_is_not_enough():
    for readings in ([], [(-1.0, Counter(1, 0))], [(-2.0, None), (-1.0, None)]):
        found = overdispersion(readings)
        assert found.phi == 1.0
        assert not found.enough


def test_a_short_history_is_used_and_said_to_be_short():
    found = overdispersion(history([20, 0, 0, 0, 0] * 60))
    assert found.phi > 15
    assert not found.enough


def test_a_restart_in_the_history_is_no_burst():
    readings = history([1, 0, 0, 1, 0] * 360)
    restarted = [(t, c if t < -600 else Counter(c.total - 120_000, c.bad - 480)) for t, c in readings]
    assert overdispersion(restarted).phi == pytest.approx(overdispersion(readings).phi, rel=0.05)


def test_missing_scrapes_drop_their_blocks_only():
    rng = random.Random(3)
    readings = history([20 * poisson(0.1, rng) for _ in range(1800)])
    holed = [(t, None if index % 37 == 5 else c) for index, (t, c) in enumerate(readings)]
    skipped = [r for index, r in enumerate(readings) if index % 37 != 5]
    whole = overdispersion(readings).phi
    assert overdispersion(holed).phi == pytest.approx(whole, rel=0.5)
    assert overdispersion(skipped).phi == pytest.approx(overdispersion(holed).phi)


def test_scrapes_of_fifteen_seconds_are_measured_in_the_longer_blocks_only():
    rng = random.Random(4)
    found = overdispersion(history([10 * poisson(1.0, rng) for _ in range(240)], interval_s=15.0))
    assert [block for block, _ in found.blocks] == [60.0]
    assert 5 < found.phi < 20


def test_a_clock_that_jitters_changes_nothing():
    rng = random.Random(5)
    readings = history([20 * poisson(0.1, rng) for _ in range(1800)])
    jittered = [(t * 1.0004 + rng.uniform(-0.02, 0.02), c) for t, c in readings]
    assert overdispersion(jittered).phi == pytest.approx(overdispersion(readings).phi)


@given(st.lists(st.integers(0, 50), max_size=200))
def test_phi_is_at_least_one_and_finite(bad):
    assert 1.0 <= overdispersion(history(bad)).phi < 1e4
