"""One install: the wheel carries the package and the collection, under one version, and needs no checkout."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from turnout.inventory_check import KNOWN_GROUPS

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - turnout.ops.probe: {probes: "[]"}
    - ansible.builtin.assert:
        that: told | turnout.ops.answer('stable') == told
      vars:
        told: {stable: blue}
    - turnout.ops.way_back: {edges: {}}
      register: back
      failed_when: back.msg is not search('edge')
"""
OF_CHECKOUTS = ("scripts/turnout/lab", "scripts/turnout/judge/simulation")
PARTS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Return a folder that holds what the wheel installs."""
    place = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)  # noqa: S202 - made a moment ago
    return place


def ansible(installed: Path, folder: Path, *words: str) -> str:
    """Run a command of Ansible in an empty folder, with the installed wheel before anything else."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TURNOUT_"))}
    done = subprocess.run(
        [BIN / words[0], *words[1:]], cwd=folder, env={**env, "PYTHONPATH": str(installed), "HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_git(*parts: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z", *parts], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_package_collection_and_wheel_have_one_version(wheel: Path) -> None:
    assert wheel.name.split("-")[:2] == ["turnout", GALAXY["version"]]
    assert importlib.metadata.version("turnout") == GALAXY["version"], "to mend: make setup"


def test_the_wheel_holds_the_whole_collection_and_the_whole_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = "ansible_collections/turnout/ops/"
    assert {name.removeprefix(inside) for name in names if name.startswith(inside)} == of_git(*PARTS)
    of_checkouts = of_git(*OF_CHECKOUTS)
    assert len(of_checkouts) > 10
    packed = {f"scripts/{name}" for name in names if name.startswith("turnout/")}
    pages = {name for name in packed if "/runbook_pages/" in name}
    assert {Path(name).name for name in pages} == {Path(name).name for name in of_git("docs/runbooks")}
    assert packed - pages == of_git("scripts/turnout") - of_checkouts


def test_what_serves_development_alone_is_no_part_of_what_a_controller_installs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        needed = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist: ")]
    assert any(line.startswith("Requires-Dist: ansible-core") for line in needed)
    assert not [line for line in needed if line.startswith("Requires-Dist: numpy")]


def test_commands_are_there_where_their_package_is(installed: Path, tmp_path: Path) -> None:
    asked = (("--help",), ("judge", "--help"))
    of_wheel = [ansible(installed, tmp_path, "turnout", *words) for words in asked]
    of_checkout = [ansible(ROOT / "scripts", tmp_path, "turnout", *words) for words in asked]
    for command, wheels, checkouts in zip(("  lab ", "  simulate "), of_wheel, of_checkout, strict=True):
        assert command not in wheels
        assert command in checkouts
    assert "  replay " in of_wheel[1]


def test_every_playbook_is_found_in_the_installed_wheel_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    assert "deploy" in names
    (tmp_path / "hosts").write_text("".join(f"[{group}]\n{group}1\n" for group in KNOWN_GROUPS))
    playbooks = [f"turnout.ops.{name}" for name in names]
    said = ansible(installed, tmp_path, "ansible-playbook", "--syntax-check", "-i", str(tmp_path / "hosts"), *playbooks)
    found = [line.removeprefix("playbook: ") for line in said.splitlines() if line.startswith("playbook: ")]
    assert found == [f"{installed}/ansible_collections/turnout/ops/playbooks/{name}.yml" for name in names]


def test_roles_modules_and_what_modules_share_are_the_installed_ones(installed: Path, tmp_path: Path) -> None:
    """A role of the wheel with an action, filters and a module of the wheel, run on this machine."""
    (tmp_path / "play.yml").write_text(PLAY)
    said = ansible(installed, tmp_path, "ansible-playbook", "-vvv", "-i", "localhost,", "-c", "local",
                   "-e", f"ansible_python_interpreter={sys.executable}", "play.yml")  # fmt: skip
    assert f"Using module file {installed}/ansible_collections/turnout/ops/plugins/modules/probe.py" in said
    assert "failed=0" in said


def test_the_collection_can_be_built_by_itself(tmp_path: Path) -> None:
    command = [BIN / "ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with tarfile.open(tmp_path / f"turnout-ops-{GALAXY['version']}.tar.gz") as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    assert of_git("meta", "playbooks", "plugins", "roles") <= names
    own = {"MANIFEST.json", "FILES.json", "README.md", "LICENSE", "CHANGELOG.md"}
    assert {name for name in names if "/" not in name} == own
    assert {name.partition("/")[0] for name in names - own} == {"meta", "playbooks", "plugins", "roles"}
