"""What a real Prometheus says of panels and alerts: a metric that is gone turns red what uses it, and nothing else."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from observe_world import everything
from ports import free_port
from turnout.errors import TurnoutError
from turnout.observe import load
from turnout.observe.check import APART, IDLE, OK, RED, Checker
from turnout.observe.cli import address, dashboard
from turnout.observe.prometheus import Prometheus

OWN = """
panels:
  - {title: Refused, page: api, queries: [{expr: "up + on (nothing) group_left () up + on (job) shown"}]}
  - {title: Never, page: api, queries: [{expr: "shown > 5"}]}
  - {title: Idle, page: api, queries: [{expr: "(shown - shown) / (shown - shown)"}]}
  - {title: Elsewhere, page: api, where: 'up{job="none"}', queries: [{expr: nothing_of_it}]}
"""


def found(watcher, watched=None):
    return {one.name: one for one in Checker(Prometheus(watcher.url)).findings(watched or load.load())}


def red(watcher, watched=None):
    return {name for name, one in found(watcher, watched).items() if one.state == RED}


def users(metric):
    """Return the panels and alerts in whose expressions a metric stands, by their text alone."""
    watched = load.load()
    texts = {panel.title: " ".join(query.expr for query in panel.queries) for panel in watched.panels}
    texts |= {alert.name: alert.expr for alert in watched.alerts}
    return {name for name, text in texts.items() if re.search(rf"(?<![\w:]){metric}(?![\w:])", text)}


def test_where_everything_is_there_nothing_is_red(watcher):
    watcher.show(everything())
    states = found(watcher)
    assert {name: one.seen for name, one in states.items() if one.state == RED} == {}
    assert {one.state for one in states.values()} <= {OK, IDLE}
    assert len(states) == len(load.load().panels) + len(load.load().alerts)


@pytest.mark.parametrize(
    "metric",
    ["haproxy_backend_http_responses_total", "turnout_edge_requests_total", "pg_locks_count", "slo:bad_ratio:rate5m"],
)
def test_a_renamed_metric_turns_red_exactly_what_uses_it(watcher, metric):
    expected = users(metric)
    assert expected
    watcher.show([one.replace(f"{metric}{{", f"{metric}_renamed{{") for one in everything()])
    watcher.until(f"count({metric})", there=False)
    states = found(watcher)
    assert {name for name, one in states.items() if one.state == RED} == expected
    assert {states[name].seen for name in expected} == {f"no series {metric}"}


def test_series_that_have_other_labels_are_told_from_a_metric_that_is_gone(watcher):
    watcher.show([one.replace('mode="accessexclusivelock"', 'mode="AccessExclusiveLock"') for one in everything()])
    watcher.until('count(pg_locks_count{mode="accessexclusivelock"})', there=False)
    states = found(watcher)
    assert {name for name, one in states.items() if one.state == RED} == {"DatabaseLocked"}
    assert states["DatabaseLocked"].seen == 'pg_locks_count has no series {mode="accessexclusivelock"}'
    assert "match[]=pg_locks_count" in states["DatabaseLocked"].remedy


def test_a_class_of_answers_that_the_edges_have_not_given_yet_is_no_fault(watcher):
    """mtail begins a series with the first answer of its class; without any answer on that route it is one."""
    first = [one for one in everything() if not one.startswith("turnout_edge_requests_total")]
    watcher.show([*first, 'turnout_edge_requests_total{route="login",code="2xx"}'])
    watcher.until('count(turnout_edge_requests_total{code="4xx"})', there=False)
    states = found(watcher)
    assert {name for name, one in states.items() if one.state == RED} == set()
    assert (states["SignInsFail"].state, states["Sign-ins that are refused"].state) == (IDLE, OK)
    watcher.show([*first, 'turnout_edge_requests_total{route="other",code="2xx"}'])
    watcher.until('count(turnout_edge_requests_total{route="login"})', there=False)
    red = {name for name, one in found(watcher).items() if one.state == RED}
    assert red == {"SignInsFail", "Sign-ins that are refused"}


def test_an_expression_without_a_result_is_red_one_without_traffic_is_not(watcher, tmp_path):
    watcher.show(everything())
    (tmp_path / "observe.yml").write_text(OWN)
    states = found(watcher, load.load(tmp_path / "observe.yml"))
    assert states["Never"].state == RED
    assert "no data, though its series are there" in states["Never"].seen
    assert states["Idle"].state == IDLE
    assert states["Elsewhere"].state == APART


def test_an_alert_that_is_not_loaded_or_loaded_otherwise_is_red(watcher, tmp_path):
    watcher.show(everything())
    (tmp_path / "observe.yml").write_text(
        """
settings: {connections: 0.7}
alerts:
  - {name: Shown, page: api, severity: page, expr: shown > 5, summary: s, action: a,
     fires: {series: {shown: "9x30"}, says: s}, quiet: {series: {shown: "1x30"}}}
"""
    )
    states = found(watcher, load.load(tmp_path / "observe.yml"))
    assert {name for name, one in states.items() if one.state == RED} == {"Shown", "DatabaseConnectionsShort"}
    assert states["Shown"].seen == "Prometheus has not loaded it"
    assert states["DatabaseConnectionsShort"].seen.startswith("Prometheus has another expression loaded")


def test_the_command_names_what_is_red_and_ends_with_1(watcher, tmp_path):
    watcher.show([one for one in everything() if not one.startswith("redis_connected_clients")])
    watcher.until("count(redis_connected_clients)", there=False)
    ended = CliRunner().invoke(dashboard, ["check", "--prometheus", watcher.url], catch_exceptions=False)
    assert ended.exit_code == 1
    assert "Clients of Redis" in ended.output
    assert "no series redis_connected_clients" in ended.output
    assert "; 1 red" in ended.output
    ended = CliRunner().invoke(dashboard, ["check", "--prometheus", watcher.url, "--json"], catch_exceptions=False)
    assert ended.exit_code == 1
    value = json.loads(ended.output)
    assert [one["name"] for one in value["findings"] if one["state"] == "red"] == ["Clients of Redis"]
    watcher.show(everything())
    ended = CliRunner().invoke(dashboard, ["check", "--prometheus", watcher.url], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output


def test_a_prometheus_that_does_not_answer_is_an_error_and_no_pass():
    with pytest.raises(TurnoutError) as caught:
        Checker(Prometheus(f"http://127.0.0.1:{free_port()}")).findings(load.load())
    assert caught.value.code == "prometheus-unreachable"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("private_address=10.1.2.3", "http://10.1.2.3:9090"),
        ("monitoring_prometheus_listen=10.1.2.3:9999", "http://10.1.2.3:9999"),
        ('private_address=10.1.2.3 service=\'{"judge": {"prometheus": "http://p:1"}}\'', "http://p:1"),
    ],
)
def test_the_address_of_prometheus_comes_from_the_inventory(tmp_path, variables, expected):
    (tmp_path / "hosts").write_text(f"[monitoring]\nmon1 {variables}\n")
    assert address(tmp_path / "hosts") == expected


def test_an_inventory_without_prometheus_is_told(tmp_path):
    (tmp_path / "hosts").write_text("[edge]\nedge1\n")
    with pytest.raises(TurnoutError) as caught:
        address(tmp_path / "hosts")
    assert caught.value.code == "prometheus-unnamed"
