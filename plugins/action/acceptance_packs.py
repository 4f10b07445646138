"""Find what a release is asked, on the controller, before anything is restored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from turnout.acceptance.packs import Carrier, find
from turnout.controller_action import ControllerAction


class ActionModule(ControllerAction):
    """Take the packs out of the artifact, check them, and say which of them can be asked."""

    spec: ClassVar = {
        "candidate": {"type": "dict", "required": True},
        "stable": {"type": "dict"},
        "folder": {"type": "path"},
        "packs": {"type": "path"},
        "stable_document": {"type": "path"},
    }

    def perform(self, params):
        """Return what is declared, where it lies, and what is told of it."""
        given = {name: Path(params[name]) if params[name] else None for name in ("packs", "stable_document")}
        candidate = _carrier(params["candidate"])
        stable = _carrier(params["stable"]) if params["stable"] else None
        with tempfile.TemporaryDirectory(prefix="turnout-acceptance-") as scratch:
            folder = Path(params["folder"] or scratch)
            return find(candidate, stable, folder, **given).as_dict()


def _carrier(value):
    return Carrier(Path(value["artifact"]), str(value["kind"]), str(value["version"]))
