"""`turnout --version` says where package, collection and Ansible's choice of it are not one."""

from __future__ import annotations

from pathlib import Path

import pytest
from turnout.command import versions


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(tmp_path / "collections"))


def test_one_version_is_three_lines() -> None:
    package, collection, core = versions.lines()
    assert collection.split()[2] == package.split()[1]
    assert core.startswith("ansible-core 2.")


def test_a_collection_of_another_version_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "collection", lambda: "0.1.0 (/somewhere)")
    told = versions.lines()
    assert told[1].endswith("0.1.0 (/somewhere)")
    assert told[3].startswith("the collection is not of the package's version; expected:")
    assert "pip install --force-reinstall turnout==" in told[3]


def test_a_copy_that_ansible_takes_first_is_told(tmp_path: Path) -> None:
    place = tmp_path / "collections/ansible_collections/turnout/ops"
    place.mkdir(parents=True)
    assert len(versions.lines()) == 3
    (place / "MANIFEST.json").write_text('{"collection_info": {"version": "0.1.0"}}')
    assert versions.lines()[3] == f"Ansible takes turnout.ops 0.1.0 from {place} before that; to mend: rm -r {place}"
