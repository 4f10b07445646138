"""Ctrl-C at random moments of a playbook that forks all the time: it ends soon, and tells its put-back to the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import yaml
from harness import BIN, ROOT
from turnout.keeper import process_started

TRIALS, HOSTS, TASKS = 30, 4, 80


def playbook(folder: Path) -> list[str]:
    """Write a play of many short tasks on hosts that are this one; return the command that runs it."""
    hosts = {f"h{number}": {"ansible_connection": "local"} for number in range(HOSTS)}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    tasks = [
        {"name": f"t{number}", "ansible.builtin.raw": "true", "changed_when": False} for number in range(1, TASKS + 1)
    ]
    play = {"name": "Deploy | 1/1 | much", "hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    return [str(BIN / "ansible-playbook"), "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]


def test_ctrl_c_at_any_moment_ends_the_run_with_its_story(tmp_path: Path) -> None:
    """The put-back that it waits for is a keeper's word that comes a second after the playbook has ended."""
    command = playbook(tmp_path)
    for trial in range(TRIALS):
        folder = tmp_path / "turnout" / "runs" / f"trial-{trial:02}"
        folder.mkdir(parents=True)
        (folder / "keeper.json").write_text("{}")
        (folder / "keeper.pid").write_text(f"{os.getpid()} {process_started(os.getpid())}")
        env = {**os.environ, "TURNOUT_RUN": folder.name, "XDG_STATE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1",
               "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            begun = any(" t2 " in line for line in process.stdout)
            assert begun, trial
            time.sleep(random.uniform(0, 2))  # noqa: S311 - any moment
            os.killpg(process.pid, signal.SIGINT)
            deadline = time.monotonic() + 10
            while not (folder / "ended").exists():
                assert time.monotonic() < deadline, f"trial {trial}: the run goes on"
                time.sleep(0.02)
            time.sleep(1)
            assert process.poll() is None, f"trial {trial}: it did not wait for the put-back"
            done = folder / "keeper.tmp"
            done.write_text(json.dumps({"outcome": "put back", "code": 0}))
            done.rename(folder / "keeper.done")  # whole at once, as a keeper does
            said = process.communicate(timeout=20)[0]
        finally:
            process.kill()
        assert process.returncode not in (0, -signal.SIGINT), (trial, said)
        assert "Traceback" not in said, f"trial {trial}: {said[max(0, said.find('Traceback') - 300) :][:3000]}"
        assert "the run was interrupted" in said, (trial, said)
