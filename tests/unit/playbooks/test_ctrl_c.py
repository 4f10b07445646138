"""Ctrl-C in the very moment of a fork is not lost: Python drops what is raised in a hook of a fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[3] / "playbooks" / "callback_plugins"
PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import turnout
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupt)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
if sys.argv[2] == "guarded":
    turnout._CtrlCAroundForks().register()
try:
    if os.fork() == 0:
        os._exit(0)
    time.sleep(1)
    print("lost")
except KeyboardInterrupt:
    print("kept")
"""


def ends(guard: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(PLUGINS), guard],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip(), done.stderr


def test_an_interrupt_in_the_moment_of_a_fork_is_kept_and_prints_nothing() -> None:
    assert ends("guarded") == ("kept", "")


def test_without_the_guard_python_drops_it() -> None:
    said, errors = ends("plain")
    assert said == "lost"
    assert "Exception ignored" in errors
