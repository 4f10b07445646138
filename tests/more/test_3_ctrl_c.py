"""Ctrl-C at random moments, by `turnout deploy` and by bare `ansible-playbook`: none hangs, all are put back.

Sixty moments of a playbook that forks all the time, whose put-back is a word of its keeper; and a few of a real deploy
on the lab, under load. `PYTHONPATH=tests/lab python -m pytest -p conftest tests/more/test_3_ctrl_c.py`
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from harness import BIN, ROOT, Turnout
from turnout.keeper import process_started

TRIALS, HOSTS, TASKS = 30, 4, 80  # of each way
LAB_TRIALS = 6  # of each way
END_LIMIT_S = 120  # from Ctrl-C to the end of a deploy that is put back
WAYS = ("turnout", "ansible-playbook")
# What `turnout COMMAND` does once it has parsed its words: it knows no playbook but those of turnout.ops.
COMMAND = "import sys; from turnout.command.run import playbook; sys.exit(playbook(sys.argv[1], sys.argv[2:]))"


def playbook(folder: Path, way: str) -> list[str]:
    """Write a play of many short tasks on hosts that are this one; return the command that runs it."""
    hosts = {f"h{number}": {"ansible_connection": "local"} for number in range(HOSTS)}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    tasks = [
        {"name": f"t{number}", "ansible.builtin.raw": "true", "changed_when": False} for number in range(1, TASKS + 1)
    ]
    play = {"name": "Deploy | 1/1 | much", "hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    runs = [str(BIN / "ansible-playbook")] if way == "ansible-playbook" else [sys.executable, "-c", COMMAND]
    return [*runs, str(folder / "play.yml"), "-i", str(folder / "hosts.yml")]


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_at_any_moment_ends_the_run_with_its_story(tmp_path: Path, way: str) -> None:
    """The put-back that it waits for is a keeper's word that comes a second after the playbook has ended."""
    command = playbook(tmp_path, way)
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


def test_a_real_deploy_is_put_back_from_any_moment(untouched: Turnout) -> None:
    """Both ways in turn, of a deploy that would take half a minute; the users meet no error (`users`)."""
    for trial in range(2 * LAB_TRIALS):
        way = WAYS[trial % 2]
        bare = untouched.command("deploy", "-e", "release=1.1.0")
        command = [str(BIN / "turnout"), "deploy", "1.1.0", *bare[4:]] if way == "turnout" else bare
        process = subprocess.Popen(
            command, cwd=ROOT, env={**untouched.env(), "PYTHONUNBUFFERED": "1"}, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        seen = process.stdout.readline()  # before that, Python has just begun
        time.sleep(random.uniform(0, 20))  # noqa: S311 - any moment
        os.killpg(process.pid, signal.SIGINT)
        seen += process.communicate(timeout=END_LIMIT_S)[0]
        said = f"trial {trial}, {way}:\n{seen}"
        assert "Traceback" not in seen, said
        if process.returncode == 0:  # it came too late: the release stood
            assert untouched.in_service() == "1.1.0", said
            untouched.ensure("1.0.0")
            continue
        assert "the run was interrupted" in seen or "before the playbook began" in seen, said
        assert untouched.in_service() == "1.0.0", said
        assert not any(untouched.edge(edge)["lock"]["held"] for edge in ("edge1", "edge2")), said
