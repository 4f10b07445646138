"""What runs by schedule: installed once, alone with deploys, and heard of when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import BIN, EDGES, ROOT, Turnout

FILES = ROOT / "roles" / "schedule" / "files"
RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from turnout_scheduled.cli import main; "
    "sys.exit(main(sys.argv[1:]))"
)


def test_without_a_controller_it_is_refused_with_the_way_out(turnout: Turnout) -> None:
    run = turnout.playbook("schedule")
    assert run.rc != 0
    for word in ("schedule-controller", "no host is in the group controller", "ansible_connection local"):
        assert word in run.out


# --- one at a time ------------------------------------------------------------


class Jobs:
    """Jobs of this machine as the controller, with the lab's edges."""

    def __init__(self, turnout: Turnout, place: Path) -> None:
        self.turnout, self.place = turnout, place
        (place / "jobs").mkdir()

    def lay(self, name: str, script: str, **more: Any) -> None:
        job = {
            "name": name, "command": ["/bin/sh", "-c", script], "state_folder": str(self.place / name),
            "directory": str(ROOT), "lock": "required", "ansible": str(BIN / "ansible"),
            "inventory": "inventories/lab", "beat_s": 2, "wait_s": 400, **more,
        }  # fmt: skip
        (self.place / "jobs" / f"{name}.json").write_text(json.dumps(job))

    def start(self, name: str) -> subprocess.Popen[str]:
        env = {**os.environ, **self.turnout.env(), "TURNOUT_SCHEDULE": str(self.place / "jobs")}
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(FILES), name], env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def log(self, name: str) -> str:
        return "".join(path.read_text() for path in sorted((self.place / name / "log").iterdir()))


def test_a_job_whose_lock_is_taken_away_is_ended_with_the_reason(turnout: Turnout, tmp_path: Path) -> None:
    jobs = Jobs(turnout, tmp_path)
    jobs.lay("drill", f"trap 'echo cleaned up; exit 3' TERM; touch {tmp_path}/began; while :; do sleep 0.1; done")
    process = jobs.start("drill")
    deadline = time.monotonic() + 120
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for name in EDGES:
        turnout.ssh(name, "turnout-edge lock break --reason incident")
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "the lock is not held by run" in said
    assert "incident" in said
    assert "cleaned up" in jobs.log("drill")


def test_a_job_that_cannot_have_the_lock_in_time_is_refused_with_who_holds_it(turnout: Turnout, tmp_path: Path) -> None:
    jobs = Jobs(turnout, tmp_path)
    jobs.lay("drill", f"touch {tmp_path}/ran", wait_s=1)
    for name in EDGES:
        turnout.ssh(name, "turnout-edge lock take --run other --owner ann@laptop --purpose deploy --ttl-s 300")
    try:
        process = jobs.start("drill")
        said = process.communicate(timeout=120)[0]
    finally:
        for name in EDGES:
            turnout.ssh(name, "turnout-edge lock release --run other")
    assert process.returncode == 75
    assert "held by run other (deploy, ann@laptop" in said
    assert not (tmp_path / "ran").exists()
