"""The role backup takes a repository that is not encrypted only where somebody says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
CIPHER = {"cipher-type": "aes-256-cbc", "cipher-pass": "of-the-test"}


def checked(tmp_path: Path, *options: dict[str, Any], **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the role's own checks on repositories with these options."""
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.import_role": {"name": "backup", "tasks_from": "checks"}}],
            "vars": {
                "service": {"name": "shop"},
                "backup_repositories": [{"options": {"type": "s3", **one}} for one in options],
                **variables,
            },
        }
    ]
    book = tmp_path / "play.yml"
    book.write_text(json.dumps(play))
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", book],
        cwd=PROJECT, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
             "ANSIBLE_ROLES_PATH": str(PROJECT / "roles"), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"cipher-type": "none"}, {"cipher-type": "aes-256-cbc"}, {"cipher-type": "aes-256-cbc", "cipher-pass": ""}],
)
def test_a_repository_that_is_not_encrypted_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    done = checked(tmp_path, CIPHER, options)
    assert done.returncode != 0
    assert "error[backup-unencrypted]" in done.stdout
    assert "in its 2 (counted" in " ".join(done.stdout.split()), "it says which one"
    assert "of-the-test" not in done.stdout


def test_encrypted_repositories_and_a_reason_are_taken(tmp_path: Path) -> None:
    assert checked(tmp_path, CIPHER, CIPHER).returncode == 0
    assert checked(tmp_path, CIPHER, {}, backup_unencrypted="the disk is encrypted, and ours").returncode == 0
    assert checked(tmp_path, {}, backup_unencrypted="  ").returncode != 0, "blanks are no reason"
