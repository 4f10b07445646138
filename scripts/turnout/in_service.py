"""Which color is in service, from what all edges said: for what runs in it, beside its own processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout.errors import TurnoutError


def named(record: Mapping[str, Any] | None) -> str:
    """Return a release for a person, `1.4.2 with configuration a1b2c3`, '' for none; one of before has no such name."""
    release, configuration = ((record or {}).get(key) for key in ("release", "configuration"))
    return f"{release} with configuration {configuration}" if release and configuration else str(release or "")


def color_in_service(edges: Mapping[str, Mapping[str, Any] | None]) -> tuple[str, str]:
    """Return the color in service and the id of its release.

    An edge that did not answer (None) counts for nothing, as long as one does. While a release moves traffic, the
    confirmed color is in service. Raises TurnoutError where none answered, they differ, or nothing is in service.
    """
    said = {name: _stable(edge) for name, edge in edges.items() if edge}
    shown = ", ".join(
        f"{name}: {release or 'nothing'} in {color or 'no color'}" for name, (color, release) in said.items()
    )
    if not said:
        raise TurnoutError(
            "run-edges",
            observed=f"no edge answered ({', '.join(edges) or 'the group edge is empty'})",
            expected="an edge that says which color is in service",
            remedy="turnout status; to see why: ansible edge -m ping",
        )
    if len(set(said.values())) > 1:
        raise TurnoutError(
            "run-edges",
            observed=f"the edges differ about what is in service ({shown})",
            expected="one release on every edge",
            remedy="turnout status, then turnout rollback",
        )
    color, release = next(iter(said.values()))
    if not color or not release:
        raise TurnoutError(
            "run-nothing",
            observed=f"no color is in service ({shown})",
            expected="a release that was deployed",
            remedy="turnout deploy VERSION, then the command again",
        )
    return color, release


def _stable(edge: Mapping[str, Any]) -> tuple[str, str]:
    color = str(edge.get("stable") or "")
    record = (edge.get("releases") or {}).get(color) or {}
    return color, str(record.get("release_id") or "")
