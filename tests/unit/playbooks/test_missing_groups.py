"""A playbook whose host is not in the inventory says so, and never ends as if it had done its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SERVICE = {
    "name": "shop",
    "releases": {"source": "releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
}


def played(folder: Path, name: str, groups: list[str], **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a playbook with an inventory of one host, which nobody reaches, in `groups`."""
    host = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_user": "nobody"}
    children = {group: {"hosts": {"one": {}}} for group in groups}
    content = {"all": {"hosts": {"one": host}, "children": children, "vars": {"service": SERVICE, **variables}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(content))
    words = [Path(sys.executable).parent / "ansible-playbook", f"playbooks/{name}.yml", "-i", folder / "hosts.yml"]
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        [*map(str, words), "-e", "release=1.0.0"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "code", "remedy"),
    [
        ("backup", "backup-host", "group postgres"),
        ("restore", "restore-host", "-e restore_host=NAME"),
        ("restore_redis", "restore-redis-host", "group redis"),
        ("restore_drill", "drill-host", "group drill"),
        ("migration_check", "migration-check-host", "-e migration_check_host=NAME"),
    ],
)
def test_without_its_host_a_playbook_says_what_is_missing(tmp_path: Path, name: str, code: str, remedy: str) -> None:
    done = played(tmp_path, name, ["edge", "api"])
    assert done.returncode != 0
    told = done.stdout[done.stdout.rfind("First cause") :]
    assert f"error[{code}]" in told, done.stdout + done.stderr
    assert remedy in told
    assert str(tmp_path / "hosts.yml") in told
    assert "Traceback" not in done.stdout + done.stderr


def test_a_backup_without_a_repository_is_no_backup(tmp_path: Path) -> None:
    done = played(tmp_path, "backup", ["edge", "api", "postgres"])
    assert done.returncode != 0
    told = done.stdout[done.stdout.rfind("First cause") :]
    assert "error[backup-repositories]" in told, done.stdout + done.stderr
    assert "backup_repositories" in told


@pytest.mark.parametrize(
    ("groups", "code", "remedy"),
    [(["api"], "rotate-edge", "group edge"), (["edge", "api"], "rotate-file", "rotated.yml")],
)
def test_a_rotation_without_edges_or_a_file_of_logins_says_what_is_missing(
    tmp_path: Path, groups: list[str], code: str, remedy: str
) -> None:
    done = played(tmp_path, "rotate", groups)
    assert done.returncode != 0
    told = done.stdout[done.stdout.rfind("First cause") :]
    assert f"error[{code}]" in told, done.stdout + done.stderr
    assert remedy in told
    assert "Traceback" not in done.stdout + done.stderr
