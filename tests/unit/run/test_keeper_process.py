"""The keeper as it is started: `python -m turnout.keeper`, real Ansible over local connections, a real put-back."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from turnout import keeper
from turnout.keeper import Keeper, KeeperPlan, process_started

ROOT = Path(__file__).resolve().parents[3]
ROLLBACK = """
- name: Rollback | 1/1 | write down what was given
  hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: "{{ password_file }}"
        content: "{{ rollback_run }} {{ password }} {{ rollback_committed }}"
        mode: "0600"
"""


@pytest.fixture
def playbook() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait()


def told(folder: Path, pid: int, **more: Any) -> dict[str, Any]:
    return {
        "run": "r",
        "parent_pid": pid,
        "parent_started": process_started(pid),
        "beat_s": 0.5,
        "lease_s": 8.0,
        "ttl_s": 8.0,
        "ansible_options": [],
        "playbook": str(folder / "rollback.yml"),
        "cwd": str(ROOT),
        "edges": ["edge1", "edge2"],
        "boottime": keeper.boottime(),
        **more,
    }


def ended(folder: Path, limit_s: float = 90.0) -> dict[str, Any]:
    deadline = time.monotonic() + limit_s
    while not (folder / "keeper.done").exists():
        log = folder / "keeper.log"
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "it said nothing"
        time.sleep(0.1)
    done: dict[str, Any] = json.loads((folder / "keeper.done").read_text())
    return done


@pytest.mark.parametrize("inventory", ["whole", "broken"])
def test_edges_that_are_not_heard_end_the_run_and_it_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, playbook: subprocess.Popen[bytes], inventory: str
) -> None:
    """The edges are this machine, without turnout-edge: their answers cannot be read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "run"
    folder.mkdir()
    hosts = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    hosts.write_text(json.dumps({"edge": {"hosts": {"edge1": host, "edge2": host}}}) if inventory == "whole" else "[")
    (folder / "rollback.yml").write_text(ROLLBACK)
    extra = keeper.hand_over(folder, {"password": "canary", "password_file": str(tmp_path / "given")})
    plan = told(folder, playbook.pid, ansible_options=["-i", str(hosts), *extra])
    (folder / "keeper.json").write_text(json.dumps(plan))
    (folder / "taken").write_text(str(keeper.boottime()))
    pid = keeper.start(folder)
    done = ended(folder)
    why = json.loads((folder / "stop.json").read_text())["why"]
    assert "was not heard" in why
    assert playbook.wait(timeout=5) == -signal.SIGINT
    assert (folder / "keeper.pid").read_text().split()[0] == str(pid)
    assert not [path for path in folder.iterdir() if b"canary" in path.read_bytes()]
    if inventory == "whole":
        assert done == {"outcome": "put back", "code": 0}, (folder / "put-back.log").read_text()
        assert (tmp_path / "given").read_text() == "r canary False"
        assert (tmp_path / "state" / "turnout" / "runs" / "r-back" / "events.jsonl").exists()
    else:
        assert done["outcome"] == "put back, not everywhere"
    os.waitpid(pid, 0)


FAKE = """#!{python}
import json, os, sys
print("a line of the put-back")
json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open({out!r}, "w"))
sys.exit(3)
"""


@pytest.mark.parametrize("committed", [False, True])
def test_the_put_back_is_rollback_yml_for_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    out = tmp_path / "out.json"
    fake = tmp_path / "ansible-playbook"
    fake.write_text(FAKE.format(python=sys.executable, out=str(out)))
    fake.chmod(0o755)
    for name, value in {"TURNOUT_RUN": "r", "TURNOUT_RUN_FOLDER": "/r", "ANSIBLE_VERBOSITY": "3", "X": "y"}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "phase").write_text("6/7 move traffic\n")
    if committed:
        (folder / "committed").write_text("r\n")
    plan = KeeperPlan(
        folder=folder,
        **{**told(folder, os.getpid()), "cwd": str(tmp_path), "ansible_options": ["-i", "hosts"], "program": str(fake)},
    )
    assert Keeper(plan).put_back("an edge is gone") == 3
    argv, environment, cwd = json.loads(out.read_text())
    assert argv[:4] == [str(folder / "rollback.yml"), "-i", "hosts", "-e"]
    assert json.loads(argv[4]) == {
        "rollback_run": "r",
        "rollback_reason": "an edge is gone in phase 6/7 move traffic",
        "rollback_committed": committed,
    }
    assert len(argv) == 5
    assert cwd == str(tmp_path)
    assert environment["TURNOUT_RUN"] == "r-back"
    assert environment["X"] == "y"
    assert environment["ANSIBLE_VERBOSITY"] == "0"
    assert "TURNOUT_RUN_FOLDER" not in environment
    log = folder / "put-back.log"
    assert log.read_text() == "a line of the put-back\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_put_back_whose_program_is_gone_ends_and_says_so(tmp_path: Path) -> None:
    """It was there when the run began. The keeper ends all the same, and leaves its word."""
    for name, text in (("ended", "failed"), ("taken", str(keeper.boottime()))):
        (tmp_path / name).write_text(text)
    process = subprocess.Popen(["true"])
    process.wait()
    plan = {**told(tmp_path, process.pid), "parent_started": 1, "program": str(tmp_path / "gone")}
    Keeper(KeeperPlan(folder=tmp_path, **plan)).run()
    assert json.loads((tmp_path / "keeper.done").read_text()) == {"outcome": "put back, not everywhere", "code": 127}
    assert "put-back-error" in (tmp_path / "keeper.log").read_text()


def test_the_put_back_finds_ansible_where_the_command_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where pip installs into Debian's own Python: beside it there is none."""
    fake = tmp_path / "ansible-playbook"
    fake.write_text("#!/bin/sh\nexit 7\n")
    fake.chmod(0o755)
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python3"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Keeper(KeeperPlan(folder=tmp_path, **{**told(tmp_path, 1), "cwd": "/"})).put_back("why") == 7


def test_a_plan_is_what_was_written(tmp_path: Path) -> None:
    raw = told(tmp_path, 1, ansible_options=["-i", "x"])
    (tmp_path / "keeper.json").write_text(json.dumps(raw))
    plan = KeeperPlan.read(tmp_path)
    assert (plan.run, plan.folder, plan.ansible_options) == ("r", tmp_path, ["-i", "x"])
    assert (plan.limits.beat_s, plan.limits.lease_s, plan.limits.ttl_s, plan.limits.kill_s) == (0.5, 8.0, 8.0, 5.0)
    for broken in ("", "{", "[]", '{"run": "r"}'):
        (tmp_path / "keeper.json").write_text(broken)
        with pytest.raises((ValueError, TypeError)):
            KeeperPlan.read(tmp_path)


@pytest.mark.parametrize("text", ["", "x", "nan?"])
def test_a_moment_that_cannot_be_read_is_the_earliest(tmp_path: Path, text: str) -> None:
    plan = KeeperPlan(folder=tmp_path, **{**told(tmp_path, os.getpid()), "boottime": 5.0})
    (tmp_path / "taken").write_text(text)
    assert Keeper(plan).taken_s() == (5.0 if text else None)


def test_a_moment_ahead_of_the_clock_is_now(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("1e12")
    taken_s = Keeper(KeeperPlan(folder=tmp_path, **told(tmp_path, os.getpid()))).taken_s()
    assert taken_s is not None
    assert taken_s <= keeper.boottime()
