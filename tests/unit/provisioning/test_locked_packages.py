"""Everything that set-up fetches from a package index is pinned with its hash, what builds Turnout itself included."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
LOCKS = ["requirements.lock", "scripts/bootstrap.lock", "scripts/build.lock"]
SETUP = (PROJECT / "scripts" / "setup.sh").read_text()


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """Return the packages of a lock: version, and how many hashes it has."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", (PROJECT / lock).read_text().strip())
    found = {}
    for entry in entries:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ;\\]+)", entry)
        assert match, f"{lock}: {entry.splitlines()[0]} is no exact version"
        found[match[1].lower().replace("_", "-")] = (match[2], entry.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_version_and_hashes(lock: str) -> None:
    packages = pinned(lock)
    assert packages
    assert [name for name, (_, hashes) in packages.items() if not hashes] == []


def test_what_builds_turnout_is_in_the_lock_in_the_version_that_it_asks_for() -> None:
    asked = tomllib.loads((PROJECT / "pyproject.toml").read_text())["build-system"]["requires"]
    locked = pinned("scripts/build.lock")
    assert asked
    for requirement in asked:
        name, separator, version = requirement.partition("==")
        assert separator, f"{requirement} would fetch whatever is newest"
        assert locked[name][0] == version
    assert "editables" in locked, "an editable installation needs it"


def test_both_locks_of_the_environment_agree() -> None:
    environment, build = pinned("requirements.lock"), pinned("scripts/build.lock")
    assert {name: build[name][0] for name in build.keys() & environment.keys()} == {
        name: environment[name][0] for name in build.keys() & environment.keys()
    }


def test_set_up_installs_nothing_without_hashes() -> None:
    commands = re.findall(r"pip install(?:[^\n]*\\\n)*[^\n]*", SETUP)
    assert len(commands) >= 5
    for command in commands:
        if "--editable" in command:
            assert "--no-build-isolation" in command
            assert "--no-deps" in command
        else:
            assert "--require-hashes" in command


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    name, (version, _) = next(iter(pinned("scripts/build.lock").items()))
    entry = next(
        part for part in re.split(r"\n(?=[a-z])", (PROJECT / "scripts/build.lock").read_text()) if part.startswith(name)
    )
    wrong = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", entry)
    assert wrong != entry
    results = {}
    for kind, text in (("right", entry), ("wrong", wrong)):
        lock = tmp_path / f"{kind}.lock"
        lock.write_text(text + "\n")
        # From what set-up left in the cache where it can: no download for a test.
        results[kind] = subprocess.run(
            [PROJECT / ".venv/bin/uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock,
             "--target", tmp_path / kind],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert results["right"].returncode == 0, results["right"].stderr
    assert results["wrong"].returncode != 0
    assert "hash" in results["wrong"].stderr.lower(), (name, version, results["wrong"].stderr)
    assert not (tmp_path / "wrong" / name).exists()
