"""A waiver counts only whole: a known check, a reason, a person, this release, an end that has not come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout import keys
from turnout.checklist import waivers
from turnout.checklist.config import Checklist
from turnout.checklist.model import Result, Verdict, Waiver
from turnout.faults import Fault

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "check": "disk",
    "reason": "the disk is swapped tonight",
    "who": "ada@example.com",
    "release": "1.4.2",
    "expires": "2026-11-26T12:00:00+00:00",
}


def read(**changes: Any) -> tuple[list[Waiver], list[str]]:
    item = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    faults: list[Fault] = []
    found = keys.read(Checklist, {"waivers": [item]}, "checklist", faults)
    return [] if faults or found is None else list(found.waivers), [fault.path for fault in faults]


def test_a_whole_waiver_is_read() -> None:
    found, faults = read()
    assert faults == []
    assert found[0].who == "ada@example.com"
    assert waivers.refusals(found, release="1.4.2", now_s=NOW.timestamp()) == []


@pytest.mark.parametrize("key", ["check", "reason", "who", "release", "expires"])
def test_one_that_lacks_anything_is_refused(key: str) -> None:
    found, faults = read(**{key: None})
    assert found == []
    assert faults == [f"checklist.waivers[0].{key}"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"reason": "ok"}, "reason"),
        ({"reason": ""}, "reason"),
        ({"who": ""}, "who"),
        ({"check": ""}, "check"),
        ({"release": " "}, "release"),
        ({"reason": "          "}, "reason"),
        ({"check": "disks"}, "check"),
        ({"expires": "2026-11-26"}, "expires"),
        ({"expires": "2026-11-26T12:00:00"}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"until": "2027-01-01T00:00:00Z"}, "until"),
    ],
)
def test_a_waiver_that_says_too_little_is_refused(change: dict[str, Any], where: str) -> None:
    found, faults = read(**change)
    assert found == []
    assert faults == [f"checklist.waivers[0].{where}"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"expires": "2026-11-25T11:59:59Z"}, "expired"),
        ({"release": "1.4.1"}, "for release 1.4.1"),
        ({"expires": "2027-11-25T11:59:59Z"}, "lasts until"),
    ],
)
def test_expired_too_long_or_for_another_release(change: dict[str, Any], word: str) -> None:
    found, _ = read(**change)
    faults = waivers.refusals(found, release="1.4.2", now_s=NOW.timestamp())
    assert [word in fault.observed for fault in faults] == [True]


@given(offset_s=st.integers(-10_000_000, 10_000_000), release=st.sampled_from(["1.4.2", "1.4.3"]))
@settings(deadline=None)
def test_nothing_counts_but_before_its_end_and_for_its_release(offset_s: int, release: str) -> None:
    waiver = Waiver("disk", "a good reason", "ada", "1.4.2", NOW.timestamp() + offset_s)
    refused = waivers.refusals([waiver], release=release, now_s=NOW.timestamp())
    counts = 0 < offset_s <= waivers.LONGEST.total_seconds() and release == "1.4.2"
    assert (refused == []) == counts


def test_a_waiver_covers_its_check_or_one_subject_and_only_obstacles() -> None:
    whole = Waiver("disk", "a good reason", "ada", "1.4.2", 0)
    one = Waiver("memory@app1", "a good reason", "ada", "1.4.2", 0)
    results = [
        Result("disk", Verdict.FAIL, "full", subject="app1"),
        Result("disk", Verdict.PASS, "fine", subject="app2"),
        Result("memory", Verdict.UNKNOWN, "?", subject="app1"),
        Result("memory", Verdict.FAIL, "none", subject="app2"),
    ]
    applied = waivers.apply(results, [whole, one])
    assert [result.waiver for result in applied] == [whole, None, one, None]
    assert [result.obstacle for result in applied] == [False, False, False, True]
    told = waivers.used(applied)
    assert [(row["check"], row["covered"]) for row in told] == [
        ("disk", ["disk@app1: fail: full"]),
        ("memory@app1", ["memory@app1: unknown: ?"]),
    ]
