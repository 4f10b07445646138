"""RPO, RTO and verdict follow from what was measured, and from nothing else."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from drill_examples import F, checks, drill, durations, lsn, phase
from hypothesis import given
from hypothesis import strategies as st
from turnout.drill.arithmetic import (
    MEASURED_PHASES,
    lsn_distance,
    measure_phases,
    measure_rpo,
    missing_phases,
    rto_seconds,
    sums_to,
    verdict_of,
    worse,
)
from turnout.drill.finish import finish
from turnout.drill.record import PHASES, Check, Failure, Mode, Outcome, Recovered, Source, Verdict, lsn_number
from turnout.errors import TurnoutError

DECLARED = {"detect": 60.0, "decide": 300.0}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_lsn_distance_is_the_difference_of_the_byte_positions(one: int, other: int) -> None:
    assert lsn_number(lsn(one)) == one
    assert lsn_distance(lsn(one), lsn(other)) == one - other


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/G", "123456789/0", "0/0 ", "0/0\n", "-1/0", "0x1/0"])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="LSN"):
        lsn_number(text)


@given(st.floats(0, 1e6), st.integers(0, 2**40), st.integers(0, 2**40))
def test_rpo_is_what_lies_between_the_last_heartbeat_and_the_failure(lost_s: float, beats: int, wal: int) -> None:
    recovered = Recovered(F - timedelta(seconds=lost_s), lsn(1000), 7)
    rpo = measure_rpo(Failure(F, lsn(1000 + wal), 7 + beats), recovered)
    assert rpo.seconds == pytest.approx(lost_s, abs=0.001)
    assert (rpo.heartbeats, rpo.wal_bytes) == (beats, wal)


def test_a_heartbeat_committed_while_the_failure_is_read_is_no_loss_and_no_error() -> None:
    rpo = measure_rpo(Failure(F, lsn(1000), 7), Recovered(F + timedelta(seconds=1.0), lsn(1001), 8))
    assert (rpo.seconds, rpo.heartbeats, rpo.wal_bytes) == (0.0, 0, 0)


def test_what_is_measured_is_written_to_the_millisecond() -> None:
    assert measure_rpo(Failure(F, lsn(1), 1), Recovered(F - timedelta(seconds=12.3456), lsn(1), 1)).seconds == 12.346
    phases = measure_phases(0.0, [("copy", 1.2344), ("smoke", 2.4690)], {"detect": 0.1111, "decide": 0.2})
    assert [one.seconds for one in phases] == [0.111, 0.2, 1.234, 1.235]
    assert rto_seconds((phase("copy", 0.0011), phase("smoke", 0.0012))) == 0.002


def test_a_state_from_after_the_failure_is_refused() -> None:
    late = Recovered(F + timedelta(seconds=1.001), lsn(1), 1)
    with pytest.raises(TurnoutError, match=r"committed 1\.001 s after the declared failure"):
        measure_rpo(Failure(F, lsn(1), 1), late)


@given(
    st.floats(0, 1e9),
    st.lists(st.tuples(st.sampled_from([None, *MEASURED_PHASES]), st.floats(0, 1e5)), max_size=30),
    st.floats(0.001, 1e5),
    st.floats(0.001, 1e5),
)
def test_phases_sum_to_the_whole_less_what_lies_outside(
    began_s: float, stretches: list[tuple[str | None, float]], detect_s: float, decide_s: float
) -> None:
    marks, now_s = [], began_s
    for name, seconds in stretches:
        now_s += seconds
        marks.append((name, now_s))
    phases = measure_phases(began_s, marks, {"detect": detect_s, "decide": decide_s})
    outside_s = sum(seconds for name, seconds in stretches if name is None)
    whole_s = now_s - began_s - outside_s + detect_s + decide_s
    assert sums_to(phases, whole_s)
    assert rto_seconds(phases) == pytest.approx(whole_s, abs=0.01)
    names = [one.name for one in phases]
    assert names == [name for name in PHASES if name in {*DECLARED, *(name for name, _ in stretches)}]
    assert {one.name for one in phases if one.source is Source.DECLARED} == set(DECLARED)


@pytest.mark.parametrize(
    ("marks", "declared", "words"),
    [
        ([("copy", 4.0)], DECLARED, "copy ends at 4.000 s, before 5.000 s"),
        ([("copy", 6.0), ("target", 5.5)], DECLARED, "target ends at 5.500 s, before 6.000 s"),
        ([("copy", 6.0), (None, 5.5)], DECLARED, "the stretch outside the RTO ends at 5.500 s"),
        ([("copy", float("nan"))], DECLARED, "before"),
        ([("teardown", 6.0)], DECLARED, "teardown"),
        ([("detect", 6.0)], DECLARED, "detect"),
        ([], {"detect": 0.0, "decide": 1.0}, "detect is 0.0"),
        ([], {"detect": -1.0, "decide": 1.0}, "detect is -1.0"),
        ([], {"detect": 1.0}, "decide is None"),
        ([], {"detect": 1.0, "decide": float("inf")}, "decide is inf"),
    ],
)
def test_marks_that_cannot_be_are_refused(
    marks: list[tuple[str | None, float]], declared: dict[str, float], words: str
) -> None:
    with pytest.raises(TurnoutError, match=words):
        measure_phases(5.0, marks, declared)


@given(st.floats(1, 1e6), st.floats(-0.5, 0.5))
def test_the_sum_is_held_to_one_percent(whole_s: float, off: float) -> None:
    phases = (phase("copy", whole_s * (1 + off)),)
    if abs(off) < 0.0099:
        assert sums_to(phases, whole_s)
    elif abs(off) > 0.0131:  # 1 % and the rounding of two numbers to milliseconds
        assert not sums_to(phases, whole_s)


@pytest.mark.parametrize("count", range(8))
def test_short_phases_may_differ_by_a_millisecond_each_and_one_for_the_whole(count: int) -> None:
    phases = tuple(phase(name, 0.01) for name in MEASURED_PHASES[:count])
    whole_s, ticks = 0.01 * count, count + 1
    for sign in (-1, 1):
        assert sums_to(phases, whole_s + sign * (ticks - 0.1) / 1000)
        assert not sums_to(phases, whole_s + sign * (ticks + 0.1) / 1000)


@pytest.mark.parametrize("whole_s", [1.0, 30.0, 1000.0])
def test_a_long_drill_may_differ_by_one_percent(whole_s: float) -> None:
    assert sums_to((phase("copy", whole_s * 1.0099),), whole_s)
    assert not sums_to((phase("copy", whole_s * 1.0101),), whole_s)
    assert not sums_to((phase("copy", whole_s * 0.9899),), whole_s)


def test_verdict_of_every_mix_of_outcomes() -> None:
    for size in range(4):
        for outcomes in product(Outcome, repeat=size):
            verdict = verdict_of([Check("c", outcome, 0.0) for outcome in outcomes])
            if Outcome.FAIL in outcomes:
                assert verdict is Verdict.FAIL
            elif not outcomes or Outcome.UNKNOWN in outcomes:
                assert verdict is Verdict.INCONCLUSIVE
            else:
                assert verdict is Verdict.PASS


@given(st.lists(checks), checks)
def test_one_more_check_never_betters_a_verdict_except_the_first(found: list[Check], more: Check) -> None:
    if found:
        before = verdict_of(found)
        assert worse(before, verdict_of([*found, more])) is verdict_of([*found, more])


def test_a_whole_drill_passes() -> None:
    one = drill()
    assert (one.verdict, one.causes) == (Verdict.PASS, ())
    assert one.rto_seconds == 401.0
    assert one.rpo is not None
    assert (one.rpo.seconds, one.rpo.heartbeats, one.rpo.wal_bytes) == (12.5, 12, 0x1000_0000)


@pytest.mark.parametrize("name", [name for name in PHASES if name != "redis_objects"])
def test_a_drill_without_one_of_its_phases_is_no_pass(name: str) -> None:
    one = drill(seconds={name: None})
    assert (one.verdict, one.rto_seconds) == (Verdict.INCONCLUSIVE, None)
    assert name in one.causes[0]


def test_a_drill_of_a_service_without_redis_and_files_can_pass() -> None:
    assert drill(seconds={"redis_objects": None}).verdict is Verdict.PASS
    assert missing_phases(drill(seconds={"redis_objects": None}).phases) == ()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"failure": None}, "failure"),
        ({"recovered": None}, "recovered"),
        ({"checks": ()}, "checked"),
        ({"egress_blocked": None}, "outgoing"),
        ({"causes": ["the controller died"]}, "controller died"),
        ({"lost_s": -5.0}, "after the declared failure"),
        ({"checks": (Check("rows", Outcome.UNKNOWN, 0.0, "no such table"),)}, "rows could not look: no such table"),
    ],
)
def test_what_was_not_seen_is_no_pass(changes: dict[str, object], cause: str) -> None:
    one = drill(**changes)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert any(cause in text for text in one.causes)


def test_a_failed_check_fails_the_drill_whatever_else_is_missing() -> None:
    one = drill(checks=(Check("rows", Outcome.FAIL, 0.1, "table gone"),), recovered=None, phases=())
    assert one.verdict is Verdict.FAIL
    assert one.causes[0] == "check rows failed: table gone"


@given(durations)
def test_a_chosen_point_measures_no_rpo_and_can_pass(lost_s: float) -> None:
    for mode in (Mode.RANDOM, Mode.TIME):
        one = drill(mode=mode, lost_s=lost_s % 900)
        assert (one.rpo, one.verdict) == (None, Verdict.PASS)


@pytest.mark.parametrize(
    ("rpo_s", "rto_s", "failed"),
    [(None, None, set()), (1e6, 1e6, set()), (0.001, 1e6, {"rpo_target"}), (1e6, 0.001, {"rto_target"})],
)
def test_a_drill_that_measures_more_than_its_target_fails(
    rpo_s: float | None, rto_s: float | None, failed: set[str]
) -> None:
    good = drill()
    assert good.rpo is not None
    assert good.rpo.seconds > 0.001
    keep = ("id", "mode", "started", "ended", "failure", "recovered", "phases", "sizes", "checks", "egress_blocked")
    parts = {name: getattr(good, name) for name in keep}
    again = finish(**parts, rpo_target_s=rpo_s, rto_target_s=rto_s)
    assert {check.name for check in again.checks if check.outcome is Outcome.FAIL} == failed
    assert again.verdict is (Verdict.FAIL if failed else Verdict.PASS)
    assert all(any(name in cause and "the target is" in cause for cause in again.causes) for name in failed)
