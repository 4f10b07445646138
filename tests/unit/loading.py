"""Programs of the tests that are no modules, loaded to be tested themselves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]


def load(name: str, path: str) -> ModuleType:
    """Return the program at `path` below tests/ as the module `name`, which dataclasses find in sys.modules."""
    spec = importlib.util.spec_from_file_location(name, TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
