"""Installed, not forked: the wheel in an empty environment, `turnout init` in an empty folder, a whole first day.

A lab beside the others, with hosts that nobody set up, stands for the team's machines; the sample for its application.
Every command is the installed one: the clone that the wheel is built from is gone before the first of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SHORT_ANSWERS
from harness import BIN, ROOT, SAMPLE, Load, Turnout
from turnout.lab.topology import Lab

HOSTS = {
    "edge": ("edge1", "edge2"), "api": ("app1", "app2"), "worker": ("app1", "app2"), "postgres": ("data1",),
    "redis": ("data1",), "monitoring": ("mon1",), "drill": ("mon1",),
}  # fmt: skip
LIMIT_S = 900
INDEX_LIMIT_S = 300
HISTORY_S = 10  # of the release in service, before another is judged beside it


def run(words: Sequence[str | Path], **more: Any) -> str:
    """Run a command to its end; return what it printed, which must be all well."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        **{"timeout": LIMIT_S, **more},
    )  # fmt: skip
    out = done.stdout + done.stderr
    assert done.returncode == 0, f"{words}: {done.returncode}\n{out[-6000:]}"
    assert "Traceback" not in out, out[-6000:]
    return out


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that leads to a checkout or to the lab."""
    return {
        name: value for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "TURNOUT_", "PYTHON", "VIRTUAL_ENV"))
    }  # fmt: skip


def wheel_of_a_clone(place: Path) -> Path:
    """Build the wheel from a fresh clone, and remove the clone."""
    clone = place / "clone"
    run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone])
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", place], cwd=clone)
    shutil.rmtree(clone)
    (wheel,) = place.glob("turnout-*.whl")
    return wheel


def install(wheel: Path, venv: Path) -> str:
    """Install the wheel into an empty environment; return how its dependencies came there.

    By pip alone where an index answers; otherwise what the wheel depends on comes from the environment of the tests.
    """
    run([sys.executable, "-m", "venv", venv])
    env = clean_environment()
    done = subprocess.run(
        [venv / "bin" / "pip", "install", "--quiet", "--retries", "1", wheel], env=env, capture_output=True, text=True,
        check=False, timeout=INDEX_LIMIT_S,
    )  # fmt: skip
    if done.returncode == 0:
        return "pip install"
    run([venv / "bin" / "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], env=env)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    # A path file of a path file is not read: the checkout that is installed there for these tests stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    for program in BIN.glob("ansible*"):
        text = program.read_text()
        (venv / "bin" / program.name).write_text(re.sub(r"\A#!.*", f"#!{venv}/bin/python", text))
        (venv / "bin" / program.name).chmod(0o755)
    return "pip install --no-deps, dependencies by a path file"


class Team:
    """A team with an installed Turnout, an operations repository and machines."""

    def __init__(self, machines: Turnout, place: Path) -> None:
        self.machines, self.place = machines, place
        self.venv, self.ops, self.store = place / "venv", place / "shop-ops", place / "store"
        self.inventory = self.ops / "inventories" / "production"
        self.figures: dict[str, float] = {}
        self.installed_by = install(wheel_of_a_clone(place), self.venv)
        lab = machines.lab
        # What a person has in ~/.ssh.
        ssh = f"-o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes"
        self.env = {
            **clean_environment(), "PATH": f"{self.venv}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "ANSIBLE_PRIVATE_KEY_FILE": str(lab.private_key), "ANSIBLE_SSH_COMMON_ARGS": ssh,
        }  # fmt: skip

    def says(self, name: str, program: str, *words: str | Path, folder: Path | None = None) -> str:
        """Type a command in the repository; its seconds are kept by a name."""
        started = time.monotonic()
        out = run([self.venv / "bin" / program, *words], cwd=folder or self.ops, env=self.env)
        self.figures[name] = round(time.monotonic() - started, 1)
        return out

    def playbook(self, name: str, *words: str, told: str = "") -> str:
        """Run a playbook of the collection."""
        return self.says(told or name, "ansible-playbook", f"turnout.ops.{name}", *words)

    def init(self) -> None:
        """Have the repository written."""
        address, named, words = self.machines.address, set(), []
        for group, hosts in HOSTS.items():
            for host in hosts:
                words += [f"--{group}", host if host in named else f"{host}={address(host)}"]
                named.add(host)
        self.says(
            "init", "turnout", "init", self.ops, "--service", "sample", "--user", "root", *words,
            "--deploy-from", self.machines.lab.gateway, "--api-command", "bin/api", "--health", "/api/health/",
            "--worker-command", "bin/worker", "--scheduler-command", "bin/scheduler", "--migrate-up", "bin/migrate up",
            "--migrate-version", "bin/migrate version", "--releases", str(self.store), folder=self.place,
        )  # fmt: skip

    def change(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a file of variables, as a person does with an editor."""
        path = self.inventory / "group_vars" / "all" / name
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def fill_in(self) -> None:
        """Say what only the team knows: what its application needs, where backups go, that its hosts are small."""
        lab = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/service.yml").read_text())["service"]

        def service(content: dict[str, Any]) -> None:
            own = content["service"]
            own |= {key: lab[key] for key in ("packages", "bucket", "smoke")}
            worker = own["worker"] if "worker" in own else own["workers"]["jobs"]  # what an older Turnout wrote
            worker |= {key: lab["workers"]["jobs"][key] for key in ("quiesce_signal", "resume_signal")}
            # The application's own name for the address of its migrations.
            owner = own["migrate"]["environment"]
            owner["MIGRATE_DATABASE_URL"] = owner.pop("DATABASE_URL")
            own["environment"]["SECRET_KEY"] = "0123456789abcdef" * 2
            own["environment"] |= {"TASK_REMINDER_HOUR": "14", "OVERDUE_REMINDER_HOUR": "9", "DAILY_DIGEST_HOUR": "3"}
            own["judge"] |= {"fastest_window_s": 10, "bake_s": 10, "patience_s": 90, "probes_per_s": 10}

        self.change("service.yml", service)
        small = {"monitoring_scrape_interval": "1s", "postgres_shared_buffers": "64MB"}
        self.change("site.yml", lambda content: content.update(small))
        # The hosts of a lab share one disk, one memory and two processors.
        hosts = {"disk_free_percent": 2, "memory_free_percent": 2, "clock_skew_s": 10}
        self.change("checklist.yml", lambda content: content.update(checklist={"limit_s": 45, "hosts": hosts}))
        s3 = self.machines.s3
        repository = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/backup.yml").read_text())
        repository = repository["backup_repositories"][0]
        repository["options"] |= {"s3-region": s3["region"], "cipher-pass": "{{ vault_backup_cipher_pass }}"}
        for name in ("writer", "reader"):
            identity = s3["identities"][name]
            repository[name] = {"s3-key": identity["access_key"], "s3-key-secret": identity["secret_key"]}
        repository["ca_file"] = s3["ca_file"]
        backups = {"backup_archive_timeout_s": 10, "backup_repositories": [repository]}
        self.change("backup.yml", lambda content: content.update(backups))
        shutil.copytree(ROOT / "inventories/lab/drill_checks", self.inventory / "drill_checks")

    def publish_all(self, *versions: str) -> None:
        """Make the key and the store, and publish these releases."""
        self.says(
            "keygen", "turnout", "release", "keygen", "--key", self.ops / "release.key",
            "--principal", "ci@example.org", "--allowed-signers", self.inventory / "allowed_signers",
        )  # fmt: skip
        self.store.mkdir()
        for version in versions:
            self.publish(version)

    def publish(self, version: str) -> None:
        """Build a release of the team's application, sign it and publish it."""
        source = self.place / "application" / version
        made = json.loads(run([sys.executable, SAMPLE / "build.py", "--version", version, "--out", source]))
        self.as_someone("git", "init", "--quiet", source)
        self.as_someone("git", "-C", source, "add", "--all")
        self.as_someone("git", "-C", source, "commit", "--quiet", "--message", version)
        keys = [word for key in made["environment"] for word in ("--env-key", key)]
        built = self.place / "build"
        self.says(
            "release build", "turnout", "release", "build", source, "--name", "sample", "--version", version,
            "--migrations", "migrations", *keys, "--key", self.ops / "release.key", "--out", built,
        )  # fmt: skip
        manifest = built / f"sample-{version}.release.yml"
        self.says("release publish", "turnout", "release", "publish", manifest, "--to", self.store)

    @staticmethod
    def as_someone(*words: str | Path) -> None:
        """Run git as somebody."""
        names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        run(words, env={**os.environ, **names})

    def serves(self) -> set[str]:
        """Return the versions that answer users on the edges."""
        seen = set()
        for edge in HOSTS["edge"]:
            with urllib.request.urlopen(f"http://{self.machines.address(edge)}/api/health/", timeout=10) as answer:
                seen.add(str(answer.headers["X-Release"]))
        return seen


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """Return a team with machines that nobody has set up; they are removed afterwards."""
    lab = Lab.from_environment()
    parts = lab.subnet.split(".")
    own = replace(
        lab, name=f"{lab.name}-own", subnet=".".join([*parts[:2], str((int(parts[2]) + 1) % 256)]),
        state_dir=lab.state_dir.with_name(f"{lab.name}-own"),
    )  # fmt: skip
    env = {**os.environ, "TURNOUT_LAB": own.name, "TURNOUT_LAB_SUBNET": own.subnet}
    try:
        run([BIN / "turnout", "lab", "up", "--fresh"], env=env)
        machines = Turnout(source=str(tmp_path / "store"), lab=own, work=tmp_path / "work")
        yield Team(machines, tmp_path)
    finally:
        run([BIN / "turnout", "lab", "down"], env=env)


def test_a_wheel_and_init_are_all_that_a_team_needs_from_nothing_to_a_proven_restore(team: Team) -> None:
    where = run(
        [team.venv / "bin" / "python", "-c", "import turnout, sys; print(turnout.__file__, *sys.path, sep='\\n')"],
        cwd=team.place, env=team.env,
    )  # fmt: skip
    assert where.startswith(str(team.venv))
    assert not any(line.startswith(str(ROOT / "scripts")) for line in where.splitlines()), where
    package, collection, *_ = team.says("version", "turnout", "--version", folder=team.place).splitlines()
    assert package == f"turnout {metadata.version('turnout')}"
    assert collection.startswith(f"collection turnout.ops {metadata.version('turnout')} ({team.venv}/")

    team.init()
    own_code = [path for path in team.ops.rglob("*") if path.suffix in (".py", ".j2") or path.name == "playbooks"]
    assert own_code == []
    team.playbook("check", told="check, as written")
    team.fill_in()
    team.playbook("check")
    team.publish_all("1.0.0", "1.1.0")

    team.playbook("site")
    again = team.playbook("site", told="site again")
    assert [line for line in again.splitlines() if line.rstrip().endswith("changed")] == []
    team.playbook("deploy", "-e", "release=1.0.0", told="deploy 1.0.0")
    assert team.serves() == {"1.0.0"}
    load = Load(team.machines, 40, 600, {"new_connections": "0.3", "mix": SHORT_ANSWERS})
    try:
        time.sleep(HISTORY_S)
        judged = team.playbook("deploy", "-e", "release=1.1.0", told="deploy 1.1.0, judged under load")
        assert team.serves() == {"1.1.0"}
        team.playbook("rollback")
        assert team.serves() == {"1.0.0"}
        team.playbook("status")
    finally:
        load.stop()
    assert load.report["failed"] == 0, load.report["failures"]
    assert set(load.report["releases"]) == {"1.0.0", "1.1.0"}
    assert "api-availability" in judged

    team.playbook("backup", "-e", "type=full")
    drilled = team.playbook("restore_drill")
    assert "pass" in drilled

    print(f"\ninstalled by: {team.installed_by}")
    for name, seconds in team.figures.items():
        print(f"{name:34} {seconds:7.1f} s")
    report = load.report
    print(f"requests {report['requests']}, failed {report['failed']}")
