"""The panels as dashboards of Grafana, as JSON that it imports: one for each page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from turnout.errors import TurnoutError
from turnout.observe.declared import PAGES, TITLES, Panel
from turnout.observe.load import Watched

UNITS = {"count": "short", "per second": "ops", "ratio": "percentunit", "seconds": "s", "bytes": "decbytes"}
"""What Grafana calls the units."""

_PER_ROW, _WIDTH, _HEIGHT = 2, 12, 8
_SOURCE = "datasource"


def dashboards(watched: Watched) -> Iterator[tuple[str, str]]:
    """Yield file name and JSON of each page's dashboard; raises `TurnoutError` without the library for it."""
    try:
        from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415 - an extra, see pyproject.toml
    except ImportError as error:
        raise TurnoutError(
            "dashboards-missing",
            observed="grafana-foundation-sdk is not in this Python environment",
            expected="the extra that writes dashboards of Grafana",
            remedy="pip install 'turnout[dashboards]'",
        ) from error
    for name in PAGES:
        panels = [panel for panel in watched.panels if panel.page == name]
        if panels:
            text = JSONEncoder(sort_keys=True, indent=2).encode(_dashboard(name, panels))
            yield f"turnout-{name}.json", text + "\n"


def _dashboard(name: str, panels: list[Panel]) -> object:
    from grafana_foundation_sdk.builders import dashboard  # noqa: PLC0415

    built = (
        dashboard.Dashboard(f"Turnout: {TITLES[name]}")
        .uid(f"turnout-{name}")
        .tags(["turnout"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable(_SOURCE).label("Prometheus").type("prometheus"))
    )
    for index, panel in enumerate(panels):
        built = built.with_panel(_panel(panel, index))
    return built.build()


def _panel(panel: Panel, index: int) -> Any:
    from grafana_foundation_sdk.builders import common, prometheus, timeseries  # noqa: PLC0415
    from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement  # noqa: PLC0415
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos  # noqa: PLC0415

    source = DataSourceRef(type_val="prometheus", uid="${" + _SOURCE + "}")
    row, column = divmod(index, _PER_ROW)
    place = GridPos(h=_HEIGHT, w=_WIDTH, x=_WIDTH * column, y=_HEIGHT * row)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    built = (
        timeseries.Panel()
        .id(index + 1)
        .title(panel.title)
        .description(panel.note)
        .datasource(source)
        .unit(UNITS[panel.unit])
        .min(0)
        .legend(legend.show_legend(True))
        .grid_pos(place)
    )
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).datasource(source).ref_id(chr(ord("A") + number))
        built = built.with_target(target.legend_format(query.legend) if query.legend else target)
    return built
