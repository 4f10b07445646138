"""A name that was once taken for several things has one meaning."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = [path for folder in ("scripts/turnout", "plugins", "roles") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("name", ["Reader", "Plan", "Fault"])
def test_at_most_one_class_has_this_name(name: str) -> None:
    assert len(FILES) > 200
    found = [
        path.relative_to(ROOT)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    assert len(found) <= 1, found


def test_preflight_means_the_deploys() -> None:
    """One subject: the action, its documentation, and what they call; a drill has prerequisites."""
    found = {path.relative_to(ROOT).as_posix() for path in FILES if path.stem == "preflight"}
    assert found <= {"plugins/action/preflight.py", "plugins/modules/preflight.py", "scripts/turnout/preflight.py"}
