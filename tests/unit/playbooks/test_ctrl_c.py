"""Ctrl-C at a moment when Python would drop it is not lost: in a hook of a fork, and while an object ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, time
from ansible_collections.turnout.ops.plugins.callback import turnout
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupt)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
if sys.argv[1] == "guarded":
    turnout._CtrlC().register()
try:
    if os.fork() == 0:
        os._exit(0)
    time.sleep(1)
    print("lost")
except KeyboardInterrupt:
    print("kept")
"""


# A Ctrl-C while an object ends, and one while Ansible replaces a worker.
ELSEWHERE = """
import os, signal, sys, time
from ansible_collections.turnout.ops.plugins.callback import turnout
def interrupt(*_):
    raise KeyboardInterrupt
def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)
class Ending:
    def __del__(self):
        press()
class Context:
    def __enter__(self):
        pass
    def __exit__(self, *_):
        _queue_it()
def _queue_it():
    global whole
    whole = False
    press()
    whole = True
def _queue_task():
    global whole
    whole = False
    press()
    whole = True
signal.signal(signal.SIGINT, interrupt)
if sys.argv[1] == "guarded":
    turnout._CtrlC().register()
whole = True
try:
    if sys.argv[2] == "worker":
        _queue_task()
    elif sys.argv[2] == "context":
        with Context():
            pass
    else:
        Ending()
    time.sleep(1)
    print("lost")
except KeyboardInterrupt:
    print("kept" if whole else "in pieces")
"""
# One that is put off is dropped where the run ends anyway; one after that is followed.
AT_THE_END = """
import os, signal, sys, time
from ansible_collections.turnout.ops.plugins.callback import turnout
guard = turnout._CtrlC()
guard.register()
class Ending:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)
try:
    Ending()
    if sys.argv[1] == "guarded":
        guard.ending()
    time.sleep(0.3)
    print("told", end=" ")
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt:
    print("cut")
"""


def ends(program: str, *words: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip(), done.stderr


def test_an_interrupt_in_the_moment_of_a_fork_is_kept_and_prints_nothing() -> None:
    assert ends(PROGRAM, "guarded") == ("kept", "")


def test_without_the_guard_python_drops_it() -> None:
    said, errors = ends(PROGRAM, "plain")
    assert said == "lost"
    assert "Exception ignored" in errors


@pytest.mark.parametrize(
    ("moment", "unguarded"), [("object", "lost"), ("worker", "in pieces"), ("context", "in pieces")]
)
def test_an_interrupt_at_another_bad_moment_is_kept_too(moment: str, unguarded: str) -> None:
    assert ends(ELSEWHERE, "guarded", moment) == ("kept", "")
    assert ends(ELSEWHERE, "plain", moment)[0] == unguarded


def test_an_interrupt_that_was_put_off_does_not_cut_the_end_short() -> None:
    assert ends(AT_THE_END, "guarded") == ("told cut", "")
    assert ends(AT_THE_END, "plain") == ("cut", "")


HANDING_OVER = """
import multiprocessing, os, signal, sys, threading, time
from ansible_collections.turnout.ops.plugins.callback import turnout
queue = multiprocessing.get_context("fork").SimpleQueue()
turnout._CtrlC().register()
worker = os.fork()
if worker == 0:
    if sys.argv[1] == "rude":
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
    command = [sys.executable, "-W", "ignore", "-c", HANDING_OVER, worker]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == said, done.stderr
