"""An upgrade: released by the wheel of an older Turnout, brought up, rolled back and released again by today's.

Both wheels are built from the history, and each is installed into an empty environment of its own. The hosts are those
of the test of the installed wheel: machines of a lab beside the others, that nobody has set up. Under load, from the
moment that 1.1.0 is in service: a run of the new before the hosts have its programs (which says so, and names the
command), the upgrade, the way back to what the old had laid, and a release by the new. No request is lost.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SHORT_ANSWERS
from harness import ROOT, Load

sys.path.insert(0, str(Path(__file__).parent))

from test_9_installed import HISTORY_S, HOSTS, Team, install, run, team

OLD = "v0.2.0"  # the tag to upgrade from
OLD_VERSION = OLD.removeprefix("v")

__all__ = ["team"]  # the fixture: the team with today's wheel


def wheel_of(commit: str, place: Path) -> Path:
    """Build the wheel of a commit from its files alone; end the test in plain words where the history lacks it."""
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"],
        capture_output=True,
        check=False,
    )
    if found.returncode:
        pytest.fail(
            f"observed: the history of this clone has no {commit}; expected: the release that the test upgrades from; "
            f"to mend: git fetch --tags (and --unshallow), or git tag {commit} COMMIT",
            pytrace=False,
        )
    source, out = place / f"source-{commit}", place / f"wheel-{commit}"
    archive = place / f"{commit}.tar"
    run(["git", "-C", ROOT, "archive", "--format=tar", f"--output={archive}", commit])
    with tarfile.open(archive) as files:
        files.extractall(source, filter="tar")
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out], cwd=source)
    shutil.rmtree(source)
    (wheel,) = out.glob("turnout-*.whl")
    return wheel


@pytest.fixture
def upgrade(team: Team, tmp_path: Path) -> Iterator[tuple[Team, Path, Path]]:
    """Return the team with the environments of the old and of the new Turnout."""
    new, old = team.venv, tmp_path / "venv-old"
    print("the old one installed by:", install(wheel_of(OLD, tmp_path), old))
    yield team, old, new


def go_by(team: Team, venv: Path) -> None:
    """Type commands of this environment from now on."""
    team.env["PATH"] = team.env["PATH"].replace(f"{team.venv}/bin:", f"{venv}/bin:", 1)
    team.venv = venv


def name_the_workers(team: Team) -> None:
    """Write what the refusal of today's Turnout says, as a person does."""

    def named(content: dict[str, Any]) -> None:
        content["service"]["workers"] = {"jobs": content["service"].pop("worker")}

    refused = subprocess.run(
        [team.venv / "bin/ansible-playbook", "turnout.ops.check"],
        cwd=team.ops, env=team.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode and "workers: {jobs: {command: bin/worker" in " ".join(refused.stdout.split())
    team.change("service.yml", named)


def units_of_workers(team: Team) -> set[str]:
    """Return the units of workers that run on any host, without their color."""
    words = "systemctl list-units --no-legend --plain --state=active 'sample-worker*'"
    lines = [line for host in HOSTS["worker"] for line in team.machines.ssh(host, words).splitlines()]
    return {line.split()[0].partition("@")[0] for line in lines if line}


def test_both_wheels_are_of_their_versions(tmp_path: Path) -> None:
    """What can be seen without a host."""
    today = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    old = wheel_of(OLD, tmp_path)
    assert old.name.startswith(f"turnout-{OLD_VERSION}-")
    assert today != OLD_VERSION, "galaxy.yml has the version of the tag: nothing is upgraded"


def test_an_upgrade_under_load_loses_nothing_and_the_way_back_leads_to_what_the_old_had_laid(
    upgrade: tuple[Team, Path, Path],
) -> None:
    team, old, new = upgrade
    today = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    go_by(team, old)
    assert OLD_VERSION in team.says("version of the old", "turnout", "--version", folder=team.place)
    team.init()
    team.fill_in()
    team.playbook("check")
    team.publish_all("1.0.0", "1.1.0", "1.2.0")
    team.playbook("site", told="site of the old")
    team.playbook("deploy", "-e", "release=1.0.0", told="deploy 1.0.0 of the old")
    team.playbook("deploy", "-e", "release=1.1.0", "-e", "canary=off", told="deploy 1.1.0 of the old")
    assert team.serves() == {"1.1.0"}

    load = Load(team.machines, 40, 1800, {"new_connections": "0.3", "mix": SHORT_ANSWERS})
    try:
        go_by(team, new)
        assert today in team.says("version of the new", "turnout", "--version", folder=team.place)
        before = team.playbook("status", told="status before the upgrade")
        assert f"of before {today}" in before or OLD_VERSION in before, before
        assert "ansible-playbook turnout.ops.site --tags edge,service_host brings them up" in before, before

        name_the_workers(team)
        team.playbook("site", told="site of the new")
        after = team.playbook("status", told="status after the upgrade")
        assert f"programs    all of Turnout {today}" in after, after
        for edge in HOSTS["edge"]:
            assert today in team.machines.ssh(edge, "turnout-edge --version")

        team.playbook("rollback", told="rollback by the new")
        assert team.serves() == {"1.0.0"}
        assert units_of_workers(team) == {"sample-worker"}
        time.sleep(HISTORY_S)
        team.playbook("deploy", "-e", "release=1.2.0", told="deploy 1.2.0 by the new")
        assert team.serves() == {"1.2.0"}
        assert units_of_workers(team) == {"sample-worker-jobs"}
        again = team.playbook("site", told="site of the new again")
        assert [line for line in again.splitlines() if line.rstrip().endswith("changed")] == []
    finally:
        load.stop()
    assert load.report["failed"] == 0, (load.report["failures"], load.report["samples"])
    assert set(load.report["releases"]) == {"1.0.0", "1.1.0", "1.2.0"}

    for name, seconds in team.figures.items():
        print(f"{name:34} {seconds:7.1f} s")
    print(f"requests {load.report['requests']}, failed {load.report['failed']}")


def test_hosts_without_the_new_programs_are_released_to_and_rolled_back_all_the_same(
    upgrade: tuple[Team, Path, Path],
) -> None:
    """Nobody has to bring hosts up first: it is told, and everything works."""
    team, old, new = upgrade
    go_by(team, old)
    team.init()
    team.fill_in()
    team.publish_all("1.0.0", "1.1.0")
    team.playbook("site", told="site of the old")
    team.playbook("deploy", "-e", "release=1.0.0", told="deploy 1.0.0 of the old")
    load = Load(team.machines, 40, 1800, {"new_connections": "0.3", "mix": SHORT_ANSWERS})
    try:
        go_by(team, new)
        name_the_workers(team)
        told = team.playbook("deploy", "-e", "release=1.1.0", "-e", "canary=off", told="deploy 1.1.0 by the new")
        assert "ansible-playbook turnout.ops.site --tags edge,service_host brings them up" in told, told
        assert team.serves() == {"1.1.0"}
        assert units_of_workers(team) == {"sample-worker-jobs"}
        told = team.playbook("rollback", told="rollback by the new")
        assert "ansible-playbook turnout.ops.site --tags edge,service_host brings them up" in told, told
        assert team.serves() == {"1.0.0"}
        assert units_of_workers(team) == {"sample-worker"}
    finally:
        load.stop()
    assert load.report["failed"] == 0, (load.report["failures"], load.report["samples"])
