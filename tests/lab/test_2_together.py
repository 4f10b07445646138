"""Several people, and things that are gone: two at once, a store that was removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness import Turnout


def test_two_deploys_at_once(on_1_0_0: Turnout) -> None:
    first, second = on_1_0_0.start("deploy", "-e", "release=1.1.0"), on_1_0_0.start("deploy", "-e", "release=1.1.0")
    outs = [first.communicate(timeout=280)[0], second.communicate(timeout=280)[0]]
    codes = [first.returncode, second.returncode]
    assert sorted(code == 0 for code in codes) == [False, True], outs
    loser = outs[0] if codes[0] else outs[1]
    assert "the lock is held" in loser or "lock" in loser[loser.rfind("First cause") :]
    assert on_1_0_0.in_service() == "1.1.0"


def test_the_store_can_be_removed(turnout: Turnout) -> None:
    """What was laid needs no store: the same release again is nothing to do, and a rollback asks nobody."""
    turnout.ensure("1.1.0")
    moved = Path(turnout.source).with_suffix(".away")
    shutil.move(turnout.source, moved)
    try:
        run = turnout.rollback()
        assert run.rc == 0, run.tail
    finally:
        shutil.move(moved, turnout.source)
