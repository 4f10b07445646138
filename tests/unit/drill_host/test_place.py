"""What the reaper removes: what is dead, what is over its time, and nothing that somebody keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from turnout_drill import place

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
