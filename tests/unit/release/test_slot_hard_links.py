"""A hard link in a release leads to a file of the release, or the release is refused.

GNU tar makes none that leads elsewhere, as far as anybody knows; what it laid is looked at nevertheless.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import slot_files, slot_laying


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/data").write_text("x")
    return folder


def test_a_hard_link_to_a_file_outside_is_refused(release: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    outside.chmod(0o600)
    os.link(outside, release / "lib/stolen")
    with pytest.raises(slot_files.SlotError) as refused:
        slot_laying.clean_tree(release)
    assert refused.value.fields["code"] == "artifact-unsafe"
    assert "lib/stolen in the artifact is a hard link to a file outside" in refused.value.message()


def test_one_of_several_names_inside_does_not_hide_one_outside(release: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    os.link(outside, release / "one")
    os.link(outside, release / "lib/two")
    with pytest.raises(slot_files.SlotError):
        slot_laying.clean_tree(release)


def test_hard_links_between_files_of_the_release_stay(release: Path) -> None:
    os.link(release / "lib/data", release / "again")
    slot_laying.clean_tree(release)
    assert (release / "again").samefile(release / "lib/data")


def test_a_file_outside_keeps_its_mode(release: Path, tmp_path: Path) -> None:
    """What is refused must not have been changed on the way."""
    outside = tmp_path / "outside"
    outside.write_text("precious")
    outside.chmod(0o600)
    os.link(outside, release / "stolen")
    with pytest.raises(slot_files.SlotError):
        slot_laying.clean_tree(release)
    assert outside.stat().st_mode & 0o777 == 0o600
