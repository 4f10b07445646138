"""Ctrl-C in the very moment of a fork is not lost: Python drops what is raised in a hook of a fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


HANDING_OVER = """
import multiprocessing, os, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
import turnout
queue = multiprocessing.get_context("fork").SimpleQueue()
turnout._CtrlCAroundForks().register()
worker = os.fork()
if worker == 0:
    if sys.argv[2] == "rude":
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    while True:
        queue.put(b"x" * 300_000)  # more than a pipe holds: it waits for the reader, with the lock
        time.sleep(0.05)
time.sleep(0.5)
os.kill(worker, signal.SIGINT)
time.sleep(0.2)
def read():
    while True:
        queue.get()
threading.Thread(target=read, daemon=True).start()
_, status = os.waitpid(worker, 0)
print(os.waitstatus_to_exitcode(status), "free" if queue._wlock.acquire(timeout=2) else "held", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("worker", "said"), [("guarded", "130 free"), ("rude", "130 held")])
def test_a_worker_that_hands_a_result_over_ends_after_it(worker: str, said: str) -> None:
    """One that ended at once took the lock with it, and the main process waited for ever to end."""
    command = [sys.executable, "-W", "ignore", "-c", HANDING_OVER, str(PLUGINS), worker]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == said, done.stderr
