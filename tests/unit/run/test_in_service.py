"""Which color is in service: what all edges that answer say, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from turnout.errors import TurnoutError
from turnout.in_service import color_in_service


def edge(color: str | None = "blue", release: str = "1.0.0-a", candidate: str | None = None) -> dict[str, Any]:
    return {"stable": color, "candidate": candidate, "releases": {"blue": {"release_id": release}, "green": None}}


def test_the_color_that_every_edge_confirms_is_in_service_also_while_a_release_moves_traffic() -> None:
    assert color_in_service({"edge1": edge(), "edge2": edge(candidate="green")}) == ("blue", "1.0.0-a")


def test_an_edge_that_does_not_answer_counts_for_nothing() -> None:
    assert color_in_service({"edge1": None, "edge2": edge()}) == ("blue", "1.0.0-a")


@pytest.mark.parametrize(
    ("edges", "code"),
    [
        ({}, "run-edges"),
        ({"edge1": None}, "run-edges"),
        ({"edge1": edge(), "edge2": edge(release="1.1.0-b")}, "run-edges"),
        ({"edge1": edge(None)}, "run-nothing"),
        ({"edge1": edge("green")}, "run-nothing"),
    ],
)
def test_nothing_is_guessed(edges: dict[str, Any], code: str) -> None:
    with pytest.raises(TurnoutError) as refused:
        color_in_service(edges)
    assert refused.value.code == code
