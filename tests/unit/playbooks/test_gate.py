"""The callback plugin's gate: no task starts on old knowledge; and what it does about workers, names and secrets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.turnout.ops.plugins.callback import turnout as callback

LEASE_S, TTL_S = 10.0, 30.0


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    return callback


class Run:
    """A run's folder, with a clock that goes on only while the gate waits, and what happens at which moment."""

    def __init__(self, plugin: ModuleType, folder: Path) -> None:
        self.now_s = 1000.0
        self.folder = folder
        self.events: list[tuple[float, str, object]] = []
        self.waited_s = 0.0
        self.plugin = plugin
        self.gate = plugin.Gate(folder, clock=lambda: self.now_s, sleep=self.sleep)
        self.keeper = subprocess.Popen(["sleep", "1000"])
        plan = {"run": "r", "lease_s": LEASE_S, "ttl_s": TTL_S, "boottime": self.now_s, "ansible_options": []}
        (folder / "keeper.json").write_text(json.dumps(plan))
        (folder / "keeper.pid").write_text(f"{self.keeper.pid} {plugin.started(self.keeper.pid)}")

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.waited_s += seconds
        for event in [event for event in self.events if event[0] <= self.now_s]:
            self.events.remove(event)
            (self.folder / event[1]).write_text(json.dumps(event[2]))

    def held(self, **ages: float) -> dict[str, object]:
        edges = {name: {"state": "held", "lease": True, "boottime": self.now_s - age} for name, age in ages.items()}
        return {"edges": edges, "boottime": self.now_s - min(ages.values(), default=0.0)}

    def write(self, name: str, content: object) -> None:
        (self.folder / name).write_text(json.dumps(content))


@pytest.fixture
def run(plugin: ModuleType, tmp_path: Path) -> Iterator[Run]:
    run = Run(plugin, tmp_path)
    yield run
    run.keeper.kill()
    run.keeper.wait()


def test_fresh_knowledge_lets_a_task_start_at_once(run: Run) -> None:
    run.write("held.json", run.held(edge1=3.0, edge2=9.0))
    run.gate.wait()
    assert run.waited_s == 0


def test_a_playbook_without_a_keeper_has_no_gate(plugin: ModuleType, tmp_path: Path) -> None:
    plugin.Gate(tmp_path, clock=lambda: 1e9, sleep=pytest.fail).wait()


@pytest.mark.parametrize("ages", [{"edge1": 60.0, "edge2": 60.0}, {"edge1": 1.0, "edge2": 10.1}])
def test_old_knowledge_of_any_edge_is_waited_out(run: Run, ages: dict[str, float]) -> None:
    run.write("held.json", run.held(**ages))
    run.now_s += 0.0
    fresh = run.held(edge1=0.0, edge2=0.0)
    run.events = [(run.now_s + 2.0, "held.json", fresh)]
    run.gate.wait()
    assert 2.0 <= run.waited_s < 2.2


def test_a_run_that_the_keeper_ends_starts_no_task(run: Run) -> None:
    run.write("held.json", run.held(edge1=0.0))
    run.write("stop.json", {"why": "edge1 says that this run lost its lock"})
    with pytest.raises(run.plugin.Stop, match="lost its lock"):
        run.gate.wait()


def test_a_playbook_that_wakes_before_its_keeper_waits_for_its_word(run: Run) -> None:
    run.write("held.json", run.held(edge1=60.0))
    run.events = [(run.now_s + 5.0, "stop.json", {"why": "edge1 was not heard for 65 s"})]
    with pytest.raises(run.plugin.Stop, match="not heard for 65 s"):
        run.gate.wait()
    assert run.waited_s >= 5.0


def test_a_keeper_that_is_gone_ends_the_run(run: Run) -> None:
    run.write("held.json", run.held(edge1=10.5))
    run.keeper.kill()
    run.keeper.wait()
    with pytest.raises(run.plugin.Stop, match="keeper of this run is gone"):
        run.gate.wait()


def test_a_keeper_that_says_nothing_is_not_waited_for_for_ever(run: Run) -> None:
    run.write("held.json", run.held(edge1=10.5))
    with pytest.raises(run.plugin.Stop, match="does not hear every edge"):
        run.gate.wait()
    assert TTL_S <= run.waited_s <= TTL_S + 1


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"edges": {}}'])
def test_a_file_that_cannot_be_read_is_no_knowledge(run: Run, text: str) -> None:
    (run.folder / "held.json").write_text(text)
    run.gate.wait()  # the keeper was started just now
    run.now_s += LEASE_S + 1
    run.events = [(run.now_s + 1.0, "held.json", run.held(edge1=0.0))]
    run.gate.wait()
    assert run.waited_s >= 1.0


def test_once_the_lock_is_given_back_nothing_is_waited_for(run: Run) -> None:
    run.write("held.json", run.held(edge1=100.0))
    run.write("releasing", "r")
    run.gate.wait()
    assert run.waited_s == 0


# Workers -----------------------------------------------------------------------------------------------------------

WORKER = """
import os, sys, time
from ansible_collections.turnout.ops.plugins.callback import turnout
if sys.argv[1] == "guarded":
    turnout._CtrlC().register()
worker = os.fork()
if worker == 0:
    os.setsid()
    time.sleep(60)
print(worker, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "lives"), [("guarded", False), ("plain", True)])
def test_a_worker_does_not_outlive_a_killed_playbook(plugin: ModuleType, how: str, lives: bool) -> None:
    """It has a session of its own, and would go on with its task beside the put-back."""
    playbook = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER, how], stdout=subprocess.PIPE, text=True)
    assert playbook.stdout
    worker = int(playbook.stdout.readline())
    start = plugin.started(worker)
    playbook.kill()
    playbook.wait()
    deadline = time.monotonic() + 3
    while plugin.started(worker) == start and time.monotonic() < deadline and not lives:
        time.sleep(0.02)
    assert (plugin.started(worker) == start) is lives
    if lives:
        os.kill(worker, signal.SIGKILL)


# What is left behind -----------------------------------------------------------------------------------------------


def folder_of(home: Path, name: str, pid: tuple[int, int]) -> Path:
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "playbook.pid").write_text(f"{pid[0]} {pid[1]}")
    (folder / "keeper.json").write_text(json.dumps({"run": name, "ansible_options": ["-e", "@x", "canary"]}))
    (folder / "extra-vars.json").write_text('{"password": "canary"}')
    return folder


def canaries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if b"canary" in path.read_bytes())


def test_a_later_run_removes_what_a_dead_one_was_told(
    plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    home = plugin.runs_home()
    dead = folder_of(home, "1-dead", (os.getpid(), 1))
    living = folder_of(home, "2-living", (os.getpid(), plugin.started(os.getpid())))
    plugin.Record("3-this").event("start")
    plugin.Record("3-this").prune()
    assert canaries(dead) == []
    assert canaries(living) == ["extra-vars.json", "keeper.json"]


def test_a_run_that_lives_is_not_pruned(plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(plugin, "RUNS_KEPT", 1)
    home = plugin.runs_home()
    dead = folder_of(home, "1-dead", (os.getpid(), 1))
    living = folder_of(home, "2-living", (os.getpid(), plugin.started(os.getpid())))
    plugin.Record("3-this").event("start")
    plugin.Record("3-this").prune()
    assert not dead.exists()
    assert living.exists()


# Who it was --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        ({"SUDO_USER": "ann", "LOGNAME": "root", "USER": "root"}, "ann"),
        ({"LOGNAME": "bea", "USER": "carl"}, "bea"),
        ({"USER": "carl"}, "carl"),
    ],
)
def test_the_actor_is_who_typed_the_command(
    plugin: ModuleType, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], who: str
) -> None:
    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert plugin.actor() == who


def test_without_any_such_variable_the_system_knows_who(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert plugin.actor() not in ("", "unknown")


UNTOLD = """
from ansible_collections.turnout.ops.plugins.callback import turnout
plugin = turnout.CallbackModule()
plugin._record.write("phase", "6/9 users")
folder = plugin._record.folder
(folder / "keeper.json").write_text('{"run": "r"}')
(folder / "keeper.pid").write_text("KEEPER")
(folder / ".ended.tmp").mkdir()  # as a full disk: the file cannot be written
plugin._causes.append(("6/9 users", "judge", "edge1", "the judge says rollback"))
plugin._end("failed")
plugin._finished = True
"""


def test_a_playbook_that_cannot_tell_its_keeper_how_it_ended_does_not_wait_for_it(run: Run, tmp_path: Path) -> None:
    """The keeper waits for that word, or for the playbook's own end."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TURNOUT_RUN": "r"}
    code = UNTOLD.replace("KEEPER", (run.folder / "keeper.pid").read_text())
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=True)
    assert "is put back once this command is gone" in done.stdout
    assert "turnout.ops.status" in done.stdout
    assert "the judge says rollback" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
