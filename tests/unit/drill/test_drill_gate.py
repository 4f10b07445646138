"""The release gate opens for a young proof within its targets, and for nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from drill_examples import F, drill, drills
from hypothesis import given
from hypothesis import strategies as st
from turnout.drill.gate import decide
from turnout.drill.objectives import Objectives
from turnout.drill.record import Check, Drill, Mode, Outcome, Sizes, Verdict
from turnout.drill.words import duration

TARGETS = Objectives(rpo_s=60, rto_s=600, max_age_s=172_800, detect_s=60, decide_s=300)
BROKEN = {"checks": (Check("rows", Outcome.FAIL, 0.1, "table gone"),)}
UNSEEN = {"checks": (Check("rows", Outcome.UNKNOWN, 0.1, "no access"),)}


SLOW = Sizes(2_000_000_000, 500_000_000, 3_240.0, 32_400.0)
"""Its backup was a tenth of the interval between two backups old: ten times its replay is projected."""


def after(number: int, hours: float = 1) -> datetime:
    return F + timedelta(days=number, hours=hours)


def test_a_young_proof_within_its_targets_opens() -> None:
    gate = decide([drill(0)], TARGETS, after(0))
    assert (gate.outcome, gate.causes, gate.notes) == (Outcome.PASS, (), ())
    assert gate.age_s == 3540


@pytest.mark.parametrize(
    ("history", "hours", "outcome", "words"),
    [
        ([], 1, Outcome.UNKNOWN, "no drill has run"),
        ([drill(0)], 49, Outcome.FAIL, "2 d 59 min old|2 d old|2 d 1 h old"),
        ([drill(0, **BROKEN)], 1, Outcome.FAIL, "failed since the last proof: check rows failed: table gone"),
        ([drill(-1), drill(0, **BROKEN)], 1, Outcome.FAIL, "drill-000 failed since"),
        ([drill(0, **UNSEEN)], 1, Outcome.UNKNOWN, "none of 1 drill has passed"),
        ([drill(0, lost_s=61)], 1, Outcome.FAIL, "RPO of drill drill-000 was 1 min 1 s; allowed are 1 min"),
        ([drill(0, seconds={"copy": 300.0})], 1, Outcome.FAIL, "RTO of drill drill-000 was 11 min 21 s"),
        ([drill(0, mode=Mode.RANDOM)], 1, Outcome.UNKNOWN, "measured an RPO"),
        ([drill(-5), drill(0, mode=Mode.TIME)], 1, Outcome.UNKNOWN, "measured an RPO"),
        ([drill(-1, lost_s=61), drill(0, mode=Mode.RANDOM)], 1, Outcome.FAIL, "RPO of drill drill--01"),
        ([drill(0)], -2, Outcome.UNKNOWN, "clocks disagree"),
        (
            [drill(0, sizes=SLOW, seconds={"target": 30.0})],
            1,
            Outcome.FAIL,
            "just before the next backup is projected as 11 min 49 s; allowed are",
        ),
    ],
)
def test_anything_else_keeps_it_closed_and_says_why(
    history: list[Drill], hours: float, outcome: Outcome, words: str
) -> None:
    gate = decide(history, TARGETS, after(0, hours))
    assert gate.outcome is outcome
    assert any(word in cause for word in words.split("|") for cause in gate.causes), gate.causes


def test_a_drill_of_any_name_is_named_as_it_is() -> None:
    gate = decide([drill(0, id="100%, by hand %s")], TARGETS, after(0, 49))
    assert "drill 100%, by hand %s, is 2 d" in gate.causes[0]


def test_a_drill_that_passed_after_a_failure_opens_again() -> None:
    assert decide([drill(-1, **BROKEN), drill(0)], TARGETS, after(0)).outcome is Outcome.PASS


def test_an_inconclusive_drill_after_a_young_proof_is_noted() -> None:
    gate = decide([drill(-1), drill(0, **UNSEEN)], TARGETS, after(0))
    assert gate.outcome is Outcome.PASS
    assert "drill-000, was inconclusive: check rows could not look" in gate.notes[0]


def test_what_cannot_be_projected_is_no_fault() -> None:
    gate = decide([drill(0, sizes=Sizes(50_000_000, 67_000_000, 34.0, 86_400.0))], TARGETS, after(0))
    assert (gate.outcome, gate.causes, gate.notes) == (Outcome.PASS, (), ())
    assert [one.outcome for one in gate.lines] == [Outcome.PASS, Outcome.PASS, None, Outcome.PASS]


@given(st.lists(drills(), max_size=5), st.floats(-1e6, 1e6))
def test_it_never_opens_without_a_proof_that_is_young_and_within_targets(history: list[Drill], off_s: float) -> None:
    history.sort(key=lambda one: one.ended)
    now = (history[-1].ended if history else F) + timedelta(seconds=off_s)
    gate = decide(history, TARGETS, now)
    order = (None, Outcome.PASS, Outcome.UNKNOWN, Outcome.FAIL)
    assert order.index(gate.outcome) >= max(order.index(one.outcome) for one in gate.lines)
    if gate.outcome is Outcome.PASS:
        proof = gate.proof
        assert proof is not None
        assert proof.verdict is Verdict.PASS
        assert proof.rto_seconds is not None
        assert proof.rto_seconds <= TARGETS.rto_s
        assert -60 <= (now - proof.ended).total_seconds() <= TARGETS.max_age_s
        assert not any(one.verdict is Verdict.FAIL and one.ended > proof.ended for one in history)
    else:
        assert gate.causes


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (12.54, "12.5 s"), (60, "1 min"), (200, "3 min 20 s"), (18_120, "5 h 2 min"), (183_600, "2 d 3 h")],
)
def test_durations_are_said_as_a_person_does(seconds: float, words: str) -> None:
    assert duration(seconds) == words
