"""The Python environment that `make setup` makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["ansible.cli.console", "botocore.signers", "pydantic.mypy"])
def test_packages_are_compiled_when_they_are_installed(name: str) -> None:
    """Else a process that may write no bytecode (PYTHONDONTWRITEBYTECODE) compiles all that it imports, each time."""
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    assert Path(importlib.util.cache_from_source(found.origin)).exists()
