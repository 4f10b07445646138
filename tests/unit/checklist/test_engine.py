"""Checks run at once, are cut at their own limit, and take nothing else with them."""

from __future__ import annotations

import threading
import time

from turnout.checklist.engine import Task, run
from turnout.checklist.model import Result, Verdict
from turnout.errors import TurnoutError


def passing(name: str, after_s: float = 0.0) -> Task:
    def look() -> list[Result]:
        time.sleep(after_s)
        return [Result(name, Verdict.PASS, "seen")]

    return Task(name, 25.0, look)


def test_a_hundred_checks_take_as_long_as_the_slowest() -> None:
    started = time.monotonic()
    results = run([passing(f"check{number}", 0.3) for number in range(100)])
    assert time.monotonic() - started < 10  # one after the other they would take 30
    assert [result.check for result in results] == [f"check{number}" for number in range(100)]
    assert {result.verdict for result in results} == {Verdict.PASS}


def test_one_that_hangs_is_cut_at_its_own_limit_and_holds_up_nobody() -> None:
    release = threading.Event()

    def hang() -> list[Result]:
        release.wait(30)
        return [Result("hangs", Verdict.PASS, "too late")]

    started = time.monotonic()
    results = run([Task("hangs", 0.4, hang), passing("quick")])
    took_s = time.monotonic() - started
    release.set()
    assert 0.4 <= took_s < 15  # it would hang for 30
    by_name = {result.check: result for result in results}
    assert by_name["hangs"].verdict is Verdict.UNKNOWN
    assert "0.4 s" in by_name["hangs"].evidence
    assert by_name["quick"].verdict is Verdict.PASS


def test_an_error_for_a_person_is_not_known_with_its_remedy() -> None:
    def fail() -> list[Result]:
        raise TurnoutError("x", observed="seen this", expected="that", remedy="do so")

    (result,) = run([Task("ci", 5, fail)])
    assert (result.verdict, result.evidence, result.remedy) == (Verdict.UNKNOWN, "seen this", "do so")


def test_a_defect_is_not_known_and_its_text_is_not_shown() -> None:
    def fail() -> list[Result]:
        raise RuntimeError("password=hunter2")

    results = run([Task("ci", 5, fail), passing("quick")])
    assert results[0].verdict is Verdict.UNKNOWN
    assert "hunter2" not in str(results[0])
    assert results[1].verdict is Verdict.PASS


def test_a_check_that_comes_to_nothing_is_not_a_pass() -> None:
    (result,) = run([Task("ci", 5, list)])
    assert result.verdict is Verdict.UNKNOWN
