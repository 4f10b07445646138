"""Load modules that Ansible copies to hosts, each time anew: tests change what they find at their top."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    """Return a function that loads the module of this name."""

    def _load(name: str) -> ModuleType:
        full = f"ansible_collections.turnout.ops.plugins.modules.{name}"
        sys.modules.pop(full, None)
        return importlib.import_module(full)

    return _load
