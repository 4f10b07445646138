"""History in numbers: quantiles, the projected worst case, and how far past projections were off."""

from __future__ import annotations

import pytest
from drill_examples import drill, drills
from hypothesis import given
from hypothesis import strategies as st
from turnout.drill.record import Drill, Sizes
from turnout.drill.statistics import (
    Worst,
    costs,
    declared_s,
    measured_s,
    predictions,
    projection,
    quantile,
    spread,
    worst_case,
)

GB = 10**9


def restore(number: int, data_gb: float, wal_gb: float, *, copy_s: float, replay_s: float, age_s: float) -> Drill:
    return drill(
        number,
        seconds={"copy": copy_s, "target": replay_s, "consistency": 0.0},
        sizes=Sizes(int(data_gb * GB), int(wal_gb * GB), age_s, 86_400.0),
    )


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9
    assert sum(value < found for value in values) < q * len(values) + 1e-9


def test_one_miss_in_five_is_seen_in_p95_and_max() -> None:
    found = spread([1.0, 1.0, 1.0, 1.0, 9.0])
    assert found is not None
    assert (found.count, found.p50, found.p95, found.max) == (5, 1.0, 9.0, 9.0)
    assert spread([]) is None


def test_worst_case_is_the_sum_of_its_four_parts() -> None:
    # 0.1 GB/s copied, 0.05 GB/s replayed, 0.5 GB of WAL in 43,200 s: twice that until the next backup.
    worst = worst_case([restore(0, 2, 0.5, copy_s=20, replay_s=10, age_s=43_200)])
    assert worst is not None
    assert worst.declared_s == 360
    assert worst.fixed_s == pytest.approx(1.5 + 1 + 0.5 + 3 + 1 + 2)
    assert (worst.copy_s, worst.replay_s) == (pytest.approx(20), pytest.approx(20))
    assert worst.rto_s == pytest.approx(360 + 9 + 20 + 20)


def test_worst_case_leans_on_the_highest_rate_of_wal_and_the_latest_size() -> None:
    calm = restore(0, 2, 0.5, copy_s=20, replay_s=10, age_s=43_200)
    busy = restore(1, 2, 1.0, copy_s=20, replay_s=20, age_s=43_200)
    grown = restore(2, 4, 0.5, copy_s=40, replay_s=10, age_s=43_200)
    worst = worst_case([calm, busy, grown])
    assert worst is not None
    assert worst.data_bytes == 4 * GB
    assert worst.wal_bytes == pytest.approx(2 * GB)
    assert worst.rto_s == pytest.approx(360 + 9 + 40 + 40)


def test_a_backup_older_than_its_interval_makes_more_wal_than_the_schedule_promises() -> None:
    worst = worst_case([restore(0, 2, 2, copy_s=20, replay_s=40, age_s=2 * 86_400)])
    assert worst is not None
    assert worst.wal_bytes == pytest.approx(2 * GB)


def test_no_projection_without_sizes_interval_or_end() -> None:
    assert worst_case([]) is None
    assert worst_case([drill(sizes=Sizes())]) is None
    assert worst_case([drill(sizes=Sizes(GB, GB, 3600.0, None))]) is None
    assert worst_case([drill(sizes=Sizes(GB, 0, 3600.0, 86_400.0))]) is None
    assert worst_case([drill(seconds={"smoke": None})]) is None


@pytest.mark.parametrize(
    ("wal_mb", "age_s", "made"),
    [
        (67, 34, False),  # 171 GB a day from 67 MB: mostly what the backup itself closed
        (500, 34, False),
        (67, 43_200, False),
        (500, 8_639, False),
        (500, 8_640, True),
        (135, 43_200, True),
        (67, 86_400, True),  # a whole interval: nothing is projected beyond what was seen
    ],
)
def test_only_a_drill_near_enough_to_the_worst_case_projects_it(wal_mb: int, age_s: float, made: bool) -> None:
    found = projection([restore(0, 0.05, wal_mb / 1000, copy_s=2, replay_s=1, age_s=age_s)])
    if made:
        assert isinstance(found, Worst)
        assert found.wal_bytes <= 10 * found.seen_wal_bytes * (1 + 1e-9)
        assert (found.seen_wal_bytes, found.seen_age_s, found.drills) == (wal_mb * 10**6, age_s, 1)
    else:
        assert isinstance(found, str)
        assert f"{wal_mb} MB of WAL" in found
        assert "at least 134 MB and 2 h 24 min" in found


def test_a_short_drill_beside_a_long_one_does_not_make_its_rate_that_of_a_day() -> None:
    long = restore(0, 2, 0.5, copy_s=20, replay_s=10, age_s=43_200)
    short = restore(1, 2, 0.2, copy_s=20, replay_s=1, age_s=34)
    worst = worst_case([long, short])
    assert worst is not None
    assert (worst.wal_bytes, worst.replay_s, worst.drills) == (pytest.approx(GB), pytest.approx(20), 1)


def test_nothing_is_projected_to_more_than_ten_times_what_was_replayed() -> None:
    short = restore(0, 2, 0.5, copy_s=20, replay_s=10, age_s=8_640)
    late = restore(1, 2, 5, copy_s=20, replay_s=100, age_s=3 * 86_400)
    assert isinstance(projection([short, restore(1, 2, 0.2, copy_s=2, replay_s=4, age_s=3 * 86_400)]), str)
    assert worst_case([short, late]) is not None


def test_why_nothing_is_projected_is_said() -> None:
    assert "reached its end" in str(projection([]))
    assert "drill_backup_interval_s" in str(projection([drill(sizes=Sizes(GB, GB, 3600.0, None))]))


def test_a_drill_a_thousand_times_as_large_is_not_predicted_from_a_small_one() -> None:
    small = restore(0, 0.001, 0.05, copy_s=1, replay_s=1, age_s=34)
    assert predictions([small, restore(1, 20, 0.05, copy_s=100, replay_s=1, age_s=34)]) == ()
    assert predictions([small, restore(1, 0.001, 60, copy_s=1, replay_s=100, age_s=34)]) == ()


def test_a_constant_machine_is_predicted_without_error_whatever_the_sizes() -> None:
    history = [
        restore(n, data, wal, copy_s=10 * data, replay_s=20 * wal, age_s=3600)
        for n, (data, wal) in enumerate([(1, 0.5), (2, 0.1), (8, 3)])
    ]
    past = predictions(history)
    assert [one.drill for one in past] == ["drill-001", "drill-002"]
    assert all(one.error == pytest.approx(0, abs=1e-6) for one in past)


def test_a_disk_half_as_fast_shows_as_a_prediction_that_was_too_low() -> None:
    before = restore(0, 2, 0.5, copy_s=20, replay_s=10, age_s=3600)
    after = restore(1, 2, 0.5, copy_s=40, replay_s=20, age_s=3600)
    (one,) = predictions([before, after])
    assert (one.predicted_s, one.measured_s) == (pytest.approx(39), pytest.approx(69))
    assert one.error == pytest.approx(-30 / 69)


@given(st.lists(drills(), max_size=5))
def test_whatever_the_history_the_numbers_can_be_computed(history: list[Drill]) -> None:
    worst = worst_case(history)
    if worst is not None:
        parts = worst.declared_s + worst.fixed_s + worst.copy_s + worst.replay_s
        assert worst.rto_s == pytest.approx(parts, rel=1e-9, abs=1e-6)
    assert len(predictions(history)) <= max(0, len(history) - 1)
    for one in history:
        known = costs(one)
        if known is not None:
            assert known.fixed_s > -1e-6 * (1 + measured_s(one))
        if one.rto_seconds is not None:
            assert declared_s(one) + measured_s(one) == pytest.approx(one.rto_seconds, abs=0.01)
