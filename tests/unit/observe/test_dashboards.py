"""The panels as a page and for Grafana: every one of them is there, drawn from a real Prometheus."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from observe_world import everything
from turnout.observe import grafana, load, page
from turnout.observe.cli import dashboard
from turnout.observe.declared import PAGES
from turnout.observe.prometheus import Prometheus


@pytest.fixture(scope="module")
def drawn(watcher, tmp_path_factory):
    watcher.show(everything())
    folder = tmp_path_factory.mktemp("page")
    own = folder / "observe.yml"
    own.write_text(
        """
panels:
  - {title: "<b>&", page: api, unit: bytes, queries: [{expr: "shown * 0 + 2147483648", legend: "{{job}} <i>"}]}
  - {title: Elsewhere, page: edge, where: 'up{job="none"}', queries: [{expr: nothing_of_it}]}
  - {title: Wrong, page: edge, queries: [{expr: 'label_replace(shown, "a", "b", "c", "(")'}]}
"""
    )
    out = folder / "a/dashboard.html"
    words = ["--prometheus", watcher.url, "--file", str(own), "--out", str(out), "--hours", "0.1"]
    ended = CliRunner().invoke(dashboard, words, catch_exceptions=False)
    assert ended.exit_code == 0
    assert ended.output.strip() == str(out)
    return out.read_text(encoding="utf-8")


def figure(drawn, title):
    found = re.search(rf"<figcaption><b>{re.escape(title)}</b>.*?</figure>", drawn, re.DOTALL)
    assert found, title
    return found[0]


def test_every_panel_is_on_the_page_with_a_line_that_has_points(drawn):
    for panel in load.load().panels:
        chart = figure(drawn, panel.title)
        if panel.title == "Time to answer, 95th percentile":  # nothing was asked of the edge
            continue
        assert re.search(r'data-drawn="[1-9]', chart), panel.title


def test_the_page_asks_nothing_of_anybody_and_is_as_wide_as_its_screen(drawn):
    assert not re.search(r"<script|<iframe|<img|src=|url\(|@import", drawn)
    assert not re.search(r'href="(?!#|data:,)', drawn)
    assert 'content="width=device-width, initial-scale=1"' in drawn
    assert "default-src &#x27;none&#x27;" in drawn


def test_every_page_is_a_section_that_is_linked(drawn):
    for name in PAGES:
        assert f'<a href="#{name}">' in drawn
        assert f'id="{name}"' in drawn


def test_what_a_team_writes_is_text_and_no_markup(drawn):
    assert "<b>&lt;b&gt;&amp;</b>" in drawn
    assert "all &lt;i&gt;" in drawn
    assert "2\u00a0GB" in drawn


def test_a_panel_that_cannot_be_drawn_says_why(drawn):
    assert "not here: nothing for up{job=&quot;none&quot;}" in figure(drawn, "Elsewhere")
    assert "Prometheus refuses it" in figure(drawn, "Wrong")


def test_alerts_that_fire_stand_first(watcher):
    watcher.show(everything())
    watcher.until('ALERTS{alertstate="firing",alertname="DatabaseDeadlocks"}', there=False)
    made = [f'ALERTS{{alertname="Made",alertstate="firing",severity="page",host="{host}"}}' for host in "ba"]
    watcher.exporter.show([*everything(), *made, 'shown{at="alert"}'])
    watcher.until('ALERTS{alertname="Made"}', there=True)
    text = page.html(load.load(), Prometheus(watcher.url), 360.0)
    assert "2 pages and " in text
    assert text.index("host=a") < text.index("host=b")
    assert text.index("Made") < text.index("Requests")


def test_a_line_is_called_by_its_legend_or_by_its_labels():
    labels = {"__name__": "up", "host": "a", "job": "node"}
    assert page.legend("{{host}}: {{ job }}", labels) == "a: node"
    assert page.legend("", labels) == page.legend("{{absent}}", labels) == "host=a, job=node"
    assert page.legend("", {"__name__": "up"}) == "up"


def test_of_many_lines_the_highest_are_drawn_and_the_rest_is_counted(watcher):
    watcher.show([*everything(), *(f'many{{n="{n}"}}' for n in range(12))])
    panel = load.load().panels[0]
    query = panel.queries[0].__class__(expr='many * on (n) group_left () label_replace(many, "x", "$1", "n", "(.+)")')
    many = panel.__class__(title="Many", page="api", queries=(query,), unit="count", note="", where="")
    one = page.draw(Prometheus(watcher.url), many, Prometheus(watcher.url).clock_s(), 60.0)
    assert len(one.lines) == page.LINES
    assert one.left_out == 12 - page.LINES


def test_the_export_has_a_dashboard_for_every_page_with_every_query_of_it(tmp_path):
    ended = CliRunner().invoke(dashboard, ["export", str(tmp_path / "out")], catch_exceptions=False)
    assert ended.exit_code == 0
    watched = load.load()
    for name in PAGES:
        value = json.loads((tmp_path / f"out/turnout-{name}.json").read_text())
        wanted = [panel for panel in watched.panels if panel.page == name]
        assert value["uid"] == f"turnout-{name}"
        assert isinstance(value["schemaVersion"], int)
        assert [panel["title"] for panel in value["panels"]] == [panel.title for panel in wanted]
        for panel, declared in zip(value["panels"], wanted, strict=True):
            assert [target["expr"] for target in panel["targets"]] == [query.expr for query in declared.queries]
            assert panel["fieldConfig"]["defaults"]["unit"] == grafana.UNITS[declared.unit]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in value["panels"]]
        assert len(set(places)) == len(places)
