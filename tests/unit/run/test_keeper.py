"""The keeper as a process: real forks, pipes and signals, a real playbook's process, edges that are functions.

What it decides is tried by a model in test_keeping.py; here is what it does, and that nothing it meets stops it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from turnout import keeper as keeper_module
from turnout.keeper import (
    Keeper,
    KeeperPlan,
    beat_command,
    kill_tree,
    playbook_state,
    process_started,
    process_stat,
    quiet,
    read_answer,
)
from turnout.keeping import Answer, Playbook

HELD = {"ok": True, "action": "lock-beat", "lease_renewed": True}
LOST = {"ok": False, "error": {"code": "lock", "exit": 4, "observed": "the lock is not held by run r: held by run s"}}
# A playbook that ends by SIGINT and leaves word, as the callback plugin does.
PLAYBOOK = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys.argv[1], "ended").write_text("failed")
    sys.exit(1)
signal.signal(signal.SIGINT, end if sys.argv[2] == "hears" else signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(0.01)
"""


def row(edge: str, rc: int = 0, said: object = None, **more: object) -> bytes:
    return json.dumps({"host": edge, "rc": rc, "stdout": json.dumps(said or HELD) + "\r\n", **more}).encode()


class Bed:
    """A keeper with two edges and short times, in a thread of its own."""

    def __init__(self, folder: Path, *, hears: bool = True, lease_s: float = 5.0) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.playbook = subprocess.Popen(
            [sys.executable, "-c", PLAYBOOK, str(folder), "hears" if hears else "deaf"], stdout=subprocess.PIPE
        )
        assert self.playbook.stdout
        self.playbook.stdout.readline()
        self.sent: list[tuple[float, str]] = []
        self.forked: dict[int, str] = {}  # its beats alone: servers of other tests in this process have children too
        self.put_back: list[str] = []
        self.answer: Callable[[str, int], int] = lambda edge, pipe: os.write(pipe, row(edge))
        plan = KeeperPlan(
            run="r",
            folder=folder,
            parent_pid=self.playbook.pid,
            parent_started=process_started(self.playbook.pid),
            beat_s=0.2,
            lease_s=lease_s,
            ttl_s=2 * lease_s,
            ansible_options=[],
            playbook="rollback.yml",
            cwd=".",
            edges=["edge1", "edge2"],
            boottime=keeper_module.boottime(),
        )
        bed = self

        class Tried(Keeper):
            def _beat_in_child(self, edge: str, writing: int) -> int:
                return bed.answer(edge, writing)

            def start_beat(self, edge: str) -> None:
                bed.sent.append((time.monotonic(), edge))
                super().start_beat(edge)
                bed.forked |= {beat.pid: name for name, beat in self.beats.items()}

            def put_back(self, why: str) -> int:
                bed.put_back.append(why)
                return 0

        self.keeper = Tried(plan)
        self.thread = threading.Thread(target=self.keeper.run, daemon=True)

    def begin(self) -> None:
        (self.folder / "taken").write_text(f"{keeper_module.boottime()}\n")
        self.thread.start()
        until(lambda: len(self.sent) >= 6)
        assert not self.put_back

    def ends(self, limit_s: float = 20.0) -> None:
        self.thread.join(timeout=limit_s)
        assert not self.thread.is_alive(), "the keeper goes on"


def until(true: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def bed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bed]:
    bed = Bed(tmp_path, lease_s=getattr(request, "param", 5.0))
    yield bed
    bed.playbook.kill()
    bed.playbook.wait()
    bed.thread.join(timeout=10) if bed.thread.is_alive() else None


# Where a lease must not run out, it is longer than a busy machine ever keeps the keeper waiting.
UNHURRIED = pytest.mark.parametrize("bed", [30.0], indirect=True, ids=["lease-of-30-s"])


# The four that were found ------------------------------------------------------------------------------------------


# edge1 must not be the one that is missed where a busy machine keeps its beats waiting.
@pytest.mark.parametrize("bed", [12.0], indirect=True, ids=["lease-of-12-s"])
def test_a_beat_that_never_returns_is_ended_and_the_run_put_back(bed: Bed) -> None:
    bed.begin()
    bed.answer = lambda edge, pipe: time.sleep(1000) or 0 if edge == "edge2" else os.write(pipe, row(edge))
    frozen = time.monotonic()
    until(lambda: bed.put_back)
    assert time.monotonic() - frozen < bed.lease_s + 4
    assert "edge2 was not heard" in bed.put_back[0]
    since = [edge for at, edge in bed.sent if at > frozen]
    assert since.count("edge1") > since.count("edge2"), "edge1 waited for edge2"
    bed.ends()
    left = {pid: edge for pid, edge in bed.forked.items() if process_stat(pid)[1] == os.getpid()}
    assert not left, "a beat's process is there, or was never waited for"


def test_half_a_line_of_an_answer_counts_as_not_heard(bed: Bed) -> None:
    bed.begin()
    bed.answer = lambda edge, pipe: os.write(pipe, row(edge)[: 30 if edge == "edge1" else None])
    bed.ends()
    assert "edge1 was not heard" in bed.put_back[0]


def test_ctrl_z_for_longer_than_a_lease_ends_the_run_and_says_why(bed: Bed) -> None:
    bed.begin()
    os.kill(bed.playbook.pid, signal.SIGSTOP)
    bed.ends()
    assert "Ctrl-Z" in bed.put_back[0]
    assert "Ctrl-Z" in json.loads((bed.folder / "stop.json").read_text())["why"]
    assert bed.playbook.wait(timeout=5) == 1, "it was let go on, and told its own end"


@UNHURRIED
def test_ctrl_z_and_fg_within_a_lease_go_on(bed: Bed) -> None:
    bed.begin()
    os.kill(bed.playbook.pid, signal.SIGSTOP)
    time.sleep(0.8)
    os.kill(bed.playbook.pid, signal.SIGCONT)
    time.sleep(2)
    assert not bed.put_back
    assert bed.playbook.poll() is None


@UNHURRIED
def test_a_lost_lock_ends_the_playbook_at_once(bed: Bed) -> None:
    bed.begin()
    bed.answer = lambda edge, pipe: os.write(pipe, row(edge, 4, LOST) if edge == "edge2" else row(edge))
    lost = time.monotonic()
    until(lambda: bed.put_back)
    assert time.monotonic() - lost < bed.lease_s * 2.5 / 3, "it waited for a lease"
    assert "edge2 says that this run lost its lock" in bed.put_back[0]
    assert "held by run s" in bed.put_back[0]


# What else it meets ------------------------------------------------------------------------------------------------


def test_a_playbook_that_does_not_hear_is_killed_with_its_workers(tmp_path: Path, monkeypatch: object) -> None:
    bed = Bed(tmp_path, hears=False)
    object.__setattr__(bed.keeper.keeping.limits, "kill_s", 0.5)
    bed.begin()
    bed.answer = lambda edge, pipe: os.write(pipe, row(edge, 4, LOST))
    bed.ends()
    assert bed.playbook.wait(timeout=5) == -signal.SIGKILL
    assert bed.put_back


def test_nothing_but_the_playbooks_own_processes_is_killed() -> None:
    """Workers of Ansible have sessions of their own; the process group may be a whole script's."""
    tree = (
        "import subprocess, time; worker = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print(worker.pid, flush=True); time.sleep(60)"
    )
    beside = subprocess.Popen(["sleep", "60"])
    playbook = subprocess.Popen([sys.executable, "-c", tree], stdout=subprocess.PIPE, text=True)
    assert playbook.stdout
    worker = int(playbook.stdout.readline())
    assert os.getpgid(playbook.pid) == os.getpgid(0)
    kill_tree(playbook.pid, process_started(playbook.pid))
    playbook.wait(timeout=5)
    until(lambda: process_started(worker) == 0)
    assert beside.poll() is None
    beside.kill()
    beside.wait()


def test_a_number_that_was_used_again_is_not_killed() -> None:
    other = subprocess.Popen(["sleep", "60"])
    kill_tree(other.pid, process_started(other.pid) - 1)
    assert other.poll() is None
    assert playbook_state(other.pid, process_started(other.pid) - 1) is Playbook.GONE
    other.kill()
    other.wait()


def test_a_disk_that_is_full_keeps_no_run_from_going_back(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    bed.begin()
    monkeypatch.setattr(keeper_module, "write", full)
    monkeypatch.setattr(Path, "open", full)
    bed.playbook.kill()
    bed.playbook.wait()
    until(lambda: bed.put_back)


def test_a_system_without_processes_left_counts_as_not_heard(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.begin()

    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    until(lambda: bed.put_back)
    assert "was not heard" in bed.put_back[0]


@UNHURRIED
def test_a_fault_of_the_keeper_itself_ends_the_run_and_puts_it_back(bed: Bed) -> None:
    bed.begin()

    def broken(_seen: object) -> list[object]:
        raise RuntimeError("a fault of its own")

    bed.keeper.keeping.step = broken  # type: ignore[assignment, method-assign]
    bed.ends()
    assert bed.put_back == ["the keeper failed (RuntimeError: a fault of its own)"]
    assert bed.playbook.wait(timeout=5) == 1
    assert (bed.folder / "keeper.done").exists()


@UNHURRIED
def test_a_run_that_came_to_its_end_and_says_no_more_is_not_put_back(bed: Bed) -> None:
    """With Ansible's own callback plugin nobody tells how the playbook ended."""
    bed.begin()
    (bed.folder / "releasing").touch()
    bed.answer = lambda edge, pipe: os.write(pipe, row(edge, 4, LOST))
    (bed.folder / "released").touch()
    bed.playbook.kill()
    bed.playbook.wait()
    bed.ends()
    assert not bed.put_back
    assert json.loads((bed.folder / "keeper.done").read_text())["outcome"] == "nothing to do"


@pytest.mark.parametrize("word", ["failed", ""])
def test_a_run_that_failed_after_its_end_or_died_before_the_lock_was_back_is_put_back(bed: Bed, word: str) -> None:
    bed.begin()
    (bed.folder / "releasing").touch()
    if word:
        (bed.folder / "released").touch()
        (bed.folder / "ended").write_text(word)
    bed.playbook.kill()
    bed.playbook.wait()
    bed.ends()
    assert bed.put_back


def test_when_it_is_done_nothing_of_what_it_was_told_is_left(bed: Bed) -> None:
    options = keeper_module.hand_over(bed.folder, {"password": "canary"})
    assert options == ["-e", f"@{bed.folder}/extra-vars.json"]
    assert (bed.folder / "extra-vars.json").stat().st_mode & 0o777 == 0o600
    (bed.folder / "keeper.json").write_text(json.dumps({"run": "r", "ansible_options": ["--ssh-extra-args", "canary"]}))
    bed.begin()
    (bed.folder / "ended").write_text("ok")
    bed.ends()
    assert not [path for path in bed.folder.iterdir() if b"canary" in path.read_bytes()]
    assert json.loads((bed.folder / "keeper.done").read_text()) == {"outcome": "nothing to do", "code": 0}


@UNHURRIED
def test_after_each_beat_it_tells_what_is_known(bed: Bed) -> None:
    bed.begin()
    until((bed.folder / "held.json").exists)
    until(lambda: json.loads((bed.folder / "held.json").read_text())["edges"]["edge2"]["state"] == "held")
    held = json.loads((bed.folder / "held.json").read_text())
    assert held["edges"]["edge1"]["lease"] is True
    assert 0 <= held["boottime"] - held["edges"]["edge1"]["boottime"] < bed.lease_s


# Answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        (row("edge1"), "held"),
        (row("edge1", 4, LOST), "lost"),
        (b"", "unheard"),
        (b"\xff\xfe", "unheard"),
        (b"null", "unheard"),
        (b"[]", "unheard"),
        (b"{}", "unheard"),
        (row("edge1") * 2, "unheard"),
        (row("edge2"), "unheard"),
        (row("edge1", unreachable=True), "unheard"),
        (row("edge1", 255), "unheard"),
        (row("edge1", 4), "unheard"),
        (row("edge1", 0, LOST), "unheard"),
        (
            row("edge1", 3, {"ok": False, "error": {"code": "busy", "observed": "another turnout-edge works"}}),
            "unheard",
        ),
        (row("edge1", 4, {"ok": False, "error": "lock"}), "unheard"),
        (row("edge1", 0, [1]), "unheard"),
        (json.dumps({"host": "edge1", "rc": 0, "stdout": None}).encode(), "unheard"),
        (
            json.dumps({"host": "edge1", "rc": 0, "stdout": "Welcome\r\n" + json.dumps(HELD) + "\r\nbye"}).encode(),
            "held",
        ),
    ],
)
def test_an_answer_is_held_lost_or_not_heard(raw: bytes, state: str) -> None:
    assert read_answer("edge1", raw).state == state


def test_whatever_part_of_an_answer_comes_it_is_never_more_than_the_whole() -> None:
    for whole in (row("edge1"), row("edge1", 4, LOST)):
        for length in range(len(whole)):
            assert read_answer("edge1", whole[:length]).state == "unheard"


def test_the_lease_is_told() -> None:
    assert read_answer("edge1", row("edge1")) == Answer("edge1", "held", lease=True)
    assert read_answer("edge1", row("edge1", said={**HELD, "lease_renewed": False})).lease is False


def test_a_beat_says_its_phase_whatever_its_name() -> None:
    command = beat_command("run'1", "5/7 it's")
    done = subprocess.run(["sh", "-c", command.replace("'/usr/local/sbin/turnout-edge'", "printf '%s\\n'")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines() == ["--quiet", "beat", "--run", "run'1", "--phase", "5/7 it's"]


def test_what_is_kept_in_files_is_never_verbose() -> None:
    assert quiet({"ANSIBLE_VERBOSITY": "4", "ANSIBLE_DEBUG": "1", "X": "y"}) == {"ANSIBLE_VERBOSITY": "0", "X": "y"}
