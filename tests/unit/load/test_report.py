"""What is computed from the records of a load."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load.report import Mark, Record, latency_ms, percentile, read_marks, spans, summary, windows


def record(due: float, took: float = 0.01, **values: object) -> Record:
    given_values = {
        "start": due,
        "end": due + took,
        "nominal_s": 0.0,
        "kind": "tasks",
        "edge": "edge1",
        "status": 200,
        "color": "blue",
        "release": "1.0.0",
        "error": "",
        "fresh": False,
    }
    return Record(due=due, **{**given_values, **values})  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_the_smallest_number_that_enough_others_do_not_exceed(
    numbers: list[float], share: float
) -> None:
    ordered = sorted(numbers)
    found = percentile(ordered, share)
    assert sum(1 for number in ordered if number <= found) >= share * len(ordered) - 1e-9
    below = [number for number in ordered if number < found]
    assert len(below) < share * len(ordered)


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.99))
    assert latency_ms([]) == {"p50": None, "p95": None, "p99": None, "max": None}


def test_latency_counts_from_the_schedule_and_beyond_the_nominal_time() -> None:
    late = record(10.0, start=10.2, end=15.3, nominal_s=5.0)
    assert late.latency_s == pytest.approx(0.3)


def test_a_failed_request_counts_with_the_time_that_it_took() -> None:
    assert latency_ms([record(0, took=30, status=0, error="timeout")])["p99"] == 30_000


def test_spans_tell_the_first_and_the_last_answer_of_a_release_on_each_edge() -> None:
    records = [
        record(1, release="1.0.0"),
        record(3, release="1.1.0"),
        record(2, release="1.0.0", edge="edge2"),
        record(9, release="", status=0, error="timeout"),
    ]
    found = spans(records, lambda r: f"{r.edge} {r.release}", unix_offset_s=100)
    assert found["edge1 1.0.0"] == {
        "count": 1,
        "failed": 0,
        "first_s": 1.01,
        "last_s": 1.01,
        "first_unix": 101.01,
        "last_unix": 101.01,
    }
    assert set(found) == {"edge1 1.0.0", "edge1 1.1.0", "edge2 1.0.0"}  # what was never answered has no release


def test_a_window_holds_what_was_due_in_any_mark_of_its_name() -> None:
    records = [record(t, took=t / 1000) for t in range(1, 11)]
    marks = [Mark("switch", 2, 4), Mark("switch", 6, 7), Mark("quiet", 8, 8.5)]
    found = windows(records, marks, unix_offset_s=0)
    assert found["switch"]["count"] == 3  # 2, 3 and 6: the end of a mark is outside
    assert found["switch"]["seconds"] == 3
    assert found["switch"]["latency_ms"]["max"] == 6
    assert found["switch"]["releases"] == {"1.0.0": 3}
    assert found["quiet"]["count"] == 1


def test_marks_may_be_given_in_unix_time() -> None:
    found = windows([record(5)], [Mark("a", 1_700_000_004, 1_700_000_006)], unix_offset_s=1_700_000_000)
    assert found["a"]["count"] == 1


def test_marks_are_read_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    path.write_text('{"t0": 1, "t1": 2, "name": "a"}\n\n{"t0": 3, "t1": 4, "name": "b"}\n')
    assert read_marks(path) == [Mark("a", 1, 2), Mark("b", 3, 4)]


@pytest.mark.parametrize(
    "line", ["no json", '{"t0": 1}', '{"t0": 2, "t1": 1, "name": "a"}', '{"t0": 1, "t1": 1700000000, "name": "a"}']
)
def test_a_wrong_mark_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "marks"
    path.write_text('{"t0": 1, "t1": 2, "name": "a"}\n' + line)
    with pytest.raises(ValueError, match=":2: "):
        read_marks(path)


def test_a_summary_counts_failures_by_cause_and_is_json() -> None:
    records = [
        record(0),
        record(1, status=503, error="status-503"),
        record(2, status=0, error="timeout", release=""),
    ]
    found = summary(records, [Mark("all", 0, 10)], unix_offset_s=1e9, cpu_s=0.1)
    assert (found["requests"], found["failed"]) == (3, 2)
    assert found["failures"] == {"status-503": 1, "timeout": 1}
    assert [sample["error"] for sample in found["samples"]] == ["status-503", "timeout"]
    assert found["windows"]["all"]["failed"] == 2
    json.dumps(found, allow_nan=False)


def test_a_run_that_sent_nothing_has_a_summary_too() -> None:
    found = summary([], [Mark("all", 0, 10)], unix_offset_s=0, cpu_s=0)
    assert (found["requests"], found["failed"], found["rate"]) == (0, 0, None)
    json.dumps(found, allow_nan=False)
