"""The keeper's parts, one at a time: processes, files, beats under way, and what is done when the keeper fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from turnout import keeper as keeper_module
from turnout.keeper import (
    Beat,
    Keeper,
    KeeperPlan,
    descendants,
    hand_over,
    playbook_state,
    process_started,
    process_stat,
    read_answer,
    take_back,
)
from turnout.keeping import Answer, Finish, Playbook, StartBeat, Tell

NOBODY = 2**22 + 1  # above the highest process id that Linux gives


def soon(true: Any, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def playbook() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def keeper_of(folder: Path, process: subprocess.Popen[bytes], **more: Any) -> Keeper:
    given = {
        "run": "r", "parent_pid": process.pid, "parent_started": process_started(process.pid), "beat_s": 0.5,
        "lease_s": 8.0, "ttl_s": 9.0, "ansible_options": [], "playbook": "rollback.yml", "cwd": str(folder),
        "edges": ["edge1"], **more,
    }  # fmt: skip
    return Keeper(KeeperPlan(folder=folder, **given))


def logged(folder: Path, event: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "keeper.log").read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


# Processes ---------------------------------------------------------------------------------------------------------


def test_what_the_system_says_of_a_process(playbook: subprocess.Popen[bytes]) -> None:
    state, parent, started = process_stat(playbook.pid)
    assert state in "RS"
    assert parent == os.getpid()
    fields = Path(f"/proc/{playbook.pid}/stat").read_text().rpartition(")")[2].split()
    assert started == int(fields[19]) == process_started(playbook.pid) > 0
    assert process_stat(NOBODY) == ("", 0, 0)
    assert process_started(NOBODY) == 0


def test_a_process_runs_is_stopped_or_is_gone(playbook: subprocess.Popen[bytes]) -> None:
    started = process_started(playbook.pid)
    assert playbook_state(playbook.pid, started) is Playbook.RUNS
    playbook.send_signal(signal.SIGSTOP)
    soon(lambda: playbook_state(playbook.pid, started) is Playbook.STOPPED)
    playbook.kill()
    soon(lambda: process_stat(playbook.pid)[0] == "Z")
    assert playbook_state(playbook.pid, started) is Playbook.GONE
    assert process_started(playbook.pid) == 0
    for other in (started - 1, started + 1):
        assert playbook_state(playbook.pid, other) is Playbook.GONE
    assert playbook_state(NOBODY, 0) is Playbook.GONE


def test_another_process_of_the_same_number_is_gone_whichever_began_first(playbook: subprocess.Popen[bytes]) -> None:
    for other in (-1, 1):
        assert playbook_state(playbook.pid, process_started(playbook.pid) + other) is Playbook.GONE


def test_descendants_are_those_of_one_process_with_their_start() -> None:
    tree = "import subprocess; one = subprocess.Popen(['sleep', '60']); print(one.pid, flush=True); one.wait()"
    parent = subprocess.Popen([sys.executable, "-c", tree], stdout=subprocess.PIPE, text=True)
    beside = subprocess.Popen(["sleep", "60"])
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert descendants(parent.pid) == {child: process_started(child)}
    mine = descendants(os.getpid())
    assert {parent.pid, child, beside.pid} <= set(mine)
    assert os.getpid() not in descendants(os.getppid())
    for pid in (child, parent.pid, beside.pid):
        os.kill(pid, signal.SIGKILL)
    parent.wait()
    beside.wait()


def test_a_child_of_a_beat_ends_with_its_parent() -> None:
    program = (
        "import os, sys, time\nfrom turnout.keeper import end_with_parent\n"
        "child = os.fork()\n"
        "if child == 0:\n    end_with_parent(); print(os.getpid(), flush=True); time.sleep(60)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    started = process_started(child)
    assert started
    parent.kill()
    parent.wait()
    soon(lambda: process_started(child) != started)


# Files -------------------------------------------------------------------------------------------------------------


def test_variables_of_the_command_line_are_lent_and_taken_back(tmp_path: Path) -> None:
    assert hand_over(tmp_path, {}) == []
    assert list(tmp_path.iterdir()) == []
    options = hand_over(tmp_path, {"a": 1, "path": Path("/x")})
    assert json.loads(Path(options[1].removeprefix("@")).read_text()) == {"a": 1, "path": "/x"}
    take_back(tmp_path)
    take_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_of_the_edges_is_written_whole(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook, edges=["edge1", "edge2"])
    edge = keeper.keeping.edges["edge1"]
    edge.state, edge.heard_s, edge.lease = "held", 7.5, True
    before = keeper_module.boottime()
    assert keeper.do(Tell()) == []
    held = json.loads((tmp_path / "held.json").read_text())
    assert held["edges"] == {
        "edge1": {"state": "held", "boottime": 7.5, "lease": True},
        "edge2": {"state": "unheard", "boottime": None, "lease": False},
    }
    assert before <= held["boottime"] <= keeper_module.boottime()
    assert (tmp_path / "held.json").stat().st_mode & 0o777 == 0o600


def test_what_is_seen_comes_from_the_runs_folder(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook)
    seen = keeper.look()
    assert (seen.playbook, seen.said, seen.taken_s, seen.releasing, seen.answers) == (
        Playbook.RUNS, "", None, False, (),
    )  # fmt: skip
    (tmp_path / "taken").write_text("5.25\n")
    (tmp_path / "ended").write_text("failed\n")
    (tmp_path / "releasing").touch()
    seen = keeper.look()
    assert (seen.said, seen.taken_s, seen.releasing) == ("failed", 5.25, True)
    assert 0.0 <= keeper_module.boottime() - seen.now_s < 60.0
    (tmp_path / "ended").write_bytes(b"\xff")
    assert keeper.read("ended") == ""


# Beats -------------------------------------------------------------------------------------------------------------


def beat_that_says(what: bytes) -> Beat:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    child = os.fork()
    if child == 0:
        left = what
        while left:
            left = left[os.write(writing, left) :]
        os._exit(0)
    os.close(writing)
    return Beat(child, reading)


@pytest.mark.parametrize("size", [0, 5, 200_000, 1_048_576, 1_200_000])
def test_an_answer_is_read_to_its_end_a_mebibyte_at_most(size: int) -> None:
    beat = beat_that_says(b"x" * size)
    soon(beat.over)
    assert len(beat.answer) == min(size, 1_048_576)
    beat.close(end=False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(beat.pipe, 1)


def test_a_beat_that_cannot_be_started_is_not_heard_and_said_so_once(
    tmp_path: Path, playbook: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(tmp_path, playbook)

    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    keeper.do(StartBeat("edge1"))
    assert "Resource temporarily unavailable" in logged(tmp_path, "beat-error")[0]["error"]
    assert keeper.collect() == [Answer("edge1", "unheard", words="no beat could be started")]
    assert keeper.collect() == []
    rows = logged(tmp_path, "beat")
    assert [(row["edge"], row["state"], row["words"]) for row in rows] == [
        ("edge1", "unheard", "no beat could be started")
    ]


def test_a_beat_that_fails_says_why_at_no_great_length(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook)

    def broken(_edge: str, _writing: int) -> int:
        raise RuntimeError("y" * 1000)

    keeper._beat_in_child = broken  # type: ignore[method-assign]
    keeper.do(StartBeat("edge1"))
    answers: list[Answer] = []
    soon(lambda: answers.extend(keeper.collect()) or answers)
    assert [answer.state for answer in answers] == ["unheard"]
    assert logged(tmp_path, "beat-error")[0]["error"] == ("RuntimeError: " + "y" * 1000)[:500]


def test_an_answer_that_holds_the_lock_is_not_logged(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook)
    said = json.dumps({"ok": True, "lease_renewed": False})
    keeper.beats["edge1"] = beat_that_says(json.dumps({"host": "edge1", "rc": 0, "stdout": said}).encode())
    answers: list[Answer] = []
    soon(lambda: answers.extend(keeper.collect()) or answers)
    assert answers == [Answer("edge1", "held", lease=False)]
    assert keeper.beats == {}
    assert not (tmp_path / "keeper.log").exists()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"host": "edge1", "unreachable": True}, "unreachable"),
        ({"host": "edge1", "rc": 255, "stdout": '{"ok": false}'}, "exit 255"),
        ({"host": "edge1", "rc": 0, "stdout": "Welcome"}, "its answer cannot be read"),
        ({"host": "edge1", "rc": 4, "stdout": '{"error": {"code": "internal"}}'}, "exit 4"),
        ({"host": "edge1", "rc": 4, "stdout": '{"error": {"code": "lost"}}'}, "exit 4"),
        ({"host": "edge1", "rc": 3, "stdout": '{"error": {"code": "lock"}}'}, "exit 3"),
        ({"host": "edge1", "rc": 5, "stdout": '{"error": {"code": "lock"}}'}, "exit 5"),
        ({"host": "edge1", "rc": -9, "stdout": '{"ok": true, "lease_renewed": true}'}, "exit -9"),
        ({"host": "edge1", "rc": 1, "stdout": '{"ok": true, "lease_renewed": true}'}, "exit 1"),
        ({"host": "edge0", "rc": 0, "stdout": '{"ok": true, "lease_renewed": true}'}, "unreachable"),
    ],
)
def test_why_an_edge_was_not_heard_is_told(raw: dict[str, object], words: str) -> None:
    assert read_answer("edge1", json.dumps(raw).encode()) == Answer("edge1", "unheard", words=words)


def test_a_beat_is_ended_with_all_that_it_has_started(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook)
    keeper._beat_in_child = lambda _edge, _writing: subprocess.call(["sleep", "60"])  # type: ignore[method-assign]
    keeper.do(StartBeat("edge1"))
    beat = keeper.beats["edge1"]
    soon(lambda: descendants(beat.pid))
    below = descendants(beat.pid)
    keeper.end_beat("edge1")
    keeper.end_beat("edge1")
    assert process_stat(beat.pid) == ("", 0, 0), "it was not waited for"
    soon(lambda: not [pid for pid, started in below.items() if process_started(pid) == started])
    assert keeper.beats == {}


# The inventory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [ValueError("z" * 1000), SystemExit(4)])
def test_an_inventory_that_cannot_be_read_is_told_at_no_great_length(
    tmp_path: Path, playbook: subprocess.Popen[bytes], fault: BaseException
) -> None:
    keeper = keeper_of(tmp_path, playbook)

    def broken() -> Any:
        raise fault

    keeper.sender = broken  # type: ignore[method-assign]
    assert keeper.read_inventory() is False
    assert logged(tmp_path, "inventory")[0]["error"] == f"{type(fault).__name__}: {fault}"[:500]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_inventory_that_hangs_is_given_up_after_a_lease(tmp_path: Path, playbook: subprocess.Popen[bytes]) -> None:
    keeper = keeper_of(tmp_path, playbook, lease_s=0.2)
    keeper.sender = lambda: time.sleep(20)  # type: ignore[method-assign, return-value, assignment]
    began_s = time.monotonic()
    assert keeper.read_inventory() is False
    assert 0.2 <= time.monotonic() - began_s < 15.0
    keeper.sender = lambda: None  # type: ignore[method-assign, return-value, assignment]
    assert keeper.read_inventory() is True
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# The whole ---------------------------------------------------------------------------------------------------------


def test_it_looks_ten_times_a_second_until_it_is_done(
    tmp_path: Path, playbook: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(tmp_path, playbook)
    steps: list[list[Any]] = [[], [Tell()], [Tell(), Finish("nothing to do")]]
    keeper.keeping.step = lambda _seen: steps.pop(0)  # type: ignore[method-assign, assignment]
    slept: list[float] = []
    monkeypatch.setattr(keeper_module.time, "sleep", slept.append)
    assert keeper.keep() == "nothing to do"
    assert slept == [0.1, 0.1]
    assert json.loads((tmp_path / "keeper.done").read_text()) == {"outcome": "nothing to do", "code": 0}
    assert json.loads((tmp_path / "keeper.json").read_text()) == {"run": "r"}


class Failing(Keeper):
    """A keeper whose own work fails, and whose put-back ends with `code`."""

    code = 0

    def keep(self) -> str:
        raise RuntimeError("its own")

    def put_back(self, why: str) -> int:
        (self.plan.folder / "put-back").write_text(why)
        return self.code


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, "put back"), (3, "put back, not everywhere"), (-9, "put back, not everywhere")]
)
def test_a_keeper_that_fails_ends_the_run_and_says_how_the_put_back_went(
    tmp_path: Path, playbook: subprocess.Popen[bytes], code: int, outcome: str
) -> None:
    keeper = Failing(keeper_of(tmp_path, playbook).plan)
    keeper.code = code
    keeper.beats["edge1"] = beat_that_says(b"")
    keeper.run()
    assert playbook.wait(timeout=5) == -signal.SIGINT
    assert keeper.beats == {}
    assert keeper.outcome == Finish(outcome, code)
    assert (tmp_path / "put-back").read_text() == "the keeper failed (RuntimeError: its own)"
    assert json.loads((tmp_path / "stop.json").read_text()) == {"why": "the keeper failed (RuntimeError: its own)"}


def test_a_run_that_ended_well_is_let_be_by_a_keeper_that_fails(
    tmp_path: Path, playbook: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "ended").write_text("ok")
    keeper = Failing(keeper_of(tmp_path, playbook).plan)
    began_s = time.monotonic()
    keeper.run()
    assert time.monotonic() - began_s < 4.0, "it waited for what had ended"
    assert keeper.outcome == Finish("nothing to do")
    assert not (tmp_path / "put-back").exists()


def test_a_playbook_that_does_not_hear_is_killed_by_a_keeper_that_fails(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        keeper = Failing(keeper_of(tmp_path, process).plan)
        began_s = time.monotonic()
        keeper.run()
        assert time.monotonic() - began_s >= 5.0, "it had five seconds to end by itself"
        assert process.wait(timeout=5) == -signal.SIGKILL
    assert keeper.outcome == Finish("put back")


def test_a_put_back_whose_output_cannot_be_kept_is_done(
    tmp_path: Path, playbook: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "put-back.log").mkdir()
    fake = tmp_path / "ansible-playbook"
    fake.write_text("#!/bin/sh\necho lost\nexit 6\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert keeper_of(tmp_path, playbook).put_back("why") == 6


@pytest.mark.parametrize(
    ("attempt", "came_of_it"),
    [
        (([], True), ["read", "run"]),
        (([], False), ["read", ["-m", "turnout.keeper", "again"], "run"]),
        ((["again"], False), ["run"]),
    ],
    ids=["an inventory that can be read", "one that cannot", "the second attempt"],
)
def test_the_inventory_is_read_once_and_a_keeper_that_could_not_begins_anew(
    tmp_path: Path,
    playbook: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    attempt: tuple[list[str], bool],
    came_of_it: list[object],
) -> None:
    words, reads_well = attempt
    plan = keeper_of(tmp_path, playbook).plan
    told = {name: value for name, value in vars(plan).items() if name != "folder"}
    (tmp_path / "keeper.json").write_text(json.dumps(told))
    seen: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["keeper", str(tmp_path), *words])
    monkeypatch.setattr(Keeper, "read_inventory", lambda _self: bool(seen.append("read")) or reads_well)
    monkeypatch.setattr(Keeper, "run", lambda _self: seen.append("run"))
    monkeypatch.setattr(
        os, "execv", lambda _program, argv: seen.append([word for word in argv[1:] if word != str(tmp_path)])
    )
    keeper_module.main()
    assert seen == came_of_it
    assert sys.argv[0] == "ansible"
