"""Declarations of panels and alerts: what is read, what is refused and how, and that every alert fires and rests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml
from turnout import key_docs
from turnout.errors import TurnoutError
from turnout.faults import FaultsError
from turnout.observe import docs, expression, load, rules
from turnout.observe.declared import PAGES, Observe

OWN = """
settings: {sign_in_route: signin}
without: [EdgeQueues, Requests in work]
panels:
  - {title: Carts, page: api, unit: count, queries: [{expr: sum(carts), legend: carts}]}
alerts:
  - name: CartsFull
    page: api
    severity: ticket
    expr: carts > 5
    summary: "{{ $labels.host }} has {{ $value }} carts"
    action: turnout status
    fires: {series: {'carts{host="a"}': 9x30}, labels: {host: a}, says: a has 9 carts}
    quiet: {series: {'carts{host="a"}': 1x30}}
"""


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "observe.yml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(TurnoutError) as caught:
        load.load(own(tmp_path, text))
    return str(caught.value)


def proven(folder: Path, alerts) -> subprocess.CompletedProcess[str]:
    assert which("promtool"), "promtool is needed: make setup"
    written, tests = rules.files(alerts)
    for below, files in (("rules", written), ("tests", tests)):
        (folder / below).mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / below / name).write_text(text, encoding="utf-8")
    return subprocess.run(
        ["promtool", "test", "rules", *(f"tests/{name}" for name in tests)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_page_has_panels_and_every_title_and_name_is_there_once():
    watched = load.load()
    assert {panel.page for panel in watched.panels} == set(PAGES)
    assert len({panel.title for panel in watched.panels}) == len(watched.panels) > 20
    assert len({alert.name for alert in watched.alerts}) == len(watched.alerts) > 8


def test_no_setting_is_left_open():
    watched = load.load()
    texts = [query.expr for panel in watched.panels for query in panel.queries]
    texts += [text for alert in watched.alerts for text in (alert.expr, alert.where, *alert.fires.series)]
    assert not [text for text in texts if "${" in text]


def test_no_alert_has_the_name_of_one_in_a_rule_file():
    roles = Path(__file__).parents[3] / "roles"
    laid = {
        rule["alert"]
        for path in roles.glob("*/files/turnout-*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    }
    assert laid
    assert not laid & {alert.name for alert in load.load().alerts}


def test_every_alert_fires_when_it_should_and_only_then(tmp_path):
    done = proven(tmp_path, load.load().alerts)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_also_fires_and_rests_with_a_teams_own_settings(tmp_path):
    text = """settings: {sign_in_route: signin, sign_in_failures: 0.9, server_errors: 0.3, connections: 0.99,
      transaction_s: 3600, replication_lag_s: 600, redis_memory: 0.99}"""
    done = proven(tmp_path, load.load(own(tmp_path, text)).alerts)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_whose_test_does_not_make_it_fire_is_refused_by_promtool(tmp_path):
    watched = load.load(own(tmp_path, OWN.replace("9x30", "2x30")))
    done = proven(tmp_path, watched.alerts)
    assert done.returncode != 0
    assert "CartsFull" in done.stdout + done.stderr


def test_a_teams_own_are_added_and_what_it_does_without_is_gone(tmp_path):
    watched = load.load(own(tmp_path, OWN))
    assert watched.own == {"Carts", "CartsFull"}
    assert "EdgeQueues" not in {alert.name for alert in watched.alerts}
    assert "Requests in work" not in {panel.title for panel in watched.panels}
    (sign_ins,) = [alert for alert in watched.alerts if alert.name == "SignInsFail"]
    assert 'route="signin"' in sign_ins.expr
    done = proven(tmp_path, watched.alerts)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_file_of_its_own_a_team_has_the_built_in_ones(tmp_path):
    assert load.load(tmp_path / "observe.yml") == load.load()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("expr: carts > 5", "expr: 'carts >'", ["observe.alerts[0].expr", "no PromQL"]),
        ("severity: ticket", "severity: loud", ["observe.alerts[0].severity", "page, ticket"]),
        ("name: CartsFull", "name: ServerErrors", ["observe.alerts[0].name", "a built-in alert"]),
        ("title: Carts", "title: Requests", ["observe.panels[0].title", "a built-in panel"]),
        ("page: api, unit", "page: shop, unit", ["observe.panels[0].page", "shop"]),
        ("[EdgeQueues,", "[EdgeQueue,", ["observe.without[0]", "write EdgeQueues"]),
        ("expr: carts > 5", "expr: carts > ${most}", ["observe.alerts[0].expr", "${most}, no setting"]),
        ("    quiet: {series: {'carts{host=\"a\"}': 1x30}}\n", "", ["observe.alerts[0].quiet", "no such key"]),
        ("summary:", "summaries:", ["observe.alerts[0].summaries", "rename it to `summary`"]),
        ('carts{host="a"}\': 9x30', 'boxes{host="a"}\': 9x30', ["observe.alerts[0].fires.series", "boxes"]),
        ("sign_in_route: signin", "sign_in_routes: signin", ["observe.settings.sign_in_routes", "sign_in_route"]),
    ],
)
def test_a_fault_is_told_with_its_place_and_a_remedy(tmp_path, old, new, words):
    assert old in OWN
    with pytest.raises(FaultsError) as caught:
        load.load(own(tmp_path, OWN.replace(old, new)))
    said = [" ".join((fault.path, fault.observed, fault.expected, fault.remedy)) for fault in caught.value.faults]
    assert [one for one in said if all(word in one for word in words)], said


def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path):
    assert "observe.yml, line 3" in refused(tmp_path, "alerts:\n  - {name: [\n")


def test_the_series_of_an_expression_are_found_wherever_they_stand():
    text = """sum by (host) (rate(a{x="1",y=~"a\\\\.b"}[5m])) > 2 unless on (host) b offset 5m
      and absent(c{q!~".+"}) or max_over_time((rate(z[1m]))[5m:10s]) or {__name__="d",e!="f"}"""
    found = expression.selectors(text)
    assert [one.name for one in found] == ["a", "b", "c", "z", "d"]
    assert [one.text for one in found] == ['a{x="1",y=~"a\\\\.b"}', "b", 'c{q!~".+"}', "z", 'd{e!="f"}']


def test_what_an_alert_tells_the_absence_of_need_not_be_there():
    found = expression.needed('max(a) == 0 or absent(a) or absent(sum(b{x="1"})) or absent_over_time(c[5m]) or b')
    assert [one.text for one in found] == ["b"]


def test_what_holds_back_an_alert_is_an_alert_that_is_there():
    roles = Path(__file__).parents[3] / "roles"
    known = {alert.name for alert in load.load().alerts} | {
        rule["alert"]
        for path in roles.glob("*/files/turnout-*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    }
    found = rules.inhibitions(load.load().alerts)
    assert found
    assert {name for alert in load.load().alerts for name in alert.inhibited_by} <= known


def test_the_page_of_the_docs_has_the_keys_and_the_alerts_as_they_are():
    page = Path(__file__).parents[3] / "docs/alerts.md"
    text = page.read_text()
    assert docs.with_table(page) == text, "turnout dashboard docs --into docs/alerts.md"
    assert key_docs.table(Observe) in text, "turnout schema observe --into docs/alerts.md"


def test_the_table_has_every_alert_of_the_rule_files():
    names = {row[0] for row in docs.rows()}
    assert {"EdgesDisagree", "DiskAlmostFull", "ServiceUnitDown", "DrillOverdue", "ServerErrors"} <= names
