"""`turnout deploy` with its run in a process group of its own: however it is ended, the run is put back.

The playbook is that of test_kept_run.py, on hosts that are this machine. It runs as `turnout COMMAND` runs one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_kept_run import LEASE_S, ROLLBACK, ROOT, Run
from turnout.command import run as command
from turnout.keeper import process_started

# What the command `turnout` does once it has parsed its words.
COMMAND = """
import turnout.quiet_start
import os, pathlib, sys
pathlib.Path(os.environ["XDG_STATE_HOME"]).with_name("up").touch()
from turnout.command.run import playbook
sys.exit(playbook(sys.argv[1], sys.argv[2:]))
"""
SLOW_ROLLBACK = ROLLBACK.replace("echo {{", "sleep 3; echo {{", 1)


class Commanded(Run):
    """One run by the command, in a session of its own whose foreground group it is."""

    def __init__(
        self, folder: Path, *, rollback: str = ROLLBACK, lease_s: float = LEASE_S, argv: tuple[str, ...] = (),
        terminal: str = "dumb", **streams: object,
    ) -> None:  # fmt: skip
        self.folder, self.lease_s = folder, lease_s
        self.write()
        (folder / "rollback.yml").write_text(rollback)
        env = {key: value for key, value in os.environ.items() if not key.startswith("TURNOUT_")}
        env |= {"XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "TERM": terminal}
        self.process = subprocess.Popen(
            argv or [
                sys.executable, "-c", COMMAND, str(folder / "deploy.yml"), "-i", str(folder / "hosts.yml"),
                "-e", "password=canary",
            ],
            cwd=ROOT, env={**env, "PYTHONUNBUFFERED": "1"}, start_new_session=True, text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **streams},
        )  # fmt: skip

    def until_it_is_up(self) -> None:
        """Wait until Python runs the command: before that it is nobody's program yet."""
        deadline = time.monotonic() + 20
        while not (self.folder / "up").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ansible(self) -> int:
        """Return the process id of Ansible's main process."""
        return int((self.home / "playbook.pid").read_text().split()[0])

    def is_put_back(self) -> None:
        """Wait until the keeper has put the run back."""
        deadline = time.monotonic() + 60
        while not (self.home / "keeper.done").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert json.loads((self.home / "keeper.done").read_text())["code"] == 0
        assert (self.folder / "back").read_text().startswith(self.home.name)

    def leaves_nothing(self) -> None:
        """See that no process of this run is left, once the keeper has had a moment to end too."""
        deadline = time.monotonic() + 10
        while left := self.left():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def left(self) -> list[str]:
        """Return the processes of this run that still run, by their environment."""
        mark = f"XDG_STATE_HOME={self.folder}/state".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes() and process_started(int(entry.name)):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


@pytest.fixture
def runs() -> Iterator[list[Commanded]]:
    started: list[Commanded] = []
    yield started
    for run in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
        with contextlib.suppress(OSError, StopIteration):
            if run.keeper():
                os.kill(run.keeper(), signal.SIGKILL)


def start(runs: list[Commanded], folder: Path, **how: object) -> Commanded:
    runs.append(Commanded(folder, **how))  # type: ignore[arg-type]
    return runs[-1]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGINT, "Ctrl-C was pressed"),
        (signal.SIGTERM, "turnout was told to end (SIGTERM)"),
        (signal.SIGHUP, "the terminal was closed (SIGHUP)"),
    ],
)
def test_ctrl_c_and_its_kin_end_in_the_put_back_which_is_shown(
    runs: list[Commanded], tmp_path: Path, number: signal.Signals, why: str
) -> None:
    run = start(runs, tmp_path)
    run.until_it_waits()
    assert os.getpgid(run.ansible()) != os.getpgid(run.process.pid), "Ansible shares the terminal's group"
    os.killpg(run.process.pid, number)
    said = run.ends()
    assert f"the run was interrupted: {why}" in said, said
    assert said.index("putting everything back") < said.index("  | ") < said.index("put back\n"), said
    run.is_put_back()
    run.leaves_nothing()


def test_a_second_ctrl_c_leaves_and_says_that_the_put_back_goes_on(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path, rollback=SLOW_ROLLBACK)
    run.until_it_waits()
    os.killpg(run.process.pid, signal.SIGINT)
    deadline = time.monotonic() + 20
    while not (run.home / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(run.process.pid, signal.SIGINT)
    said = run.ends()
    assert "the put-back goes on by itself; see " in said, said
    assert not (run.home / "keeper.done").exists(), said
    run.is_put_back()


def test_two_at_once_leave_too(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path, rollback=SLOW_ROLLBACK)
    run.until_it_waits()
    os.killpg(run.process.pid, signal.SIGINT)
    time.sleep(0.01)
    os.killpg(run.process.pid, signal.SIGINT)
    said = run.ends()
    assert "the put-back goes on by itself; see " in said, said
    run.is_put_back()
    run.leaves_nothing()


def test_ctrl_c_before_the_playbook_begins_ends_it_at_once(runs: list[Commanded], tmp_path: Path) -> None:
    for wait_s in (0, 0.05, 0.3):
        folder = tmp_path / str(wait_s)
        folder.mkdir()
        run = start(runs, folder)
        run.until_it_is_up()
        time.sleep(wait_s)
        began = time.monotonic()
        os.killpg(run.process.pid, signal.SIGINT)
        said = run.process.communicate(timeout=20)[0]
        # A quick machine has begun after all: the end is Ansible's own then, code 99.
        ended = (99,) if "1/1 wait" in said else (130, -signal.SIGINT)
        assert run.process.returncode in ended, said
        assert "Traceback" not in said, said
        assert time.monotonic() - began < 3
        assert not (folder / "done").exists()
        run.leaves_nothing()


# A run that hears nothing, with its folder as the callback plugin and the keeper write it.
DEAF = """
trap "" INT
echo $$ > $TURNOUT_RUN_FOLDER/playbook.pid
%s
echo up > $TURNOUT_RUN_FOLDER/up
while :; do sleep 0.1; done
"""


class Deaf:
    """A run that does not end by itself, under this process's own signals."""

    def __init__(self, folder: Path, then: str) -> None:
        self.said: list[str] = []
        self.folder = folder
        env = {**os.environ, "TURNOUT_RUN_FOLDER": str(folder)}
        self.run = command.Run(["bash", "-c", DEAF % then], env, self.said.append)

    def press(self, *after_s: float) -> None:
        """Press Ctrl-C so long after it is up, and again."""

        def pressing() -> None:
            while not (self.folder / "up").exists():
                time.sleep(0.01)
            for wait_s in after_s:
                time.sleep(wait_s)
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=pressing, daemon=True).start()


def test_a_run_that_does_not_end_is_killed_and_its_put_back_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "END_LIMIT_S", 0.5)
    deaf = Deaf(tmp_path, "")
    (tmp_path / "keeper.pid").write_text(f"{os.getpid()} {process_started(os.getpid())}")

    def keeper() -> None:
        while not (tmp_path / "interrupted.json").exists():
            time.sleep(0.01)
        time.sleep(1.5)
        (tmp_path / "put-back.log").write_text("traffic is back\n")
        (tmp_path / "done.tmp").write_text(json.dumps({"outcome": "put back", "code": 0}))
        (tmp_path / "done.tmp").rename(tmp_path / "keeper.done")

    threading.Thread(target=keeper, daemon=True).start()
    deaf.press(0.0)
    assert deaf.run.run() == 130
    assert deaf.said[0].endswith("putting everything back")
    assert deaf.said[1:] == ["  | traffic is back", "put back"]


@pytest.mark.parametrize("ended", ["", "echo failed > $TURNOUT_RUN_FOLDER/ended"])
def test_a_second_ctrl_c_is_followed_soon_by_a_run_that_hears_nothing(
    tmp_path: Path, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "END_LIMIT_S", 120)  # so that a slow machine is told from a run that is waited for
    deaf = Deaf(tmp_path, ended)
    (tmp_path / "keeper.pid").write_text(f"{os.getpid()} {process_started(os.getpid())}")
    began = time.monotonic()
    deaf.press(0.0, 0.3)
    assert deaf.run.run() == 130
    assert time.monotonic() - began < 60
    assert deaf.said == [f"  the put-back goes on by itself; see {tmp_path / 'put-back.log'}"]


def test_without_a_keeper_a_second_ctrl_c_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "END_LIMIT_S", 120)
    monkeypatch.setattr(command, "LEAVE_LIMIT_S", 120)
    deaf = Deaf(tmp_path, "")
    began = time.monotonic()
    deaf.press(0.0, 0.3)
    assert deaf.run.run() == 130
    assert time.monotonic() - began < 60
    assert deaf.said == []


def test_where_the_keeper_is_gone_too_the_way_back_is_told(tmp_path: Path) -> None:
    deaf = Deaf(tmp_path, "")
    (tmp_path / "keeper.pid").write_text(f"{os.getpid()} 1")
    deaf.press(0.0, 0.1)
    assert deaf.run.run() == 130
    assert "turnout rollback" in deaf.said[-1]


def test_a_killed_ansible_is_put_back_and_that_is_shown(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path)
    run.until_it_waits()
    os.kill(run.ansible(), signal.SIGKILL)
    said = run.ends()
    assert run.process.returncode == 128 + signal.SIGKILL
    assert "the run's process is gone; putting everything back" in said, said
    assert "put back\n" in said, said
    run.is_put_back()


def test_a_killed_command_takes_ansible_with_it_and_the_keeper_puts_back(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path)
    run.until_it_waits()
    ansible = run.ansible()
    run.process.kill()
    run.process.wait()
    run.is_put_back()
    assert not process_started(ansible)
    run.leaves_nothing()


def test_ctrl_z_for_longer_than_a_lease_ends_in_the_put_back_too(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path)
    run.until_it_waits()
    os.killpg(run.process.pid, signal.SIGTSTP)
    deadline = time.monotonic() + 40
    while not (run.home / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(run.process.pid, signal.SIGCONT)  # fg
    said = run.ends()
    assert "this run was ended: the playbook was stopped (Ctrl-Z)" in said, said
    run.is_put_back()


def test_ctrl_z_and_fg_within_a_lease_goes_on(runs: list[Commanded], tmp_path: Path) -> None:
    run = start(runs, tmp_path, lease_s=60)
    run.until_it_waits()
    os.killpg(run.process.pid, signal.SIGTSTP)
    time.sleep(1.5)
    before = (tmp_path / "done").read_text().split()
    os.killpg(run.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while len((tmp_path / "done").read_text().split()) < len(before) + 3:
        assert run.process.poll() is None, run.process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(run.process.pid, signal.SIGINT)
    assert "the run was interrupted" in run.ends()
    run.is_put_back()


def test_a_closed_terminal_leaves_nothing(runs: list[Commanded], tmp_path: Path) -> None:
    """The command is the leader of a terminal's session, which is hung up."""
    master, slave = pty.openpty()
    words = [
        sys.executable, "-c", COMMAND, str(tmp_path / "deploy.yml"), "-i", str(tmp_path / "hosts.yml"),
    ]  # fmt: skip
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    run = start(runs, tmp_path, argv=(sys.executable, "-c", take, *words), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    run.until_it_waits()
    os.close(master)
    run.process.wait(timeout=60)
    run.is_put_back()
    run.leaves_nothing()


def test_on_a_terminal_a_phase_is_one_line_that_changes(runs: list[Commanded], tmp_path: Path) -> None:
    past = tmp_path / "state" / "turnout" / "runs" / "20200101T000000-then-1"
    past.mkdir(parents=True)
    rows = [
        {"ts": "2020-01-01T00:00:00+00:00", "event": "start", "playbook": "deploy"},
        {"ts": "2020-01-01T00:00:01+00:00", "event": "phase", "phase": "1/1 wait"},
        {"ts": "2020-01-01T01:00:01+00:00", "event": "end", "how": "ok"},
    ]
    (past / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    master, slave = pty.openpty()
    run = start(runs, tmp_path, stdin=slave, stdout=slave, stderr=slave, terminal="xterm")
    os.close(slave)
    said = ""

    def until(words: str) -> None:
        nonlocal said
        deadline = time.monotonic() + 60
        while words not in said:
            assert time.monotonic() < deadline, said
            with contextlib.suppress(OSError):
                said += os.read(master, 65536).decode(errors="replace")

    until("Wait 2 | about 60 min left")
    assert "Start the keeper   " not in said, "a line for each task as well"
    os.killpg(run.process.pid, signal.SIGINT)
    until(f"events: {run.home}/")
    os.close(master)
    assert run.process.wait(timeout=30) != 0
    assert "Traceback" not in said
    for words in ("putting everything back", "  | ", "put back", "the run was interrupted: Ctrl-C was pressed"):
        assert words in said, said
    run.is_put_back()
    log = (run.home / "put-back.log").read_text()
    assert "1/1 put back" in log, "the put-back writes plain lines"
    assert "\x1b" not in log
    assert said.index("1/1 wait  NOT done") < said.index("putting everything back")
    run.leaves_nothing()


def test_a_few_random_moments(runs: list[Commanded], tmp_path: Path) -> None:
    for trial in range(4):
        folder = tmp_path / str(trial)
        folder.mkdir()
        run = start(runs, folder)
        run.until_it_is_up()
        time.sleep(random.uniform(0, 5))  # noqa: S311 - any moment
        os.killpg(run.process.pid, signal.SIGINT)
        said = run.process.communicate(timeout=60)[0]
        assert run.process.returncode != 0, (trial, said)
        assert "Traceback" not in said, (trial, said)
        if (folder / "done").exists():
            run.is_put_back()
        run.leaves_nothing()
