"""Whether new workers take jobs, by the figures of a queue in two looks."""

from __future__ import annotations

from typing import Any

import pytest
from turnout.checklist.taken import Watched, taken

OLD = {"depth": 5, "net_per_s": 1.0}


@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        ({"depth": 0}, {"depth": 0}, True),  # nothing waits
        (OLD, {"depth": 0}, True),
        (OLD, {"depth": 4, "net_per_s": 0.0}, True),
        (OLD, {"depth": 9, "net_per_s": -2.0}, True),
        (OLD, {"depth": 9, "served_per_s": 3.0}, True),  # fills faster than it is served
        (OLD, {"depth": 9, "served_per_s": 0.0}, False),
        (OLD | {"oldest_at": 100.0}, {"depth": 9, "oldest_at": 100.001}, False),  # the same job is the oldest
        (OLD | {"oldest_at": 100.0}, {"depth": 9, "oldest_at": 101.0}, True),
        (OLD | {"head": "a"}, {"depth": 9, "head": "a"}, False),
        (OLD | {"head": "a"}, {"depth": 9, "head": "b"}, True),
        (OLD, {"depth": 5, "net_per_s": 0.0, "head": "a", "paused": ["mails"]}, True),  # the checklist tells of that
        (OLD, {"depth": 9, "net_per_s": 4.0}, None),
    ],
)  # fmt: skip
def test_what_counts_as_taken(first: dict[str, Any], second: dict[str, Any], seen: bool | None) -> None:
    assert taken(first, second) is seen


def test_a_queue_that_fills_and_of_which_nothing_is_taken_waits_and_is_told() -> None:
    watched = Watched()
    assert watched.add({"jobs": {"depth": 3, "head": "a"}, "mails": {"depth": 1, "head": "a"}}) == ["jobs", "mails"]
    assert watched.add({"jobs": {"depth": 9, "head": "a"}, "mails": {"depth": 2, "head": "b"}}) == ["jobs"]
    assert watched.told == {"mails": "jobs are taken"}
    fault = watched.fault(["jobs"], 60)
    assert "error[worker-idle]" in fault and "60 s from jobs (3 waited, now 9)" in fault and "mails" not in fault
    assert "service.worker.idle_s" in fault and "expected" in fault


def test_what_cannot_be_known_holds_nothing_up() -> None:
    watched = Watched()
    assert watched.add({"away": None, "gone": {"missing": ["x"]}, "dumb": {"depth": 3}}) == []
    assert all(told.startswith("not known") for told in watched.told.values()) and len(watched.told) == 3
