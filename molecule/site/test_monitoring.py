from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import eventually

HOSTS = ("edge", "api", "worker", "postgres", "redis", "monitoring", "drill")


def test_every_exporter_is_scraped_and_up(lab) -> None:
    expected = {("node", host) for group in HOSTS for host in lab.groups[group]}
    expected |= {("haproxy", host) for host in lab.groups["edge"]}
    expected |= {("postgres", host) for host in lab.groups["postgres"]}
    expected |= {("redis", host) for host in lab.groups["redis"]}

    def look() -> None:
        answer = lab.get_json(f"http://{lab.one('monitoring')}:9090/api/v1/query?query=up")
        seen = {(row["metric"]["job"], row["metric"]["host"]): row["value"][1] for row in answer["data"]["result"]}
        assert {target: seen.get(target) for target in expected} == dict.fromkeys(expected, "1")

    eventually(look, deadline_s=60)


@pytest.mark.parametrize("name", ["pg_up", "redis_up"])
def test_the_exporters_reach_what_they_export(lab, name) -> None:
    def look() -> None:
        answer = lab.get_json(f"http://{lab.one('monitoring')}:9090/api/v1/query?query={name}")
        assert [row["value"][1] for row in answer["data"]["result"]] == ["1"]

    eventually(look, deadline_s=60)


def test_the_service_is_a_target_in_both_colors_on_every_host(lab) -> None:
    answer = lab.get_json(f"http://{lab.one('monitoring')}:9090/api/v1/targets?state=active")
    seen = {
        (target["labels"]["job"], target["labels"]["host"], target["labels"].get("color"))
        for target in answer["data"]["activeTargets"]
        if target["labels"]["job"].startswith(f"{lab.service}-")
    }
    expected = {
        (f"{lab.service}-{process}", host, color)
        for process, group in (("api", "api"), ("worker-jobs", "worker"))
        for host in lab.groups[group]
        for color in ("blue", "green")
    }
    assert seen == expected


def test_the_alerts_are_loaded_and_reach_alertmanager(lab) -> None:
    base = f"http://{lab.one('monitoring')}"
    rules = lab.get_json(f"{base}:9090/api/v1/rules")["data"]["groups"]
    names = {rule["name"] for group in rules for rule in group["rules"]}
    assert {"HostDown", "ExporterDown", "DiskAlmostFull"} <= names
    managers = lab.get_json(f"{base}:9090/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert len(managers) == 1
    assert lab.get_json(f"{base}:9093/api/v2/status")["config"]["original"]


def test_a_stopped_exporter_becomes_an_alert(lab) -> None:
    """The whole way: exporter, scrape, rule, Alertmanager. Pending is enough, firing takes its minute."""
    host = lab.groups["edge"][0]
    lab.ssh(host, "systemctl stop prometheus-node-exporter")
    try:

        def look() -> None:
            alerts = lab.get_json(f"http://{lab.one('monitoring')}:9090/api/v1/alerts")["data"]["alerts"]
            assert ("HostDown", host) in {(row["labels"]["alertname"], row["labels"].get("host")) for row in alerts}

        eventually(look, deadline_s=60)
    finally:
        lab.ssh(host, "systemctl start prometheus-node-exporter")


def test_the_alert_rules_pass_their_own_tests_with_this_version_of_promtool(lab) -> None:
    (host,) = lab.groups["monitoring"]
    role = Path(lab.project) / "roles" / "monitoring"
    cases = (role / "tests" / "turnout-hosts.test.yml").read_text()
    cases = cases.replace("../files/turnout-hosts.yml", "/etc/prometheus/rules.d/turnout-hosts.yml")
    answer = lab.ssh(
        host, f"cat >/tmp/verify-rules.yml <<'EOF'\n{cases}\nEOF\npromtool test rules /tmp/verify-rules.yml"
    )
    assert "SUCCESS" in answer.stdout
    assert "turnout-hosts" in cases


def slo_files(lab) -> dict[str, dict[str, Any]]:
    """Return the SLO files of the inventory, by the SLO's name, read without any of the project's code."""
    files = (Path(lab.inventory) / "slos").glob("*.yml")
    return {slo["metadata"]["name"]: slo for slo in (yaml.safe_load(file.read_text()) for file in files)}


def test_every_slo_has_its_alerts_in_prometheus_with_its_own_objective(lab) -> None:
    groups = lab.get_json(f"http://{lab.one('monitoring')}:9090/api/v1/rules")["data"]["groups"]
    loaded = {group["name"]: group["rules"] for group in groups if group["name"].startswith("slo-")}
    slos = slo_files(lab)
    assert set(loaded) == {f"slo-{name}" for name in slos}
    assert slos
    for name, slo in slos.items():
        budget = 1 - slo["spec"]["objectives"][0]["target"]
        alerts = [rule for rule in loaded[f"slo-{name}"] if rule["type"] == "alerting"]
        burns = {
            (rule["labels"]["severity"], rule["labels"]["long"], rule["labels"]["short"]): float(rule["labels"]["burn"])
            for rule in alerts
            if rule["name"] == "SloBudgetBurn"
        }
        expected = {("page", "1h", "5m"): 14.4, ("page", "6h", "30m"): 6.0}
        expected |= {("ticket", "1d", "2h"): 3.0, ("ticket", "3d", "6h"): 1.0}
        assert burns == {key: factor for key, factor in expected.items() if factor * budget < 1}
        for rule in alerts:
            if rule["name"] == "SloBudgetBurn":
                assert f"> {float(rule['labels']['burn']) * budget:.6g}" in rule["query"]
        assert [rule["labels"]["severity"] for rule in alerts if rule["name"] == "SloDataAbsent"] == ["page"]
        assert all(rule["health"] != "err" for rule in loaded[f"slo-{name}"])


@pytest.mark.parametrize(
    ("alert", "severity"), [("SloBudgetBurn", "page"), ("SloBudgetBurn", "ticket"), ("SloDataAbsent", "page")]
)
def test_alertmanager_routes_the_alerts_on_slos_apart_from_others(lab, alert, severity) -> None:
    (host,) = lab.groups["monitoring"]
    shown = lab.ssh(host, f"amtool --alertmanager.url=http://{lab.one('monitoring')}:9093 config show").stdout
    routes = yaml.safe_load(shown)["route"]["routes"]
    (route,) = [r for r in routes if f'severity="{severity}"' in r["matchers"]]
    (matcher,) = [m for m in route["matchers"] if m.startswith("alertname")]
    assert re.search(matcher.split("~", 1)[1].strip('"'), alert)
    assert route["group_by"] == ["alertname", "slo", "service"]
    assert "SloBudgetBurn" in shown.split("inhibit_rules:")[1]


@pytest.mark.parametrize("index", [0, 1])
def test_an_edge_says_503_before_the_first_release(lab, index) -> None:
    address = lab.addresses[lab.groups["edge"][index]]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}/", timeout=5)
    assert refused.value.code == 503
