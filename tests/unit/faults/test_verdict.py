"""What is demanded of a case: whatever is broken in what was seen must be found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from faults.verdict import (
    CHECKS_S,
    GRACE_S,
    Look,
    Outage,
    Seen,
    judge_apart,
    judge_jobs,
    judge_mended,
    judge_requests,
    judge_settled,
    one_color,
)
from load.report import Record

NAMES = {"10.0.0.11": "edge1", "10.0.0.12": "edge2"}


def seen() -> Seen:
    return Seen("deploy / ctrl-c / x", "deploy", "ctrl-c")


def record(due: float, *, end: float | None = None, edge: str = "10.0.0.11", error: str = "", release: str = "1.0.0"):
    ended, status = due + 0.01 if end is None else end, 0 if error else 200
    return Record(due, due, ended, 0.0, "tasks", edge, status, "blue", release, error, False)


def steady(**changes: Any) -> list[Record]:
    """Return fifteen seconds of 40 requests/s."""
    return [record(number / 40, edge=f"10.0.0.1{1 + number % 2}", **changes) for number in range(600)]


def look(edge: str = "edge1", **changes: Any) -> Look:
    return replace(Look(edge, "blue", "1.0.0", "", {"blue": 10_000, "green": 0}, True, False), **changes)


UNITS = {
    "app1": {"api@blue", "worker-jobs@blue", "scheduler@blue", "api@green"},
    "app2": {"api@blue", "worker-jobs@blue", "api@green"},
}
LOOKS = {"edge1": look(), "edge2": look("edge2")}


# Requests --------------------------------------------------------------------------------------------------------


def test_a_load_without_failures_passes() -> None:
    found = seen()
    judge_requests(found, steady(), NAMES, [], 40)
    assert found.passed, found.problems
    assert found.figures["failed"] == 0
    assert found.figures["requests"] == 600


def test_one_failed_request_is_a_problem() -> None:
    found = seen()
    judge_requests(found, [*steady(), record(5.001, error="status-503")], NAMES, [], 40)
    assert "1 of 601 requests failed: 1 x edge1 status-503" in found.problems[0]


def test_no_load_and_too_little_load_prove_nothing() -> None:
    none, little = seen(), seen()
    judge_requests(none, [], NAMES, [], 40)
    judge_requests(little, steady()[::2], NAMES, [], 40)
    assert not none.passed
    assert not little.passed


@pytest.mark.parametrize(
    ("due", "end", "edge", "held"),
    [
        (3.0, 5.0, "10.0.0.12", True),  # in flight when it froze
        (6.0, 16.0, "10.0.0.12", True),  # sent while it stood still
        (10.0 + GRACE_S - 0.1, 12.5, "10.0.0.12", True),
        (10.0 + GRACE_S + 0.1, 12.5, "10.0.0.12", False),  # it was back
        (3.0, 3.9, "10.0.0.12", False),  # before the fault
        (6.0, 16.0, "10.0.0.11", False),  # the other edge
    ],
)
def test_a_frozen_edge_held_what_went_to_it_and_nothing_else(due: float, end: float, edge: str, held: bool) -> None:
    found = seen()
    failed = record(due, end=end, edge=edge, error="timeout")
    judge_requests(found, [*steady(), failed], NAMES, [Outage("edge2", 4.0, 10.0, edge=True)], 40)
    assert found.passed is held
    assert (found.figures["held"], found.figures["failed"]) == ((1, 0) if held else (0, 1))


def test_a_frozen_application_host_is_excused_only_until_the_checks_have_taken_it_out() -> None:
    outage = Outage("app1", 100.0, 130.0, edge=False)
    assert outage.held(record(99, end=109, error="timeout"), "edge1")
    assert outage.held(record(100 + CHECKS_S - 0.1, end=125, error="timeout"), "edge2")
    assert not outage.held(record(100 + CHECKS_S + 0.1, end=125, error="timeout"), "edge1")
    assert not outage.held(record(98, end=99, error="status-502"), "edge1")


def test_users_that_meet_two_releases_after_all_was_settled_are_a_problem() -> None:
    mixed = [*steady(), record(8.0, edge="10.0.0.12", release="1.1.0")]
    apart, early, exempt = seen(), seen(), seen()
    judge_apart(apart, mixed, NAMES, between=(7.5, 9.0), exempt=())
    judge_apart(early, mixed, NAMES, between=(8.5, 9.0), exempt=())
    judge_apart(exempt, mixed, NAMES, between=(7.5, 9.0), exempt=("edge2",))
    assert "several releases" in apart.problems[0]
    assert early.passed
    assert exempt.passed


# Edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        None,
        look("edge2", stable="green", serving_bp={"blue": 0, "green": 10_000}),
        look("edge2", release="1.1.0"),
        look("edge2", serving_bp={"blue": 9_500, "green": 500}),
        look("edge2", serving_bp={"blue": 0, "green": 10_000}),  # all users on a candidate that nobody confirmed
        look("edge2", agree=False),
        look("edge2", stable="", serving_bp={}),
        look("edge2", armed=True, stage="confirmed"),
    ],
)
def test_edges_are_not_on_one_color_while_one_of_them_is_elsewhere_or_under_way(other: Look | None) -> None:
    assert one_color(LOOKS)
    assert not one_color({"edge1": look(), "edge2": other})
    assert one_color({"edge1": look(), "edge2": other}, exempt=("edge2",))


def test_no_edge_at_all_is_not_one_color() -> None:
    assert not one_color({})
    assert not one_color(LOOKS, exempt=("edge1", "edge2"))


def test_settling_late_or_never_is_a_problem() -> None:
    good, late, never = seen(), seen(), seen()
    judge_settled(good, 24.0, 25.0, LOOKS, "after the fault")
    judge_settled(late, 25.5, 25.0, LOOKS, "after the fault")
    judge_settled(never, None, 25.0, {"edge1": None}, "after the fault")
    assert good.passed
    assert good.figures["settled_s"] == 24.0
    assert not late.passed
    assert "edge1: no answer" in never.problems[0]


def test_what_an_edge_shows_is_read_as_it_is() -> None:
    shown = {
        "stable": "blue",
        "candidate": "green",
        "releases": {"blue": {"release": "1.0.0"}, "green": {"release": "1.1.0"}},
        "serving": {"blue": 9_500, "green": 500},
        "agree": True,
        "lease": {"armed": True},
        "lock": {"held": True, "run": "r1"},
        "handover": {"run": "r1", "stage": "ready"},
        "unfinished": [{"run": "r1", "action": "deploy"}],
        "watch": False,
    }
    found = Look.of("edge1", shown)
    assert (found.release, found.lock, found.unfinished, found.stage) == ("1.0.0", "r1", ("r1",), "ready")
    assert found.armed
    assert not found.at_rest
    assert not found.watch


# What is left after one rollback.yml -----------------------------------------------------------------------------


def mended(looks: dict[str, Look | None] | None = None, units: dict[str, set[str]] | None = None) -> list[str]:
    found = seen()
    judge_mended(found, LOOKS if looks is None else looks, units or UNITS, ("app1", "app2"), ("1.0.0",))
    return found.problems


def test_a_lab_at_rest_is_mended() -> None:
    assert mended() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"candidate": "green"}, "candidate green"),
        ({"armed": True}, "lease armed"),
        ({"lock": "r1"}, "locked by r1"),
        ({"unfinished": ("r1",)}, "unfinished: r1"),
        ({"watch": False}, "no watchdog"),
        ({"agree": False}, "differ"),
        ({"stable": "green", "serving_bp": {"green": 10_000}}, "the edges serve"),
        ({"serving_bp": {"blue": 500, "green": 9_500}}, "serves blue 500 green 9500"),
    ],
)
def test_whatever_remains_on_an_edge_is_told(changes: dict[str, Any], told: str) -> None:
    assert any(told in problem for problem in mended({"edge1": look(**changes), "edge2": look("edge2")}))


def test_an_edge_that_does_not_answer_is_told() -> None:
    assert any("edge2 does not answer" in problem for problem in mended({"edge1": look(), "edge2": None}))


def test_another_release_than_the_old_one_is_told() -> None:
    looks: dict[str, Look | None] = {edge: look(edge, release="1.2.0") for edge in LOOKS}
    assert any("1.2.0 is in service" in problem for problem in mended(looks))


@pytest.mark.parametrize(
    ("host", "units", "told"),
    [
        ("app1", UNITS["app1"] - {"scheduler@blue"}, "no place"),
        ("app2", UNITS["app2"] | {"scheduler@blue"}, "not one in blue"),
        ("app1", UNITS["app1"] - {"scheduler@blue"} | {"scheduler@green"}, "not one in blue"),
        ("app2", UNITS["app2"] - {"worker-jobs@blue"}, "worker-jobs@blue does not run on app2"),
        ("app2", UNITS["app2"] - {"api@blue"}, "api@blue does not run on app2"),
        ("app2", UNITS["app2"] | {"worker-jobs@green"}, "worker-jobs@green still runs on app2"),
    ],
)
def test_whatever_runs_or_does_not_run_on_a_host_is_told(host: str, units: set[str], told: str) -> None:
    assert any(told in problem for problem in mended(units={**UNITS, host: units}))


# Jobs ------------------------------------------------------------------------------------------------------------

JOBS: dict[str, Any] = {
    "acknowledged": 80,
    "lost": [],
    "doubled": [],
    "rerun": [],
    "slots": {"missing": [], "doubled": []},
}


def test_jobs_that_ran_once_each_pass() -> None:
    found = seen()
    judge_jobs(found, JOBS, reruns_allowed=False)
    assert found.passed
    assert found.figures["jobs"] == 80


@pytest.mark.parametrize(
    "changes",
    [
        {"acknowledged": 0},
        {"lost": [7]},
        {"doubled": [7]},
        {"rerun": [7]},
        {"slots": {"missing": [], "doubled": [1]}},
    ],
)
def test_a_job_lost_or_done_twice_and_two_schedulers_are_problems(changes: dict[str, Any]) -> None:
    found = seen()
    judge_jobs(found, {**JOBS, **changes}, reruns_allowed=False)
    assert not found.passed


def test_what_a_frozen_worker_does_again_when_it_wakes_up_is_told_and_no_problem() -> None:
    found = seen()
    judge_jobs(found, {**JOBS, "doubled": [7, 8]}, reruns_allowed=True, froze=True)
    assert found.passed
    assert found.figures["jobs_doubled"] == 2
    judge_jobs(found, {**JOBS, "lost": [7]}, reruns_allowed=True, froze=True)
    assert not found.passed


def test_slots_that_were_not_looked_at_prove_nothing() -> None:
    found = seen()
    judge_jobs(found, {key: value for key, value in JOBS.items() if key != "slots"}, reruns_allowed=False)
    assert not found.passed


def test_a_job_may_be_begun_twice_only_where_its_host_fell() -> None:
    found = seen()
    judge_jobs(found, {**JOBS, "rerun": [7]}, reruns_allowed=True)
    assert found.passed
