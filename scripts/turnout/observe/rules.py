"""Prometheus rules, their tests by promtool, and what Alertmanager holds back, from the declared alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from turnout.observe.declared import Alert, Case

PREFIX = "observe-"
NAME = f"{PREFIX}alerts.yml"
_HEADER = "# Written by Turnout from its declaration of panels and alerts (docs/alerts.md), where they are changed.\n"


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, so that an expression can be read."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dump(value: object) -> str:
    """Return a value as YAML, under the line that says where it comes from."""
    return _HEADER + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


def _annotations(alert: Alert, summary: str) -> dict[str, str]:
    return {"summary": summary, "action": alert.action, **({"runbook": alert.runbook} if alert.runbook else {})}


def rule_file(alerts: Iterable[Alert]) -> dict[str, Any]:
    """Return what a rule file of these alerts holds: one group for each page, in their order."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in alerts:
        rule: dict[str, Any] = {"alert": one.name, "expr": one.expr}
        if one.for_ not in ("", "0s"):
            rule["for"] = one.for_
        rule |= {"labels": {"severity": one.severity}, "annotations": _annotations(one, one.summary)}
        groups.setdefault(one.page, []).append(rule)
    return {"groups": [{"name": f"{PREFIX}{page}", "rules": rules} for page, rules in groups.items()]}


def _test(alert: Alert, case: Case, what: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": f"{alert.name} {what}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert.name, "exp_alerts": expected}],
    }


def test_file(alerts: Iterable[Alert], rules: str) -> dict[str, Any]:
    """Return promtool's test file: each alert fires in one case and not in the other; `rules` is the path from it."""
    tests = []
    for one in alerts:
        fired = {
            "exp_labels": {"severity": one.severity, **one.fires.labels},
            "exp_annotations": _annotations(one, one.fires.says),
        }
        tests.append(_test(one, one.fires, "fires", [fired]))
        tests.append(_test(one, one.quiet, "does not fire", []))
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}


def files(alerts: Iterable[Alert]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the texts of the rule file and of its test file, by name; the test reads `../rules/NAME`."""
    listed = list(alerts)
    if not listed:
        return {}, {}
    return {NAME: dump(rule_file(listed))}, {NAME: dump(test_file(listed, f"../rules/{NAME}"))}


def inhibitions(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """Return Alertmanager's rules by which one alert holds back another of the same cause."""
    return [
        {
            "source_matchers": [f'alertname=~"{"|".join(one.inhibited_by)}"'],
            "target_matchers": [f'alertname="{one.name}"'],
            "equal": list(one.inhibited_on),
        }
        for one in alerts
        if one.inhibited_by
    ]
