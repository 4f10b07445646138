"""The program of the drill host is no package of the controller: it is found where the role keeps it."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles" / "drill" / "files"))


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for the disk: hundreds of cut overs write to it, and no power is lost here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
