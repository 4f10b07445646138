"""The parts of the sample service that need neither PostgreSQL nor Redis."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample import tokens
from sample.config import ConfigError, load_release, number, required
from sample.schedule import DAY_S, Schedule, schedules

HOURS = {"TASK_REMINDER_HOUR": "14", "OVERDUE_REMINDER_HOUR": "9", "DAILY_DIGEST_HOUR": "3"}
SERVICE = Path(__file__).resolve().parents[3] / "examples" / "sample_service"

tick = Schedule("tick", period_s=1.0, offset_s=0.0, make_up=900)


@given(st.floats(0, 2e9), st.lists(st.floats(0.001, 30), max_size=40))
def test_looking_at_any_moments_enqueues_every_slot_once(start_s: float, pauses: list[float]) -> None:
    now_s, last = start_s, tick.current(start_s)
    first, slots = last + 1, []
    for pause in pauses:
        now_s += pause
        for slot in tick.due(last, now_s):
            slots.append(slot)
            last = slot
    assert slots == list(range(first, tick.current(now_s) + 1))


def test_a_start_makes_up_for_a_handover_but_not_for_a_week() -> None:
    assert list(tick.due(100, 104.2)) == [101, 102, 103, 104]
    assert list(tick.due(100, 5000)) == list(range(4101, 5001))


def test_a_first_start_has_nothing_to_make_up_for() -> None:
    assert list(tick.due(None, 104.2)) == []


def test_a_daily_slot_falls_due_at_its_hour() -> None:
    reminder = Schedule("task_reminder", DAY_S, 14 * 3600, make_up=1)
    day = 20_000
    before = day * DAY_S + 14 * 3600 - 1
    assert list(reminder.due(day - 1, before)) == []
    assert list(reminder.due(day - 1, before + 1)) == [day]
    assert list(reminder.due(day - 9, before + 1)) == [day]  # of a week's reminders, only the last


def test_schedules_come_from_the_environment() -> None:
    found = {schedule.kind: schedule for schedule in schedules({**HOURS, "SCHEDULER_TICK_S": "1"})}
    assert set(found) == {"task_reminder", "overdue_reminder", "daily_digest", "tick"}
    assert found["overdue_reminder"].offset_s == 9 * 3600
    assert "tick" not in {schedule.kind for schedule in schedules(HOURS)}


@pytest.mark.parametrize("name", HOURS)
@pytest.mark.parametrize("value", ["", "24", "-1", "noon"])
def test_a_wrong_hour_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        schedules({**HOURS, name: value})


def test_a_missing_variable_says_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match="service file"):
        required({}, "DATABASE_URL")
    assert number({}, "PORT", 8000, 1, 65535) == 8000


@given(st.integers(0, 10**9), st.integers(0, 2 * 10**9))
def test_a_token_is_good_for_its_user_until_tomorrow_ends(user_id: int, now_s: int) -> None:
    token = tokens.issue_token("secret", user_id, now_s)
    assert tokens.read_token("secret", token, now_s) == user_id
    assert tokens.read_token("secret", token, now_s + DAY_S) == user_id
    assert tokens.read_token("secret", token, now_s + 2 * DAY_S + 1) is None
    assert tokens.read_token("other", token, now_s) is None


def test_logging_in_again_the_same_day_gives_the_same_token() -> None:
    assert tokens.issue_token("s", 7, 10 * DAY_S) == tokens.issue_token("s", 7, 11 * DAY_S - 1)


@given(st.text())
def test_no_made_up_token_is_accepted_or_breaks(token: str) -> None:
    assert tokens.read_token("secret", token, 0) is None


def test_a_password_is_verified_against_its_hash() -> None:
    stored = tokens.hash_password("demo-password", "sample")
    assert stored in (SERVICE / "migrations" / "0001_init.sql").read_text()
    assert tokens.verify_password("demo-password", stored)
    assert not tokens.verify_password("demo-passwore", stored)


def test_a_source_tree_is_a_version_of_its_own() -> None:
    assert load_release(SERVICE).version == "0.0.0-dev"
