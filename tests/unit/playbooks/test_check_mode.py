"""`--check` says what would be done, refuses what would be refused, and changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from test_missing_groups import SERVICE
from test_nothing_done import ALL, inventory, is_refused, turnout

REPOSITORIES = [{"options": {"type": "posix"}, "reader": {"x": "y"}}]
SOUND = {**SERVICE, "releases": {"source": "/srv/releases", "allowed_signers": "signers"}}
RECOVERY = {"detect_s": 60, "decide_s": 60, "rpo_s": 60, "rto_s": 60}


def checked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook with --check for hosts that are this machine, seen as who runs the tests."""
    inventory(
        folder, *ALL, backup_repositories=REPOSITORIES, ansible_connection="local", ansible_become=False,
        restore_directory=str(folder / "restores"), restore_redis_directory=str(folder / "restores"), recovery=RECOVERY,
        service=SOUND, postgres_version="17", postgres_passwords={"readonly": "r"}, redis_password="p",
    )  # fmt: skip
    return turnout(folder, *words, "--check")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore"], ["would restore PostgreSQL as of the latest from repository 1", "would leave it beside"]),
        (
            ["restore-redis", "-e", "confirm=shop"],
            [
                "would restore Redis as of the latest from repository 1",
                "would then put what it restored into the place",
            ],
        ),
    ],
)
def test_a_restore_says_what_it_would_restore_to_where(tmp_path: Path, words: list[str], said: list[str]) -> None:
    done = checked(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in [*said, "done (--check: no host was changed)"]:
        assert text in done.stdout, done.stdout
    assert not (tmp_path / "restores").exists()


def test_a_cut_over_to_a_restore_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = checked(tmp_path, "restore", "-e", "restored=gone", "-e", "confirm=shop")
    is_refused(done, "restore-unknown", "no validated restore gone of postgres", "turnout-drill list")


def test_a_cut_over_to_one_that_stayed_beside_says_so(tmp_path: Path) -> None:
    kept = tmp_path / "restores" / "r1"
    kept.mkdir(parents=True)
    (kept / "state.json").write_text('{"kept": true, "validated": true, "store": "postgres"}')
    done = checked(tmp_path, "restore", "-e", "restored=r1", "-e", "confirm=shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would then put r1 into the place of what serves" in done.stdout
    done = checked(tmp_path, "restore-redis", "-e", "restored=r1", "-e", "confirm=shop")
    is_refused(done, "restore-unknown", "of redis")


def test_what_is_asked_for_wrongly_is_refused_with_check_too(tmp_path: Path) -> None:
    is_refused(checked(tmp_path, "restore", "-e", "confirm=other"), "restore-asked")
    is_refused(checked(tmp_path, "deploy"), "release-unnamed")
    is_refused(checked(tmp_path, "drill", "-e", "mode=never"), "drill-asked")
