"""The panels as one page, complete in itself, drawn from what Prometheus says now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from turnout.counts import counted
from turnout.html import page, plot
from turnout.html.markup import Html, el, join
from turnout.observe.declared import PAGES, TITLES, Panel
from turnout.observe.load import Watched
from turnout.observe.prometheus import Prometheus, RefusedError

LINES = 8
"""Lines in one plot; of more, those with the highest values are drawn, and the rest is counted."""
POINTS = 180
"""Moments in one plot."""
SHORTEST_STEP_S = 5.0

_FIRING = 'ALERTS{alertstate="firing"}'


def number(value: float) -> str:
    """Return a number as an axis has it: 1,500 as 1.5 k."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{plot.NB}{sign}"
    return plot.plain(value)


def size(value: float) -> str:
    """Return a number of bytes: 3 GB. Decimal, since an axis has its ticks at round decimal numbers."""
    for step, sign in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= step:
            return f"{value / step:.3g}{plot.NB}{sign}"
    return f"{value:.3g}{plot.NB}B"


_FORMS: Mapping[str, Callable[[float], str]] = {
    "count": number,
    "per second": number,
    "ratio": plot.percent,
    "seconds": plot.seconds,
    "bytes": size,
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel with its lines over the last `window_s` seconds; `why` is what keeps it from having any."""

    panel: Panel
    lines: tuple[plot.Line, ...]
    left_out: int = 0
    why: str = ""


def legend(form: str, labels: Mapping[str, str]) -> str:
    """Return what a line is called: the legend with its labels filled in, else the labels themselves."""
    filled = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), form).strip()
    if filled:
        return filled
    shown = [f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__"]
    return ", ".join(shown) or labels.get("__name__", "value")


def draw(prometheus: Prometheus, panel: Panel, now_s: float, window_s: float) -> Drawn:
    """Return a panel with what Prometheus has for it."""
    step_s = max(SHORTEST_STEP_S, window_s / POINTS)
    count = int(window_s / step_s)
    found: list[tuple[str, list[tuple[float, float | None]]]] = []
    try:
        if panel.where and not prometheus.now(panel.where):
            return Drawn(panel, (), why=f"not here: nothing for {panel.where}")
        for query in panel.queries:
            for row in prometheus.between(query.expr, now_s - count * step_s, now_s, step_s):
                known = {round((float(t) - now_s) / step_s): float(value) for t, value in row["values"]}
                values = [known.get(index) for index in range(-count, 1)]
                points = [
                    (index * step_s, value if value is not None and isfinite(value) else None)
                    for index, value in zip(range(-count, 1), values, strict=True)
                ]
                found.append((legend(query.legend, row["metric"]), points))
    except RefusedError as error:
        return Drawn(panel, (), why=f"Prometheus refuses it: {error}")
    kept = sorted(found, key=lambda one: -max((y for _, y in one[1] if y is not None), default=-1.0))[:LINES]
    ordered = [one for one in found if one in kept]
    lines = tuple(
        plot.Line(name, points, color=1 + index % plot.COLORS, dashed=index >= plot.COLORS)
        for index, (name, points) in enumerate(ordered)
    )
    return Drawn(panel, lines, left_out=len(found) - len(lines))


def _chart(drawn: Drawn) -> Html:
    panel = drawn.panel
    if drawn.why:
        return el("figure", el("figcaption", el("b", panel.title)), el("p", drawn.why, class_="empty"), class_="chart")
    words = [panel.note] if panel.note else []
    if drawn.left_out:
        words.append(f"{counted(drawn.left_out, 'further line')} with lower values left out.")
    values = [y for line in drawn.lines for _, y in line.points if y is not None]
    low = min([0.0, *values])
    # All at 0 is drawn at the bottom of a scale, not in the middle of none.
    high = 1.0 if values and max(values) <= 0.0 else None
    return plot.line_chart(
        panel.title,
        drawn.lines,
        x=plot.Axis("before now", time=True, form=_ago),
        y=plot.Axis(panel.unit, low=low, high=high, form=_FORMS[panel.unit]),
        note=" ".join(words) or None,
    )


def _ago(value: float) -> str:
    return "now" if value == 0.0 else plot.seconds(-value)


def _firing(rows: list[dict[str, Any]]) -> Html:
    """Return the alerts that fire now, pages first."""
    if not rows:
        return page.banner("good", "No alert fires")
    hidden = {"__name__", "alertname", "alertstate", "severity"}
    told = [(row["metric"].get("severity", ""), row["metric"]["alertname"], row["metric"]) for row in rows]
    pages = sum(severity == "page" for severity, _, _ in told)
    cells = [
        (
            page.chip("bad" if severity == "page" else "warn", severity or "none"),
            name,
            ", ".join(f"{label}={value}" for label, value in sorted(labels.items()) if label not in hidden),
        )
        for severity, name, labels in sorted(told, key=lambda one: (one[0] != "page", one[1], sorted(one[2].items())))
    ]
    title = f"{counted(pages, 'page')} and {counted(len(told) - pages, 'ticket')} fire"
    return join(
        [
            page.banner("bad" if pages else "warn", title),
            page.section("Alerts that fire", page.table(("Severity", "Alert", "Labels"), cells), id_="alerts"),
        ]
    )


def html(watched: Watched, prometheus: Prometheus, window_s: float) -> str:
    """Return the page of all panels over the last `window_s` seconds on Prometheus' clock.

    Raises `TurnoutError` where Prometheus does not answer.
    """
    now_s = prometheus.clock_s()
    blocks: list[Html] = [_firing(prometheus.now(_FIRING))]
    for name in PAGES:
        drawn = [draw(prometheus, panel, now_s, window_s) for panel in watched.panels if panel.page == name]
        if drawn:
            blocks.append(page.section(TITLES[name], *(_chart(one) for one in drawn), id_=name))
    links = join([el("a", TITLES[name], href=f"#{name}") for name in PAGES], " · ")
    moment = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return page.document(
        "Dashboard",
        el("h1", "Dashboard"),
        el("p", f"The last {plot.seconds(window_s)} until {moment}, from {prometheus.url}", class_="sub"),
        el("p", links),
        *blocks,
    )
