"""What counts as lost, doubled or missing."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load.jobs import (
    LONGEST_MS,
    SHORTEST_MS,
    Enqueued,
    JobRow,
    JobsError,
    as_it_must_be,
    duration_ms,
    judge_jobs,
    judge_slots,
    verify,
)


def row(job_id: int, ok: int = 1, **values: Any) -> JobRow:
    return JobRow(**{"job_id": job_id, "ok": ok, "failed": 0, "interrupted": 0, "unended": 0, "result": "ok", **values})


def test_jobs_that_ran_once_are_as_they_must_be() -> None:
    found = judge_jobs([row(1), row(2)], [1, 2])
    assert (found["done"], found["lost"], found["doubled"], found["rerun"]) == (2, [], [], [])
    assert as_it_must_be(found, reruns_allowed=False)


def test_a_job_is_lost_when_it_is_not_recorded_or_not_done() -> None:
    found = judge_jobs([row(1), row(2, ok=0, result=None)], [1, 2, 3])
    assert found["lost"] == [3, 2]
    assert not as_it_must_be(found, reruns_allowed=True)


def test_a_job_that_nobody_was_told_of_must_be_done_as_well() -> None:
    assert judge_jobs([row(7, ok=0, result=None)], [])["lost"] == [7]


def test_two_successes_are_a_double_and_a_second_start_is_a_rerun() -> None:
    found = judge_jobs([row(1, ok=2), row(2, unended=1), row(3, interrupted=1), row(4, failed=2)], [1, 2, 3, 4])
    assert (found["doubled"], found["rerun"]) == ([1], [2, 3, 4])
    assert not as_it_must_be(judge_jobs([row(2, unended=1)], [2]), reruns_allowed=False)
    assert as_it_must_be(judge_jobs([row(2, unended=1)], [2]), reruns_allowed=True)


def test_a_job_that_was_given_up_is_not_as_it_must_be() -> None:
    found = judge_jobs([row(1, ok=0, failed=3, result="failed")], [1])
    assert found["failed"] == [1]
    assert not as_it_must_be(found, reruns_allowed=True)


@given(
    st.lists(st.sampled_from(["kept", "missed", "doubled"]), min_size=1, max_size=50),
    st.integers(1, 10**9),
    st.sampled_from([1.0, 0.5, 3.0]),
)
def test_slots_are_found_missing_or_doubled(fates: list[str], first: int, tick_s: float) -> None:
    slots = []
    for slot, fate in enumerate(fates, start=first):
        slots += [slot] * {"kept": 1, "missed": 0, "doubled": 2}[fate]
    found = judge_slots(slots, tick_s, first * tick_s, (first + len(fates) - 1) * tick_s)
    assert found["expected"] == len(fates)
    assert found["missing"] == [slot for slot, fate in enumerate(fates, start=first) if fate == "missed"]
    assert found["doubled"] == [slot for slot, fate in enumerate(fates, start=first) if fate == "doubled"]


def test_slots_outside_of_the_time_do_not_count() -> None:
    found = judge_slots([1, 1, 5, 6, 9, 9], 1, 4.5, 6.5)
    assert found == {"expected": 2, "missing": [], "doubled": []}


def test_durations_span_their_range() -> None:
    found = [duration_ms(random.Random(seed)) for seed in range(500)]  # noqa: S311
    assert min(found) >= SHORTEST_MS
    assert max(found) <= LONGEST_MS
    assert min(found) < 20
    assert max(found) > 4000


def test_a_batch_name_that_is_no_plain_word_never_reaches_the_database() -> None:
    with pytest.raises(JobsError, match="batch"):
        verify(lambda _sql: pytest.fail("asked"), Enqueued("x'; DROP TABLE", 0), wait_s=0, tick_s=0)


def test_verification_waits_for_open_jobs_and_joins_jobs_and_slots() -> None:
    still_open = [[2], [0]]

    def query(sql: str) -> Any:
        if "json_build_array(count" in sql:
            return still_open.pop(0)
        if "jobs_done d USING" in sql and "GROUP BY" not in sql:
            return [[1, 1, 0, 0, 0, "ok"]]
        return [100, 101] if "scheduler_enqueues" in sql else []

    found = verify(query, Enqueued("b", 99.5, 105.0, [1]), wait_s=5, tick_s=1)
    assert (found["done"], found["slots"]) == (1, {"expected": 3, "missing": [102], "doubled": []})
    assert not as_it_must_be(found, reruns_allowed=False)
