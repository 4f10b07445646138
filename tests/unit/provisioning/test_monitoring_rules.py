from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
RULES = sorted(path.relative_to(ROLES) for path in ROLES.glob("*/files/turnout-*.yml"))
each = pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)


def cases(rules: Path) -> Path:
    """Return the file of promtool's cases that goes with a file of rules."""
    return ROLES / rules.parts[0] / "tests" / f"{rules.stem}.test.yml"


def test_there_are_rules() -> None:
    assert {path.stem for path in RULES} >= {"turnout-hosts", "turnout-recovery"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@each
def test_the_alerts_fire_when_they_should_and_only_then(rules: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", cases(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_every_alert_has_a_case_in_which_it_fires(rules: Path) -> None:
    alerts = {r["alert"] for group in yaml.safe_load((ROLES / rules).read_text())["groups"] for r in group["rules"]}
    looked = [c for test in yaml.safe_load(cases(rules).read_text())["tests"] for c in test["alert_rule_test"]]
    assert alerts == {case["alertname"] for case in looked if case["exp_alerts"]}


@each
def test_every_alert_says_what_is_wrong_and_what_to_do(rules: Path) -> None:
    for group in yaml.safe_load((ROLES / rules).read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
            assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]


def test_every_alert_about_recovery_has_a_case_in_which_it_does_not_fire() -> None:
    tests = yaml.safe_load(cases(Path("recovery_monitoring/files/turnout-recovery.yml")).read_text())["tests"]
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    loud = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert quiet == loud
