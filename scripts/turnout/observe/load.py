"""Read declarations: the built-in one, and a team's own beside it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, nearest
from turnout.keys import read
from turnout.observe.declared import Alert, Observe, Panel, Settings
from turnout.observe.expression import filled

BUILT_IN = Path(__file__).with_name("built_in.yml")
FILE = "observe.yml"
"""What a team's own file is called, in the folder of its inventory."""


@dataclass(frozen=True, slots=True)
class Watched:
    """All panels and alerts, with their settings filled in; `own` are the names of those that the team declared."""

    panels: tuple[Panel, ...]
    alerts: tuple[Alert, ...]
    own: frozenset[str] = frozenset()


def declaration(path: Path) -> Observe:
    """Return what a file declares; raises `TurnoutError` with every fault that it has."""
    try:
        text = path.read_text(encoding="utf-8")
        value: Any = yaml.safe_load(text) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(getattr(error, "problem_mark", None), "line", None)
        raise TurnoutError(
            "observe-unreadable",
            observed=f"{path}{'' if where is None else f', line {where + 1}'}: "
            f"{getattr(error, 'strerror', None) or getattr(error, 'problem', None) or error}",
            expected="a YAML file of panels and alerts (turnout schema observe --table lists its keys)",
            remedy=f"mend {path}, or remove it",
        ) from error
    faults: list[Fault] = []
    found = read(Observe, value, "observe", faults)
    if faults or found is None:
        raise FaultsError("observe-file", str(path), faults)
    return found


@functools.cache
def built_in() -> Observe:
    """Return what Turnout brings."""
    return declaration(BUILT_IN)


def load(own: Path | None = None) -> Watched:
    """Return the built-in panels and alerts with a team's own; raises `TurnoutError` for what is wrong with its file.

    `own` is the file; where it is not there, there is nothing of the team's own.
    """
    base = built_in()
    team = declaration(own) if own is not None and own.exists() else Observe()
    faults = list(_clashes(base, team))
    if faults:
        raise FaultsError("observe-file", str(own), faults)
    values = team.settings.values
    panels = [one for one in base.panels if one.title not in team.without] + list(team.panels)
    alerts = [one for one in base.alerts if one.name not in team.without] + list(team.alerts)
    return Watched(
        tuple(_panel(one, values) for one in panels),
        tuple(_alert(one, values) for one in alerts),
        frozenset({one.title for one in team.panels} | {one.name for one in team.alerts}),
    )


def _clashes(base: Observe, team: Observe) -> list[Fault]:
    names = [one.name for one in base.alerts]
    titles = [one.title for one in base.panels]
    faults = [
        Fault(f"observe.alerts[{index}].name", f"{one.name}, a built-in alert", "a name of its own",
              f"rename it, or write without: [{one.name}]")
        for index, one in enumerate(team.alerts) if one.name in names and one.name not in team.without
    ] + [
        Fault(f"observe.panels[{index}].title", f"{one.title}, a built-in panel", "a title of its own",
              f"rename it, or write without: [{one.title}]")
        for index, one in enumerate(team.panels) if one.title in titles and one.title not in team.without
    ]  # fmt: skip
    for index, name in enumerate(team.without):
        if name not in names and name not in titles:
            likely = nearest(name, (*names, *titles))
            faults.append(
                Fault(f"observe.without[{index}]", f"{name}, nothing built-in", "a built-in alert, or a panel's title",
                      f"write {likely}" if likely else "remove it; turnout dashboard list shows all")
            )  # fmt: skip
    return faults


def _panel(panel: Panel, values: dict[str, str]) -> Panel:
    queries = tuple(replace(one, expr=filled(one.expr, values)) for one in panel.queries)
    return replace(panel, queries=queries, where=filled(panel.where, values))


def _alert(alert: Alert, values: dict[str, str]) -> Alert:
    def series(case: Any) -> Any:
        return replace(case, series={filled(name, values): one for name, one in case.series.items()})

    return replace(
        alert,
        expr=filled(alert.expr, values),
        where=filled(alert.where, values),
        summary=filled(alert.summary, values),
        fires=replace(series(alert.fires), says=filled(alert.fires.says, values)),
        quiet=series(alert.quiet),
    )


def default_settings() -> Settings:
    """Return the settings that hold where a team names none."""
    return Settings()
