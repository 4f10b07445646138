"""Runs that are cut off: by Ctrl-C in each phase, and by a killed controller. Then the same command again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import SHORT_ANSWERS
from harness import Turnout, until

PHASES = range(1, 8)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_in_each_phase_puts_everything_back(untouched: Turnout, phase: int) -> None:
    """Each run begins on what the one before left behind, and gets one phase further."""
    process = untouched.start("deploy", "-e", "release=1.1.0")
    seen = until(process, f"  {phase}/7 ")
    time.sleep(0.7)
    untouched.kill(process, signal.SIGINT)
    seen += process.communicate(timeout=200)[0]
    assert process.returncode not in (0, None), seen
    assert "Traceback" not in seen
    assert "interrupted" in seen


def test_after_all_of_that_the_same_command_releases_over_an_abandoned_lock(turnout: Turnout) -> None:
    for edge in ("edge1", "edge2"):
        turnout.ssh(edge, "turnout-edge lock take --run dead --owner ann@laptop --purpose deploy --ttl-s 1")
    time.sleep(1.5)
    run = turnout.deploy("1.1.0")
    assert run.rc == 0, run.tail
    assert "ann@laptop" in run.out
    assert turnout.in_service() == "1.1.0"


def test_a_killed_controller_takes_nothing_with_it(untouched: Turnout) -> None:
    """SIGKILL of the whole playbook, in the middle of the shift: the keeper puts everything back."""
    process = untouched.start("deploy", "-e", "release=1.1.0")
    until(process, "has 5 % of the traffic")
    untouched.kill(process, signal.SIGKILL)
    process.wait(timeout=10)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and untouched.edge("edge1")["lock"]["held"]:
        time.sleep(1)


def test_a_dead_controller_machine_ends_in_the_old_version(turnout: Turnout) -> None:
    """Playbook and keeper both gone, as when the machine under them dies: the edges' own leases go back."""
    turnout.ensure("1.0.0")
    with turnout.load(rate=30, mix=SHORT_ANSWERS) as load:
        process = turnout.start("deploy", "-e", "release=1.1.0")
        seen = until(process, "has 5 % of the traffic")
        subprocess.run(["pkill", "-KILL", "-f", "turnout.keeper .*" + run_of(seen)], check=True)
        turnout.kill(process, signal.SIGKILL)
        process.wait(timeout=10)
        deadline = time.monotonic() + 11 + 5
        while time.monotonic() < deadline and any(turnout.edge(edge)["share_bp"] for edge in ("edge1", "edge2")):
            time.sleep(0.5)
        assert {turnout.edge(edge)["share_bp"] for edge in ("edge1", "edge2")} == {0}
    assert load.report["failed"] == 0, load.report
    refused = turnout.deploy("1.1.0")
    assert refused.rc != 0
    assert "turnout.ops.rollback" in refused.out
    unfinished = next(line for line in turnout.playbook("status").out.splitlines() if "unfinished" in line)
    assert run_of(seen) in unfinished, unfinished
    run = turnout.rollback()
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.0.0"


def test_a_run_that_died_can_be_resumed_by_a_word(on_1_0_0: Turnout) -> None:
    """It died once edge1 alone knew the candidate. Without the word both ways out are told."""
    color = {"blue": "green", "green": "blue"}[on_1_0_0.edge("edge1")["stable"]]
    manifest = yaml.safe_load((Path(on_1_0_0.source) / "sample-1.1.0.release.yml").read_text())
    record = {
        "release": "1.1.0",
        "release_id": f"1.1.0-{manifest['artifact']['sha256'][:12]}",
        "sha256": manifest["artifact"]["sha256"],
        "schema": manifest["schema"],
        "complete": True,
    }
    say = "turnout-edge --run died --actor ann"
    on_1_0_0.ssh("edge1", f"{say} lock take --ttl-s 1 --purpose deploy --owner ann@laptop")
    on_1_0_0.ssh("edge1", f"{say} prepare --color {color} --release '{json.dumps(record)}'")
    time.sleep(1.5)
    refused = on_1_0_0.deploy("1.1.0")
    assert refused.rc != 0
    assert "-e resume=true" in refused.out, refused.tail
    assert "turnout.ops.rollback" in refused.out
    run = on_1_0_0.deploy("1.1.0", "-e", "resume=true")
    assert run.rc == 0, run.tail
    assert on_1_0_0.in_service() == "1.1.0"


def run_of(seen: str) -> str:
    """Return the id of the run whose output this is."""
    for line in seen.splitlines():
        if "start deploy of run " in line:
            return line.rpartition("of run ")[2].strip()
    raise AssertionError(seen)
