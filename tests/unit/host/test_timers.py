"""Timers on a host: made of a release's drop-in where they run, and what they make up for."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from turnout_host import timers

TIMER = "shop-timer-nightly@blue.timer"
DROP_IN = """[Service]
X-Turnout-Timer={"on_calendar": ["Mon..Fri 09:00 Europe/Berlin", "daily"], "persistent": true, "random_delay_s": 5}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "etc/systemd/system/shop-timer-nightly@blue.service.d"
    folder.mkdir(parents=True)
    (folder / "turnout.conf").write_text(DROP_IN)
    return tmp_path


def test_a_timer_is_laid_as_its_release_declares_it_and_makes_up_for_what_was_due_since(root: Path) -> None:
    timers.lay(TIMER, 1_700_000_000.0, str(root))
    text = (root / "etc/systemd/system" / TIMER).read_text()
    for line in (
        "OnCalendar=Mon..Fri 09:00 Europe/Berlin", "OnCalendar=daily", "Persistent=true", "RandomizedDelaySec=5",
        "WantedBy=multi-user.target",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert (root / f"var/lib/systemd/timers/stamp-{TIMER}").stat().st_mtime == 1_700_000_000.0
    assert timers.remove(TIMER, str(root)) is True
    assert timers.remove(TIMER, str(root)) is False


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd reads it")
def test_systemd_reads_it(root: Path) -> None:
    timers.lay(TIMER, time.time(), str(root))
    (root / "etc/systemd/system/shop-timer-nightly@.service").write_text(
        "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    )
    path = f"{root}/etc/systemd/system/{TIMER}"
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_since_the_end_that_a_run_noted_and_never_in_the_future(root: Path) -> None:
    before = time.time()
    assert timers.since("shop", str(root)) >= before  # nothing is known: nothing is made up for
    timers.note_end("shop", str(root))
    path = root / "var/lib/turnout-homes/shop.timers-ended"
    os.utime(path, (before - 9, before - 9))
    assert timers.since("shop", str(root)) == pytest.approx(before - 9)
    os.utime(path, (before + 999, before + 999))  # the clock was set back
    assert timers.since("shop", str(root)) <= time.time()


@pytest.mark.parametrize("text", ["", "[Service]\n", "X-Turnout-Timer={", "X-Turnout-Timer={}"])
def test_a_drop_in_that_declares_no_timer_is_told(root: Path, text: str) -> None:
    (root / "etc/systemd/system/shop-timer-nightly@blue.service.d/turnout.conf").write_text(text)
    with pytest.raises((ValueError, KeyError)):
        timers.lay(TIMER, 0.0, str(root))


@pytest.mark.parametrize(
    ("unit", "is_one"),
    [(TIMER, True), ("shop-timer-nightly@green.service", True), ("shop-scheduler@blue.service", False),
     ("shop-timer@blue.service", False)],
)  # fmt: skip
def test_which_units_are_timers(unit: str, is_one: bool) -> None:
    assert timers.is_timers(unit) is is_one
