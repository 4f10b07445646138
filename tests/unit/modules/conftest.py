"""Load modules that Ansible copies to hosts: files beside their roles, not parts of a package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    """Return a function that loads `roles/<role>/library/<name>.py`."""

    def _load(path: str) -> ModuleType:
        file = ROOT / "roles" / path
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
        return module

    return _load
