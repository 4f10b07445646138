"""From a judgement to what the release does next."""

from __future__ import annotations

import pytest
from turnout.judge.counters import NOTHING
from turnout.judge.model import Evidence, Judgement, Rate, Sight, Verdict
from turnout.judge.plan import SharePlan
from turnout.judge.steps import Action, decide

PLAN = SharePlan((500, 2500, 10_000), patience_s=60.0, bake_s=30.0)


def judgement(verdict: Verdict, *, share_bp: int = 500, blind_for_s: float = 0.0) -> Judgement:
    rate = Rate.of(NOTHING, 1.0)
    evidence = Evidence("api", Sight.JUDGED, 200.0, 300.0, 1.0, 0.005, rate, rate, 1.0, True)
    return Judgement(
        t_s=100.0,
        share_bp=share_bp,
        next_share_bp=PLAN.next_share_bp(share_bp),
        verdict=verdict,
        value=200.0,
        threshold=125.0,
        watching=share_bp == 10_000,
        blind_for_s=blind_for_s,
        promotion_eta_s=None,
        rolled_back_at_s=None,
        slos=(evidence,),
    )


def action(*said: object, **more: object) -> Action | None:
    found = decide(*said, **more)  # type: ignore[arg-type]
    return None if found is None else found.action


@pytest.mark.parametrize("share_bp", [0, 500, 10_000])
def test_a_rollback_is_decided_at_any_share_and_names_the_slo(share_bp: int) -> None:
    found = decide(judgement(Verdict.ROLLBACK, share_bp=share_bp), PLAN, step_s=0.0)
    assert found is not None
    assert found.action is Action.ROLLBACK
    assert "api: candidate" in found.why


def test_a_promotion_needs_no_time() -> None:
    assert action(judgement(Verdict.PROMOTE), PLAN, step_s=0.0) is Action.PROMOTE


@pytest.mark.parametrize("verdict", [Verdict.CONTINUE, Verdict.HOLD, Verdict.BLIND])
def test_what_is_no_promotion_goes_on_until_patience_ends(verdict: Verdict) -> None:
    assert action(judgement(verdict), PLAN, step_s=60.0) is None
    assert action(judgement(verdict), PLAN, step_s=60.5) is Action.UNDECIDED


def test_blindness_that_began_in_an_earlier_step_ends_with_the_readers_problem() -> None:
    found = decide(judgement(Verdict.BLIND, blind_for_s=61.0), PLAN, step_s=5.0, problems=["no answer"])
    assert found is not None
    assert found.action is Action.UNDECIDED
    assert "no answer" in found.why


def test_the_watch_passes_after_the_bake_time_and_not_before() -> None:
    watched = judgement(Verdict.CONTINUE, share_bp=10_000)
    assert action(watched, PLAN, step_s=29.0) is None
    assert action(watched, PLAN, step_s=30.0) is Action.PASS


@pytest.mark.parametrize("verdict", [Verdict.HOLD, Verdict.BLIND])
def test_a_watch_that_ends_blind_or_on_hold_waits_and_then_is_undecided(verdict: Verdict) -> None:
    watched = judgement(verdict, share_bp=10_000)
    assert action(watched, PLAN, step_s=30.0) is None
    assert action(watched, PLAN, step_s=90.0) is None
    assert action(watched, PLAN, step_s=90.5) is Action.UNDECIDED
