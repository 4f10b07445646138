"""A drill's API and worker find their directories, empty, below the drill's own state."""

from __future__ import annotations

import getpass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from turnout_drill import service


def test_directories_are_empty_ones_of_the_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(service, "transient", lambda _, __, properties, ___: begun.append(properties))
    monkeypatch.setattr(service.os, "makedirs", lambda *_, **__: None)  # /var/lib/shop on this host
    place: Any = SimpleNamespace(folder=tmp_path, write=lambda *_: None, hold=lambda *_: None, unit=lambda name: name)
    isolation: Any = SimpleNamespace(path="/run/netns/x")
    seen = {"source": "/var/lib/shop/public/uploads", "seen": "/opt/shop/releases/1/public/uploads"}
    index = {"source": "/var/lib/shop/index", "seen": "/var/lib/shop/index"}
    plan = {
        "name": "shop", "user": getpass.getuser(), "environment": "", "directories": [seen, index],
        "layout": {"root": "", "folder": "/opt/shop/releases/1", "environment": {}, "properties": {}},
        "api": {"argv": ["/bin/api"], "variables": {}}, "workers": {},
    }  # fmt: skip
    drilled = service.Service(place, isolation, SimpleNamespace(binds=[]), plan, {})  # type: ignore[arg-type]
    drilled.prepare()
    drilled.start("api")
    assert list((tmp_path / "state/public/uploads").iterdir()) == []
    assert (tmp_path / "state/index").is_dir()
    assert begun[0]["BindPaths"] == [
        f"{tmp_path}/state:/var/lib/shop",
        f"{tmp_path}/state/public/uploads:/opt/shop/releases/1/public/uploads",
    ]
