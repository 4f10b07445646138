"""The packs that the sample carries: in every build, right by their declaration, and as long as its routes."""

from __future__ import annotations

import re
from pathlib import Path

import build
from turnout.acceptance.load import load

SERVICE = Path(__file__).resolve().parents[3] / "examples" / "sample_service"
OF_TESTS = {"GET /api/slow/", "GET /api/stream/", "POST /api/echo/", "GET /metrics"}


def test_a_build_carries_its_packs_and_its_document(tmp_path: Path) -> None:
    build.build("1.1.0", [], tmp_path / "out")
    questions = load(tmp_path / "out")
    assert questions is not None
    assert questions.declared.packs == ("contract", "compatible", "access")


def test_the_document_has_every_route_but_those_that_exercise_an_edge() -> None:
    questions = load(SERVICE)
    assert questions is not None
    text = (SERVICE / "lib/sample/api.py").read_text()
    routes = {f"{method.upper()} {path}" for method, path in re.findall(r'web\.(get|post)\("([^"]+)"', text)}
    assert len(routes) > len(OF_TESTS)
    assert {one.name for one in questions.document.operations} == routes - OF_TESTS
    assert set(questions.declared.routes) == routes - OF_TESTS
