"""What the reaper removes: what is dead, what is over its time, and nothing that somebody keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from turnout_drill import cli, place
from turnout_drill.errors import BrokenOff

NOW = 1_000_000.0


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of restores of which those called `running…` have a unit that runs."""
    monkeypatch.setattr(place, "unit_active", lambda unit: unit.startswith("turnout-drill-running"))
    monkeypatch.setattr(place, "systemctl", lambda *_: None)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "state", "stays"),
    [
        ("running", {"deadline": NOW + 1}, True),
        ("running-over", {"deadline": NOW - 1}, False),
        ("dead", {"deadline": NOW + 1}, False),
        ("dead-unknown", {}, False),
        ("kept", {"kept": True}, True),
        ("kept-a-while", {"kept": True, "deadline": NOW + 1}, True),
        ("kept-over", {"kept": True, "deadline": NOW - 1}, False),
    ],
)
def test_what_the_reaper_removes(base: Path, name: str, state: dict[str, object], stays: bool) -> None:
    folder = base / name
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps(state))
    assert place.reap(str(base), NOW) == ([] if stays else [name])
    assert folder.exists() is stays


@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (29, True), (31, False)])
def test_a_copy_whose_time_is_over_stays_while_somebody_holds_it(base: Path, age_s: float, stays: bool) -> None:
    folder = base / "held"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"kept": True, "deadline": NOW - 600}))
    (folder / "lease").touch()
    os.utime(folder / "lease", (NOW - age_s, NOW - age_s))
    assert place.reap(str(base), NOW) == ([] if stays else ["held"])


def test_the_unit_of_a_kept_restore_ends_and_nothing_of_it_is_stopped(
    base: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restores lie in several folders, and their units are known by name alone."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(cli, "bases", lambda: [str(elsewhere), str(base)])
    monkeypatch.setattr(cli, "RECORDS", base)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(place, "systemctl", lambda *words: asked.append(words))
    (base / "copy").mkdir()
    (base / "copy" / "state.json").write_text(json.dumps({"kept": True}))
    monkeypatch.setenv("INVOCATION_ID", "systemd sets it")
    assert cli.remove("copy") == 0
    assert asked == []
    monkeypatch.delenv("INVOCATION_ID")
    cli.remove("copy")
    assert asked
    assert not (base / "copy").exists()


def test_what_is_written_down_of_a_place_says_its_format(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = place.Place(str(base), "kept")
    one.folder.mkdir()
    monkeypatch.setattr(one, "write", lambda name, text, mode: written(one.folder / name, text))
    one.say({"kept": True})
    assert json.loads((one.folder / "state.json").read_text()) == {"kept": True, "format": 1}
    one.refuse_newer()


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("number", [2, 99, "x", None])
def test_a_restore_that_a_newer_program_kept_stays_and_is_not_cut_over_to(base: Path, number: object) -> None:
    folder = base / "kept"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"kept": True, "format": number}))
    assert place.reap(str(base), NOW) == []
    with pytest.raises(BrokenOff) as refused:
        place.Place(str(base), "kept").refuse_newer()
    assert f"is of format {number}" in refused.value.cause
    assert "turnout.ops.site --tags drill" in refused.value.cause


@pytest.mark.parametrize("text", ["[]", "7", "null", "{", '"kept"'])
def test_a_state_that_is_no_object_counts_as_none(base: Path, text: str) -> None:
    (base / "odd").mkdir()
    (base / "odd" / "state.json").write_text(text)
    assert place.Place(str(base), "odd").state() == {}
