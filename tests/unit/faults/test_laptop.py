"""A controller as one thing: everything that it started is found, whatever became of its environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.laptop import PLUGINS, TAG, Laptop
from harness import BIN


class Fake:
    """A lab whose playbook is a program of the test's own."""

    controller_apart = False

    def __init__(self, script: str) -> None:
        self.script = script

    def command(self, action: str, *options: str) -> list[str]:
        return [sys.executable, "-c", self.script]

    def env(self) -> dict[str, str]:
        return dict(os.environ)


@pytest.fixture
def started() -> Iterator[list[Laptop]]:
    laptops: list[Laptop] = []
    yield laptops
    for laptop in laptops:
        laptop.forget()


KEEPER = "import time; time.sleep(60) # turnout.keeper"
STARTS_A_KEEPER = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {KEEPER!r}], start_new_session=True)
time.sleep(60)
"""


def until(condition: object, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def test_a_killed_playbook_leaves_its_keeper_and_a_killed_controller_leaves_nothing(started: list[Laptop]) -> None:
    laptop = Laptop(Fake(STARTS_A_KEEPER), "test", "deploy")  # type: ignore[arg-type]
    other = Laptop(Fake(STARTS_A_KEEPER), "other", "deploy")  # type: ignore[arg-type]
    started += [laptop, other]
    until(lambda: laptop.keepers() and other.keepers())
    laptop.signal_playbook(signal.SIGKILL)
    until(lambda: laptop.over)
    assert laptop.keepers()
    assert not laptop.all_over()
    laptop.signal_all(signal.SIGKILL)
    until(laptop.all_over)
    assert other.keepers(), "the other controller lives on"


def test_a_laptop_asleep_stands_still_with_all_that_it_started(started: list[Laptop]) -> None:
    laptop = Laptop(Fake(STARTS_A_KEEPER), "test", "deploy")  # type: ignore[arg-type]
    started.append(laptop)
    until(laptop.keepers)
    laptop.signal_all(signal.SIGSTOP)
    pids = list(laptop.processes())
    assert len(pids) == 2
    until(lambda: {state_of(pid) for pid in pids} == {"T"})
    laptop.signal_all(signal.SIGCONT)
    until(lambda: {state_of(pid) for pid in pids} <= {"S", "R"})


def test_a_program_that_wrote_over_its_environment_is_known_by_the_folder_of_its_socket(started: list[Laptop]) -> None:
    laptop = Laptop(Fake("import time; time.sleep(60)"), "test", "deploy")  # type: ignore[arg-type]
    started.append(laptop)
    env = {name: value for name, value in os.environ.items() if name != TAG}
    ssh = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"{laptop.folder}/socket"], env=env)
    try:
        until(lambda: ssh.pid in laptop.processes())
        assert ssh.pid not in laptop.keepers()
    finally:
        ssh.kill()
        ssh.wait()


PLAY = """
- name: Deploy | 1/2 | first
  hosts: localhost
  gather_facts: false
  tasks:
    - name: One
      ansible.builtin.debug: {msg: one}
    - name: Two
      ansible.builtin.debug: {msg: two}
- name: Deploy | 2/2 | second
  hosts: localhost
  gather_facts: false
  tasks:
    - name: "Two: {{ color }}"
      ansible.builtin.debug: {msg: three}
"""


@pytest.mark.parametrize("color", ["blue", "green"])
def test_a_playbook_waits_at_the_moment_that_it_is_told_and_writes_every_moment_down(
    tmp_path: Path, color: str
) -> None:
    """A moment is the same one whichever color takes the release."""
    (tmp_path / "none.cfg").write_text("")
    (tmp_path / "play.yml").write_text(PLAY)
    moments = tmp_path / "moments"
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(tmp_path / "none.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
        "ANSIBLE_CALLBACKS_ENABLED": "turnout_moments",
        "TURNOUT_FAULTS_MOMENTS": str(moments),
        "TURNOUT_FAULTS_STOP_AT": "2/2 second | Two: COLOR #1",
    }
    words = [str(BIN / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml"), "-e", f"color={color}"]
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        until(lambda: moments.exists() and len(moments.read_text().splitlines()) == 3, 60)
        keys = [json.loads(line)["key"] for line in moments.read_text().splitlines()]
        assert keys == ["1/2 first | One #1", "1/2 first | Two #1", "2/2 second | Two: COLOR #1"]
        time.sleep(0.5)
        assert process.poll() is None, "it did not wait"
        Path(f"{moments}.go").touch()
        out = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert process.returncode == 0, out
    assert "three" in out
