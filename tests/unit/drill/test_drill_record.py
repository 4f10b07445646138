"""Records are read as strictly as they are written."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from drill_examples import F, drill, drills, lsn, replaced
from hypothesis import given
from hypothesis import strategies as st
from turnout.drill.parse import FIELDS, FaultError, from_object, parse, read, read_lines
from turnout.drill.record import Drill, Failure, Recovered, Verdict, as_dict, line
from turnout.errors import TurnoutError

GOOD = as_dict(drill())


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the good record with one field (`phases.3.name`) set."""
    copy = json.loads(json.dumps(GOOD))
    at = copy
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        at = at[key]
    at[last] = value
    return copy


@given(drills())
def test_what_is_written_is_what_is_read(one: Drill) -> None:
    written = line(one)
    assert "\n" not in written
    assert parse(written) == one


def test_the_longest_distance_in_the_wal_is_read_back() -> None:
    one = drill(failure=Failure(F, lsn(2**64 - 1), 1000), recovered=Recovered(F - timedelta(seconds=1), lsn(0), 999))
    assert one.rpo.wal_bytes == 2**64 - 1
    assert parse(line(one)) == one


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_what_is_no_record_is_a_fault_and_never_a_traceback(value: Any) -> None:
    with pytest.raises(FaultError):
        parse(json.dumps(value))


LEAVES = ["id", "mode", "started", "failure.at", "failure.lsn", "failure.heartbeat", "rpo.seconds", "rpo.wal_bytes"]
LEAVES += ["phases.2.name", "phases.4.seconds", "phases.4.source", "sizes.data_bytes", "checks.0.name", "verdict"]
LEAVES += ["checks.0.outcome", "checks.0.seconds", "egress_blocked", "causes", "rto_seconds", "ended"]


@pytest.mark.parametrize("path", LEAVES)
@pytest.mark.parametrize(
    "value", [[], {}, True, -1, -0.5, "x" * 100, "", 1e300, 10**400, "2026-03-01T03:00:00", float("nan")]
)
def test_a_wrong_value_is_a_fault_that_names_its_field(path: str, value: Any) -> None:
    if (path, value) == ("causes", []):
        value = "nothing"
    if path in ("id", "checks.0.name") and isinstance(value, str) and value:
        assert from_object(changed(path, value))  # any text will do
        return
    with pytest.raises(FaultError) as fault:
        from_object(changed(path, value))
    assert path.split(".", maxsplit=1)[0] in str(fault.value)


@pytest.mark.parametrize("key", FIELDS)
def test_a_missing_field_is_named(key: str) -> None:
    copy = dict(GOOD)
    del copy[key]
    with pytest.raises(FaultError, match=f"field {key}: is not there"):
        from_object(copy)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(FaultError, match="field color: is not a field"):
        from_object({**GOOD, "color": "blue"})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("rpo.seconds", 1.0, "rpo.seconds: is 1.0"),
        ("rpo.heartbeats", 0, "rpo.heartbeats"),
        ("rpo.wal_bytes", 0, "rpo.wal_bytes"),
        ("failure", None, "rpo"),
        ("rto_seconds", 380.0, "rto_seconds: is 380"),
        ("phases.0.seconds", 0, "detect takes 0 s"),
        ("phases.4.source", "declared", "copy is declared"),
        ("checks", [], "verdict: is pass"),
        ("checks.0.outcome", "unknown", "verdict: is pass"),
        ("checks.0.outcome", "fail", "verdict: is pass"),
        ("egress_blocked", None, "verdict: is pass"),
        ("rto_seconds", None, "verdict: is pass"),
        ("rpo", None, "verdict: is pass"),
        ("verdict", "fail", "causes: is empty"),
        ("ended", "2026-01-01T00:00:00Z", "ended: is before started"),
        ("mode", "random", "rpo: is there"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(path: str, value: Any, words: str) -> None:
    with pytest.raises(FaultError, match=words):
        from_object(changed(path, value))


def test_phases_out_of_order_or_twice_are_refused() -> None:
    for phases in (list(reversed(GOOD["phases"])), [*GOOD["phases"], GOOD["phases"][-1]]):
        with pytest.raises(FaultError, match="field phases"):
            from_object({**GOOD, "phases": phases})


def test_a_worse_verdict_than_the_checks_allow_may_stand_with_its_cause() -> None:
    one = replaced(drill(), verdict=Verdict.INCONCLUSIVE, causes=("it was interrupted",))
    assert parse(line(one)) == one


def test_files_are_read_oldest_first_and_a_record_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(line(drill(2)) + "\n\n" + line(drill(0)) + "\n")
    (tmp_path / "b").write_text(line(drill(1)) + "\n" + line(drill(0)) + "\n")
    assert [one.id for one in read([tmp_path / "a", tmp_path / "b"])] == ["drill-000", "drill-001", "drill-002"]


def test_two_records_of_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(line(drill(0)) + "\n" + line(drill(0, lost_s=3.0)) + "\n")
    with pytest.raises(TurnoutError, match="differs"):
        read([tmp_path / "a"])


def test_a_broken_line_is_told_with_file_line_field_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(line(drill(0)) + "\n" + json.dumps({**GOOD, "mode": "sometimes"}) + "\n")
    with pytest.raises(TurnoutError) as error:
        read([tmp_path / "a"])
    text = str(error.value)
    for word in (str(tmp_path / "a"), "line 2", "field mode", "longest_chain", "sed -i.bak 2d"):
        assert word in text


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("gone", "binary"):
        with pytest.raises(TurnoutError, match=name):
            read([tmp_path / name])


# Formats ------------------------------------------------------------------------------------------------------------


def test_a_record_of_format_1_is_written_as_turnout_0_2_reads_it() -> None:
    assert set(as_dict(drill())) == set(FIELDS)
    assert from_object({**GOOD, "format": 1}) == from_object(GOOD)


@given(drills(), st.integers(2, 99), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_a_record_of_a_newer_format_is_refused_by_name_with_the_remedy(
    one: Drill, number: int, more: dict[str, int]
) -> None:
    entry = {**more, **as_dict(one), "format": number}
    for text in (json.dumps(entry), json.dumps({"ts": "t", "seq": 1, "run": "r", "actor": "a", **entry})):
        with pytest.raises(TurnoutError) as seen:
            list(read_lines("ledger.jsonl", [text]))
        assert seen.value.code == "drill-format"
        assert f"ledger.jsonl: line 1: the record is of format {number}" in seen.value.observed
        assert "pip install --upgrade turnout" in seen.value.remedy


@pytest.mark.parametrize("number", [0, -1, "1", None, True, 1.5, []])
def test_a_format_that_is_no_number_is_a_fault_of_the_record(number: Any) -> None:
    with pytest.raises(FaultError, match="format"):
        from_object({**GOOD, "format": number})
