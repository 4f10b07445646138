"""The rules: the Workbook's windows and factors, and promtool's own word that they fire when they must.

promtool comes with Prometheus (apt-get install prometheus). Without it these tests fail; they do not skip.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml
from click.testing import CliRunner
from turnout.cli import cli
from turnout.errors import TurnoutError
from turnout.slo import parse, promtests, rules
from turnout.slo.selector import parse as selector

ROOT = Path(__file__).parents[3]
SHIPPED = [ROOT / "inventories/lab/slos", ROOT / "examples/slos"]
LAX = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: lax}
spec:
  service: sample
  objectives: [{target: 0.9}]
  indicator:
    spec:
      ratioMetric: {bad: {metricSource: {spec: {query: a}}}, total: {metricSource: {spec: {query: b}}}}
"""


def shipped():
    return [slo for folder in SHIPPED for slo in parse.load(folder).values()]


def write(*arguments):
    result = CliRunner(catch_exceptions=False).invoke(cli, ["slo", "rules", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def promtool(*arguments, cwd):
    assert which("promtool"), "promtool is needed: apt-get install prometheus"
    return subprocess.run(["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def rule(slo, name, **labels):
    (group,) = rules.rule_file(slo)["groups"]
    found = [
        r
        for r in group["rules"]
        if name in (r.get("alert"), r.get("record")) and labels.items() <= r.get("labels", {}).items()
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("factor", "long", "short", "severity"),
    [
        ("14.4", "1h", "5m", "page"),
        ("6", "6h", "30m", "page"),
        ("3", "1d", "2h", "ticket"),
        ("1", "3d", "6h", "ticket"),
    ],
)
def test_windows_and_factors_are_the_workbooks(factor, long, short, severity):
    for slo in shipped():
        alert = rule(slo, rules.ALERT, long=long)
        limit = f"{float(factor) * (1 - slo.objective):.12g}"
        assert alert["expr"] == (
            f'slo:bad_ratio:rate{long}{{slo="{slo.name}",service="sample"}} > {limit} '
            f'and slo:bad_ratio:rate{short}{{slo="{slo.name}",service="sample"}} > {limit}'
        )
        assert alert["labels"]["severity"] == severity
        assert alert["labels"]["short"] == short
        assert alert["labels"]["burn"] == factor
    assert len(rules.BURNS) == 4


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda p: p.parent.name)
def test_promtool_accepts_the_rules_and_every_slos_tests_pass(folder, tmp_path):
    write(folder, "--out", tmp_path, "--test")
    for slo in parse.load(folder).values():
        tests = yaml.safe_load((tmp_path / f"tests/slo-{slo.name}.yml").read_text())["tests"]
        alerts = [case for test in tests for case in test.get("alert_rule_test", [])]
        assert any(case["alertname"] == rules.ALERT and case["exp_alerts"] for case in alerts)
        assert any(case["alertname"] == rules.ALERT and not case["exp_alerts"] for case in alerts)
        assert any(case["alertname"] == rules.ABSENT_ALERT and case["exp_alerts"] for case in alerts)
        assert any(case["alertname"] == rules.ABSENT_ALERT and not case["exp_alerts"] for case in alerts)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> 0.072 and", "> 0.99999 and"),
        ("rate1h{slo", "rate5m{slo"),
        (
            'rate5m{slo="api-availability",service="sample"} > 0.072',
            'rate1h{slo="api-availability",service="sample"} > 0.072',
        ),
        ("> 0.005", "> 0.02"),
        ("> 0.015", "> 0.0001"),
        ("severity: page", "severity: ticket"),
        ("for: 2m", "for: 0s"),
        (" or vector(0)", ""),
    ],
)
def test_a_rule_that_is_wrong_is_caught_by_the_tests_written_for_it(old, new, tmp_path):
    write(SHIPPED[0] / "api-availability.yml", "--out", tmp_path)
    path = tmp_path / "rules/slo-api-availability.yml"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")
    done = promtool("test", "rules", "tests/slo-api-availability.yml", cwd=tmp_path)
    assert done.returncode != 0, done.stdout + done.stderr


def test_a_burn_that_no_ratio_reaches_is_left_out_and_said(tmp_path):
    (tmp_path / "lax.yml").write_text(LAX, encoding="utf-8")
    result = write(tmp_path, "--out", tmp_path / "out", "--test")
    assert "lax: no alert at 14.4 times the budget" in result.stderr
    assert "at 6 times" not in result.stderr


@pytest.mark.parametrize("objective", ["0.5", "0.9", "0.99", "0.9999", "0.999999"])
@pytest.mark.parametrize("role", ["good", "bad"])
def test_the_tests_pass_for_other_objectives_too(objective, role, tmp_path):
    content = LAX.replace("0.9", objective).replace("bad:", f"{role}:")
    (tmp_path / "lax.yml").write_text(content, encoding="utf-8")
    write(tmp_path, "--out", tmp_path / "out", "--test")


def test_without_out_the_rules_are_printed(tmp_path):
    (tmp_path / "lax.yml").write_text(LAX, encoding="utf-8")
    assert yaml.safe_load(write(tmp_path).stdout)["groups"][0]["name"] == "slo-lax"


def test_promtools_complaint_is_passed_on(tmp_path, monkeypatch):
    (tmp_path / "lax.yml").write_text(LAX, encoding="utf-8")
    monkeypatch.setattr(rules, "bad_rate", lambda _slo, _window: "sum(")
    with pytest.raises(TurnoutError) as caught:
        write(tmp_path, "--test")
    assert caught.value.code == "slo-rules"
    assert "promtool check rules failed" in caught.value.observed


def test_a_machine_without_promtool_is_told_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "lax.yml").write_text(LAX, encoding="utf-8")
    monkeypatch.setattr("turnout.promtool.beside", lambda _: None)
    with pytest.raises(TurnoutError, match="promtool is not on this machine"):
        write(tmp_path, "--test")


def test_alertmanager_accepts_the_routes_and_sends_pages_to_pages(tmp_path):
    assert which("amtool"), "amtool is needed: apt-get install prometheus-alertmanager"
    fragment = rules.alertmanager(page="duty", ticket="board")
    config = {
        "route": {"receiver": "none", "routes": fragment["routes"]},
        "receivers": [{"name": name} for name in ("none", "duty", "board")],
        "inhibit_rules": fragment["inhibit_rules"],
    }
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    checked = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for alert, severity, wanted in (
        (rules.ALERT, "page", "duty"),
        (rules.ALERT, "ticket", "board"),
        (rules.ABSENT_ALERT, "page", "duty"),
        ("Other", "page", "none"),
    ):
        command = [
            "amtool",
            "config",
            "routes",
            "test",
            f"--config.file={path}",
            f"alertname={alert}",
            f"severity={severity}",
        ]
        routed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert routed.stdout.strip() == wanted


@pytest.mark.parametrize(
    ("wanted", "unwanted"),
    [
        ('a{job="x",code=~"5.."}', None),
        ('a{job="x"}', 'a{job="x",code=~"5.."}'),
        ('a{code=~"[1-5].."}', 'a{code=~"5.."}'),
        ('a{result=~"ok|failed"}', 'a{result="failed"}'),
        ('a{path!~"/metrics|/api/health/"}', 'a{path!~"/metrics|/api/health/",code=~"5.."}'),
        ('a{path=~"/api/(tasks|users)/.*"}', 'a{path=~"/api/tasks/.*"}'),
        ('a{x!=""}', None),
    ],
)
def test_series_are_made_up_that_one_selector_selects_and_the_other_does_not(wanted, unwanted):
    other = selector(unwanted) if unwanted else None
    found = promtests.example(selector(wanted), other)
    assert found is not None
    assert promtests.matches(selector(wanted), "a", found)
    assert other is None or not promtests.matches(other, "a", found)


def test_selectors_that_no_series_can_be_made_up_for_are_an_error(tmp_path):
    (tmp_path / "odd.yml").write_text(LAX.replace("query: b", 'query: \'b{x=~"a",x=~"b+"}\''), encoding="utf-8")
    with pytest.raises(TurnoutError) as caught:
        write(tmp_path)
    assert caught.value.code == "slo-untestable"
    assert "odd.yml:9" in caught.value.observed


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/no-such-folder")):
        with pytest.raises(TurnoutError) as caught:
            write(SHIPPED[1], "--out", out)
        assert caught.value.code == "slo-unwritable"
        assert str(out) in caught.value.observed
