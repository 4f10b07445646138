"""The judge knows SLOs, and SLOs know nothing of the judge."""

from __future__ import annotations

import ast
from pathlib import Path

SLO = Path(__file__).resolve().parents[3] / "scripts/turnout/slo"


def test_no_module_of_slo_imports_the_judge() -> None:
    files = sorted(SLO.glob("*.py"))
    assert len(files) > 5
    for file in files:
        tree = ast.parse(file.read_text())
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in names if name.startswith("turnout.judge")], file.name
