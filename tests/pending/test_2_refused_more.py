"""Releases that must not happen: each ends with a reason and an exit code, nothing changed and no request failed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, Turnout
from test_2_refused import refused

SERVICE_FILE = ROOT / "inventories" / "lab" / "group_vars" / "all" / "service.yml"


def test_unreachable_host(untouched: Turnout) -> None:
    untouched.ssh("app2", "systemctl stop ssh.socket ssh.service; pkill -f 'sshd: root' || true", check=False)
    try:
        refused(untouched.deploy("1.1.0"), "app2", "could not be reached")
    finally:
        subprocess.run(["podman", "exec", f"{untouched.lab.name}-app2", "systemctl", "start", "ssh"], check=True)


# --- what the candidate itself does wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "fault", "words"),
    [
        ("3.0.1", "crash-at-start", ["app1", "health"]),
        ("3.0.2", "never-healthy", ["/api/health/", "503"]),
        ("3.0.3", "unhealthy-on=app2", ["app2", "/api/health/"]),
        ("3.0.4", "failing-migration", ["bin/migrate up"]),
        ("3.0.5", "incompatible-migration", ["contract", "1.0.0"]),
        ("3.0.6", "bad-smoke", ["/api/tasks/"]),
    ],
)
def test_a_candidate_with_a_fault(untouched: Turnout, version: str, fault: str, words: list[str]) -> None:
    untouched.publish(version, fault)
    refused(untouched.deploy(version), *words)


def test_a_candidate_that_answers_5xx_is_taken_out_again(on_1_0_0: Turnout) -> None:
    """Its own share of the users may see its errors, until the guard goes back; nobody else may."""
    on_1_0_0.publish("3.0.7", "5xx=0.5", armed=True)
    on_1_0_0.ssh("data1", "true")
    redis = "redis-cli --no-auth-warning -a \"$(grep -hoP '^requirepass \\K.*' -r /etc/redis/ | tail -1)\""
    on_1_0_0.ssh("data1", f"{redis} set sample:armed:3.0.7 1")
    with on_1_0_0.load(rate=60) as load:
        run = on_1_0_0.deploy("3.0.7")
    refused(run, "5xx", "went back at once")
    assert on_1_0_0.in_service() == "1.0.0"
    report = load.report
    assert {release for release, seen in report["releases"].items() if seen["failed"]} <= {"3.0.7"}, report
    assert report["failed"] == sum(seen["failed"] for seen in report["releases"].values()), "a request had no answer"


# --- other people ----------------------------------------------------------------------------------------------------


def test_two_deploys_at_once(on_1_0_0: Turnout) -> None:
    first, second = on_1_0_0.start("deploy", "-e", "release=1.1.0"), on_1_0_0.start("deploy", "-e", "release=1.1.0")
    outs = [first.communicate(timeout=280)[0], second.communicate(timeout=280)[0]]
    codes = [first.returncode, second.returncode]
    assert sorted(code == 0 for code in codes) == [False, True], outs
    loser = outs[0] if codes[0] else outs[1]
    assert "the lock is held" in loser or "lock" in loser[loser.rfind("First cause") :]
    assert on_1_0_0.in_service() == "1.1.0"


def test_deploy_while_the_locks_holder_is_dead(untouched: Turnout) -> None:
    for edge in ("edge1", "edge2"):
        untouched.ssh(edge, "turnout-edge lock take --run dead --owner ann@laptop --purpose deploy --ttl-s 600")
    try:
        refused(untouched.deploy("1.1.0"), "ann@laptop", "unlock.yml")
        run = untouched.playbook("unlock")
        assert run.rc != 0, "a fresh lock must not be given away without a word"
    finally:
        run = untouched.playbook("unlock", "-e", "break_glass=its holder is gone")
    assert run.rc == 0, run.tail


def test_an_abandoned_lock_is_taken_over(on_1_0_0: Turnout) -> None:
    for edge in ("edge1", "edge2"):
        on_1_0_0.ssh(edge, "turnout-edge lock take --run dead --owner ann@laptop --purpose deploy --ttl-s 1")
    on_1_0_0.ssh("edge1", "sleep 1.5")
    run = on_1_0_0.deploy("1.1.0")
    assert run.rc == 0, run.tail
    assert "ann@laptop" in run.out


def test_the_store_can_be_removed(turnout: Turnout) -> None:
    """What was laid needs no store: the same release again is nothing to do, and a rollback asks nobody."""
    turnout.ensure("1.1.0")
    moved = Path(turnout.source).with_suffix(".away")
    shutil.move(turnout.source, moved)
    try:
        run = turnout.rollback()
        assert run.rc == 0, run.tail
    finally:
        shutil.move(moved, turnout.source)
