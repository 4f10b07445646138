"""Freeze windows on the wall clock, over both changes of daylight saving, held against a clock that is only read."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout import keys
from turnout.checklist.config import Checklist
from turnout.checklist.freeze import DAYS, Once, Weekly, Window, closes, opens
from turnout.faults import Fault

# Both changes of 2026 in three zones: north, south (the other way round), and one with a change of half an hour.
CHANGES = {
    "Europe/Berlin": (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), datetime(2026, 10, 25, 1, 0, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 7, 0, tzinfo=UTC), datetime(2026, 11, 1, 6, 0, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 10, 3, 15, 30, tzinfo=UTC), datetime(2026, 4, 4, 15, 0, tzinfo=UTC)),
}
ZONES = sorted(CHANGES)


def read(items: list[dict[str, Any]]) -> tuple[list[Window], list[Fault]]:
    faults: list[Fault] = []
    found = keys.read(Checklist, {"freeze": items}, "checklist", faults)
    return [] if faults or found is None else list(found.freeze), faults


def wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@pytest.mark.parametrize("zone", ZONES)
def test_the_changes_are_where_the_tests_believe_them_to_be(zone: str) -> None:
    for change in CHANGES[zone]:
        before, after = wall(change - timedelta(seconds=1), zone), wall(change, zone)
        assert after - before != timedelta(seconds=1)


near_change = st.tuples(
    st.sampled_from(ZONES), st.integers(0, 1), st.integers(-60 * 30, 60 * 30), st.integers(-60 * 60, 60 * 60)
)


@given(near_change)
@settings(max_examples=300, deadline=None)  # a busy machine is no fault of the calendar
def test_a_reading_stands_for_the_moments_at_which_a_clock_shows_or_passes_it(case: tuple[str, int, int, int]) -> None:
    zone, which, minutes, _ = case
    reading = wall(CHANGES[zone][which], zone) + timedelta(minutes=minutes)
    first, last = opens(reading, ZoneInfo(zone)), closes(reading, ZoneInfo(zone))
    second = timedelta(seconds=1)
    assert wall(first, zone) >= reading > wall(first - second, zone)
    assert last == first or wall(last, zone) == reading
    # From `last` on the clock never shows less again; before `first` it never showed as much.
    assert all(wall(last + timedelta(minutes=m), zone) >= reading for m in range(0, 181, 5))
    assert all(wall(first - timedelta(minutes=m), zone) < reading for m in range(5, 181, 5))


@given(near_change, st.integers(1, 6 * 24 * 60))
@settings(max_examples=300, deadline=None)  # a busy machine is no fault of the calendar
def test_a_weekly_window_holds_exactly_between_its_readings(case: tuple[str, int, int, int], length_min: int) -> None:
    zone, which, start_min, moment_min = case
    change = CHANGES[zone][which]
    begins = wall(change, zone).replace(second=0) + timedelta(minutes=start_min)
    ends = begins + timedelta(minutes=length_min)
    window = Weekly("w", zone, (begins.weekday(), begins.time()), (ends.weekday(), ends.time()))
    moment = change + timedelta(minutes=moment_min)
    inside = any(
        opens(begins + timedelta(weeks=week), ZoneInfo(zone))
        <= moment
        < closes(ends + timedelta(weeks=week), ZoneInfo(zone))
        for week in (-2, -1, 0, 1, 2)
    )
    assert (window.until(moment) is not None) == inside
    until = window.until(moment)
    if until is not None:
        assert until > moment
        # Whoever waits until then meets an open door, but for a window that begins at once.
        assert window.until(until) is None or length_min >= 7 * 24 * 60 - 60


@given(near_change)
@settings(deadline=None)
def test_no_moment_of_a_window_is_let_through_early_in_the_hour_that_happens_twice(
    case: tuple[str, int, int, int],
) -> None:
    zone, which, start_min, moment_min = case
    change = CHANGES[zone][which]
    begins = wall(change, zone) - timedelta(days=1)
    ends = wall(change, zone) + timedelta(minutes=start_min)
    if ends <= begins:
        return
    window = Once("o", zone, begins, ends)
    moment = change + timedelta(minutes=moment_min)
    if begins <= wall(moment, zone) < ends:
        assert window.until(moment) is not None


def test_the_weekend_from_friday_to_monday() -> None:
    windows, faults = read([{"name": "weekend", "zone": "Europe/Berlin", "from": "fri 16:00", "to": "mon 08:00"}])
    assert faults == []
    (window,) = windows
    assert isinstance(window, Weekly)
    assert window.start == (4, time(16))
    zone = ZoneInfo("Europe/Berlin")
    # Over the end of summer time, 25 October 2026: 65 hours by the clock on the wall.
    friday = datetime(2026, 10, 23, 16, 0, tzinfo=zone)
    assert window.until(friday - timedelta(seconds=1)) is None
    until = window.until(friday)
    assert until == datetime(2026, 10, 26, 8, 0, tzinfo=zone)
    assert until - friday.astimezone(UTC) == timedelta(hours=65)
    assert window.until(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zone)) == until
    assert window.until(until) is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"zone": "Europe/Berln"}, "zone"),
        ({"zone": "../etc/passwd"}, "zone"),
        ({"from": "fri 25:00"}, "from"),
        ({"from": "fry 16:00"}, "from"),
        ({"to": "fri 16:00"}, "to"),
        ({"from": "2026-12-24 18:00"}, "from"),
        ({"from": "2026-12-24 18:00", "to": "2026-12-23 18:00"}, "to"),
        ({"from": "2026-13-24 18:00", "to": "2026-12-23 18:00"}, "from"),
        ({"name": None}, "name"),
        ({"until": "x"}, "until"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(change: dict[str, Any], where: str) -> None:
    item = {"name": "weekend", "zone": "Europe/Berlin", "from": "fri 16:00", "to": "mon 08:00", **change}
    windows, faults = read([{key: value for key, value in item.items() if value is not None}])
    assert windows == []
    assert f"checklist.freeze[0].{where}" in [fault.path for fault in faults]


def test_weekdays_are_those_of_python() -> None:
    assert DAYS[datetime(2026, 11, 25, tzinfo=UTC).weekday()] == "wed"
