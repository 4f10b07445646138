"""A playbook with its keeper, as people run them, on hosts that are this machine: stopped, and with its keeper killed.

These hosts have no turnout-edge, so no beat is ever answered: nothing but the run's own end keeps the put-back away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from turnout.keeper import process_started

ROOT = Path(__file__).resolve().parents[3]
LEASE_S = 6.0
DEPLOY = """
- name: Deploy | 1/1 | wait
  hosts: edge
  gather_facts: false
  tasks:
    - name: Start the keeper
      turnout.ops.keeper:
        run: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN') }}"
        folder: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN_FOLDER') }}"
        playbook: "{{ playbook_dir }}/rollback.yml"
        beat_s: 1
        lease_s: %(lease_s)s
        ttl_s: 120
        edges: "{{ groups['edge'] }}"
      run_once: true
    - name: Tell the keeper that the lock is taken
      turnout.ops.keeper:
        run: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN') }}"
        folder: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN_FOLDER') }}"
        state: taken
      run_once: true
%(tasks)s
"""
WAIT = """
    - name: Wait %(number)d
      ansible.builtin.raw: "echo %(number)d >> {{ playbook_dir }}/done; sleep 1"
      run_once: true
"""
ROLLBACK = """
- name: Rollback | 1/1 | put back
  hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.raw: "echo {{ rollback_run | quote }} {{ rollback_reason | quote }} >> {{ playbook_dir }}/back"
"""


class Run:
    """One run of the playbook."""

    lease_s = LEASE_S

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.write()
        env = {key: value for key, value in os.environ.items() if not key.startswith("TURNOUT_")}
        env |= {"XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        self.process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.yml"),
                str(folder / "deploy.yml"), "-e", "password=canary", "-vvv",
            ],
            cwd=ROOT, env={**env, "PYTHONUNBUFFERED": "1", **more}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def write(self) -> None:
        """Write the hosts, the playbook, and the rollback that puts it back."""
        host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
        (self.folder / "hosts.yml").write_text(json.dumps({"edge": {"hosts": {"edge1": host, "edge2": host}}}))
        tasks = "".join(WAIT % {"number": number} for number in range(1, 61))
        (self.folder / "deploy.yml").write_text(DEPLOY % {"lease_s": self.lease_s, "tasks": tasks})
        (self.folder / "rollback.yml").write_text(ROLLBACK)

    @property
    def home(self) -> Path:
        """Return the run's own folder on the controller."""
        return next((self.folder / "state" / "turnout" / "runs").glob(f"*-{self.process.pid}"))

    def until_it_waits(self) -> None:
        """Wait until tasks run and the keeper keeps."""
        deadline = time.monotonic() + 60
        while not ((self.folder / "done").exists() and (self.home / "keeper.log").exists()):
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.05)

    def ends(self) -> str:
        """Return what it printed until its end."""
        said = self.process.communicate(timeout=120)[0]
        assert self.process.returncode not in (0, -signal.SIGKILL), said
        assert "Traceback" not in said, said
        return said

    def keeper(self) -> int:
        pid, start = map(int, (self.home / "keeper.pid").read_text().split())
        return pid if process_started(pid) == start else 0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()
    with contextlib.suppress(OSError, StopIteration):
        if run.keeper():
            os.kill(run.keeper(), signal.SIGKILL)


def canaries(run: Run) -> list[str]:
    return [
        str(path) for path in (run.folder / "state").rglob("*") if path.is_file() and b"canary" in path.read_bytes()
    ]


def test_ctrl_z_for_longer_than_a_lease_ends_in_the_put_back_with_the_reason(run: Run) -> None:
    run.until_it_waits()
    os.killpg(run.process.pid, signal.SIGSTOP)
    said = run.ends()
    assert "this run was ended: the playbook was stopped (Ctrl-Z)" in said, said
    assert "putting everything back" in said
    assert f"{run.home.name} the playbook was stopped (Ctrl-Z)" in (run.folder / "back").read_text()
    assert json.loads((run.home / "keeper.done").read_text())["code"] == 0
    assert canaries(run) == []


def test_a_keeper_that_was_killed_is_missed_and_replaced_for_the_put_back(run: Run) -> None:
    run.until_it_waits()
    os.kill(run.keeper(), signal.SIGKILL)
    said = run.ends()
    assert "the keeper of this run is gone" in said, said
    assert "another one puts everything back" in said
    assert (run.folder / "back").read_text().startswith(run.home.name)
    assert len((run.folder / "done").read_text().split()) < 60
    assert canaries(run) == []


def test_a_killed_playbook_is_put_back_and_leaves_no_secret(run: Run) -> None:
    run.until_it_waits()
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 60
    while not (run.home / "keeper.done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = (run.folder / "done").read_text()
    assert "process ended before its work was done" in (run.folder / "back").read_text()
    time.sleep(1.5)
    assert (run.folder / "done").read_text() == done, "a worker went on without its playbook"
    assert canaries(run) == []


@pytest.mark.parametrize("left", ["ended", "releasing", "keeper.done", "taken"])
def test_a_run_whose_name_was_used_before_is_refused_before_it_takes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """As with the id of a CI job that is exported once: its keeper would believe what the other run left."""
    folder = tmp_path / "state/turnout/runs/ci-42"
    folder.mkdir(parents=True)
    (folder / left).write_text("ok")
    (folder / "keeper.json").write_text('{"run": "ci-42"}')
    (folder / "keeper.done").write_text('{"outcome": "nothing to do"}') if left == "ended" else None
    run = Run(tmp_path, TURNOUT_RUN="ci-42")
    said = run.ends()
    assert "run-used" in said and left in said and "unset TURNOUT_RUN" in said
    assert "putting everything back" not in said
    assert not (folder / "keeper.pid").exists() and not (tmp_path / "done").exists()


def test_what_playbook_and_keeper_left_when_both_were_killed_a_later_run_removes(run: Run) -> None:
    run.until_it_waits()
    os.kill(run.keeper(), signal.SIGKILL)
    run.process.kill()
    run.process.wait()
    assert canaries(run) != []
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    words = ["-i", str(run.folder / "hosts.yml"), str(run.folder / "rollback.yml")]
    later = [program, *words, "-e", "rollback_run=x rollback_reason=y"]
    env = {**os.environ, "XDG_STATE_HOME": str(run.folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run(later, cwd=ROOT, env=env, check=True, capture_output=True)
    assert canaries(run) == []
