"""What a rollback may do to the processes: nothing is stopped that an edge may still use."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from turnout.errors import TurnoutError
from turnout.way_back import plan


def back(
    stable: str | None = "blue",
    *,
    candidate: str | None = None,
    previous: str | None = None,
    displaced: bool = False,
    fence: int = 3,
) -> dict[str, Any]:
    """Return what an edge says after it went back."""
    return {
        "ok": True,
        "before": {"candidate": candidate},
        "after": {"stable": stable, "previous": previous, "candidate": candidate},
        "candidate_release": {"release_id": "1.1.0-aaaaaaaaaaaa"} if candidate else None,
        "displaced": {"color": candidate} if displaced else None,
        "releases": {"blue": {"release_id": "1.0.0-bbbbbbbbbbbb"}, "green": None},
        "fence": fence,
    }


def test_every_edge_answered_so_the_color_that_was_left_is_stopped() -> None:
    found = plan({"edge1": back(), "edge2": back(fence=5)})
    assert (found.to, found.leave, found.may_stop, found.kept) == ("blue", "green", ("worker", "api"), "")
    assert found.fence == 5


def test_an_edge_that_does_not_answer_keeps_the_color_up_and_the_output_says_until_when() -> None:
    found = plan({"edge1": back(), "edge2": None})
    assert (found.to, found.leave, found.may_stop) == ("blue", "green", ())
    assert "edge2" in found.kept
    assert "answers: ansible-playbook turnout.ops.rollback" in found.kept
    assert "green stays up" in found.kept


def test_an_edge_that_refused_counts_as_serving() -> None:
    """A refusal carries no `after`: nobody knows where that edge sends its users."""
    found = plan({"edge1": back(), "edge2": {"failed": True, "error": {"code": "target-down"}}})
    assert found.may_stop == ()
    assert found.silent == ("edge2",)


def test_a_put_back_of_a_run_that_was_overtaken_touches_no_process() -> None:
    locked = {"failed": True, "error": {"code": "lock", "observed": "the lock is held by run s (deploy, bea@laptop)"}}
    with pytest.raises(TurnoutError) as refused:
        plan({"edge1": back(candidate="green"), "edge2": locked})
    assert refused.value.code == "rollback-overtaken"
    assert "edge2: the lock is held by run s" in refused.value.observed


def test_an_edge_whose_haproxy_did_not_take_it_counts_as_serving() -> None:
    """It tells what it wants, `after`; its users are where they were."""
    found = plan({"edge1": back(), "edge2": {**back(), "ok": False, "failed": True}})
    assert found.may_stop == ()
    assert found.silent == ("edge2",)


def test_the_window_in_which_one_edge_has_confirmed_is_no_exception() -> None:
    """edge1 had confirmed green and is back; edge2 was ready, and does not answer."""
    found = plan({"edge1": back("blue"), "edge2": None})
    assert found.may_stop == ()


def test_a_warm_way_back_keeps_its_api() -> None:
    found = plan({"edge1": back(previous="green"), "edge2": back(previous="green")})
    assert found.may_stop == ("worker",)
    assert found.warm


def test_an_undone_candidate_is_named_with_what_it_displaced() -> None:
    found = plan({"edge1": back(candidate="green", displaced=True), "edge2": back(candidate="green", displaced=True)})
    assert (found.candidate, found.candidate_id, found.displaced) == ("green", "1.1.0-aaaaaaaaaaaa", True)


def test_before_the_first_release_the_candidate_is_what_is_left() -> None:
    found = plan({"edge1": back(None, candidate="blue")})
    assert (found.to, found.leave) == ("", "blue")


def test_edges_that_disagree_are_refused_by_name() -> None:
    with pytest.raises(TurnoutError, match="edge2: green") as refused:
        plan({"edge1": back("blue"), "edge2": back("green")})
    assert "break_glass" in str(refused.value)


def test_no_answer_at_all_is_refused_with_what_to_type_on_an_edge() -> None:
    with pytest.raises(TurnoutError, match="no edge answered") as refused:
        plan({"edge1": None})
    assert "turnout-edge rollback" in str(refused.value)


def test_nothing_is_stopped_unless_every_edge_said_that_it_serves_another_color() -> None:
    """Every mix of three edges that answer, refuse or keep silent."""
    kinds: tuple[dict[str, Any] | None, ...] = (None, {"failed": True}, back("blue"), back("blue", previous="green"))
    for mix in itertools.product(kinds, repeat=3):
        edges = dict(zip(("edge1", "edge2", "edge3"), mix, strict=True))
        if not any(answer and "after" in answer for answer in mix):
            continue
        found = plan(edges)
        everyone = all(answer and "after" in answer for answer in mix)
        assert bool(found.may_stop) == everyone
        assert bool(found.kept) == (not everyone)
