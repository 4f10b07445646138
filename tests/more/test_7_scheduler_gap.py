"""A scheduler that does not catch up changes color in a gap of its schedule; a rollback names what fell into one."""

from __future__ import annotations

import re

from harness import APPS, Turnout

WORDS = ("Stopped", "Started")
EACH_MINUTE = {"due": ["* * * * *"], "gap_s": 20}


def _changed_at(turnout: Turnout) -> tuple[float, float]:
    """Return when the old scheduler ended and the new one began, in seconds since the epoch by app1's clock."""
    shown = turnout.ssh(APPS[0], "journalctl -u 'sample-scheduler@*' -o short-unix --no-pager")
    found = {
        word: [float(at) for at in re.findall(rf"^([\d.]+) .*systemd\[1\]: {word} ", shown, re.M)] for word in WORDS
    }
    return found["Stopped"][-1], found["Started"][-1]


def test_a_release_hands_its_scheduler_over_where_nothing_is_due(on_1_0_0: Turnout) -> None:
    run = on_1_0_0.deploy("1.1.0", *on_1_0_0.with_service(scheduler=EACH_MINUTE))
    assert run.rc == 0, run.tail
    assert "no gap of" not in run.out, run.tail
    ended, began = _changed_at(on_1_0_0)
    assert 0 < ended <= began, (ended, began)
    assert ended // 60 == began // 60, (ended, began)


def test_without_a_gap_it_goes_on_and_says_what_is_due(on_1_0_0: Turnout) -> None:
    never = {"due": ["* * * * *"], "gap_s": 90, "wait_s": 4}
    run = on_1_0_0.deploy("1.1.0", *on_1_0_0.with_service(scheduler=never))
    assert run.rc == 0, run.tail
    assert re.search(r"no gap of 90 s within 4 s.*due meanwhile: \* \* \* \* \* at \d\d:\d\d:00", run.out), run.tail
    assert on_1_0_0.in_service() == "1.1.0"


def test_a_rollback_does_not_wait(on_1_0_0: Turnout) -> None:
    assert on_1_0_0.deploy("1.1.0").rc == 0
    never = {"due": ["* * * * *"], "gap_s": 90, "wait_s": 120}
    run = on_1_0_0.rollback(*on_1_0_0.with_service(scheduler=never))
    assert run.rc == 0, run.tail
    assert "waited" not in run.out, run.tail
    ended, began = _changed_at(on_1_0_0)
    assert ("due while no scheduler ran" in run.out) is (ended // 60 != began // 60), (ended, began, run.tail)
    assert on_1_0_0.in_service() == "1.0.0"
