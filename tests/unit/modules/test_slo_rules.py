"""The modules that bring the rules of the SLOs to Prometheus: tested before anything is laid, all or none."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

ROOT = Path(__file__).resolve().parents[3]
SLOS = ROOT / "inventories" / "lab" / "slos"


def run(module: Any, monkeypatch: pytest.MonkeyPatch, *, check: bool = False, **parameters: Any) -> dict[str, Any]:
    """Run a module as Ansible does, and return its result."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with patch_module_args({**parameters, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


@pytest.fixture
def generated(load, monkeypatch):
    module = load("slo_rules")
    return run(module, monkeypatch, folder=str(SLOS), page_receiver="duty", ticket_receiver="board")


@pytest.fixture
def lay(load, monkeypatch, tmp_path):
    module = load("prometheus_rules")
    (tmp_path / "rules.d").mkdir()

    def _lay(**parameters: Any) -> dict[str, Any]:
        return run(module, monkeypatch, **{"dest": str(tmp_path / "rules.d"), **parameters})

    return _lay


def small(generated, name="slo-worker-success.yml"):
    return {key: {name: generated[key][name]} for key in ("rules", "tests")}


def test_what_is_generated_is_what_the_command_writes(generated):
    names = {f"slo-{path.stem}.yml" for path in SLOS.glob("*.yml")}
    assert set(generated["rules"]) == set(generated["tests"]) == names
    assert generated["changed"] is False
    assert [route["receiver"] for route in generated["alerting"]["routes"]] == ["duty", "board"]
    for text in generated["rules"].values():
        assert yaml.safe_load(text)["groups"][0]["rules"]


def test_a_bad_slo_fails_with_file_and_remedy(load, monkeypatch, tmp_path):
    (tmp_path / "bad.yml").write_text((SLOS / "api-availability.yml").read_text().replace("0.995", "1.5"))
    module = load("slo_rules")
    result = run(module, monkeypatch, folder=str(tmp_path), page_receiver="a", ticket_receiver="b")
    assert result["failed"]
    assert "bad.yml" in result["msg"]
    assert "to mend" in result["msg"]


def test_rules_are_tested_then_laid_and_a_second_time_nothing_changes(generated, lay, tmp_path):
    files = small(generated)
    first = lay(**files)
    assert first["changed"]
    assert first["tested"] == 1
    assert (tmp_path / "rules.d/slo-worker-success.yml").read_text() == files["rules"]["slo-worker-success.yml"]
    again = lay(**files)
    assert not again["changed"]
    assert again["tested"] == 0


def test_rules_of_an_slo_that_is_gone_are_removed_and_others_are_let_be(generated, lay, tmp_path):
    lay(**small(generated))
    (tmp_path / "rules.d/own.yml").write_text("groups: []\n")
    gone = lay(rules={}, tests={})
    assert gone["removed"] == ["slo-worker-success.yml"]
    assert [path.name for path in (tmp_path / "rules.d").iterdir()] == ["own.yml"]


def test_check_mode_tests_and_tells_but_lays_nothing(generated, lay, tmp_path):
    result = lay(check=True, **small(generated))
    assert result["changed"]
    assert result["tested"] == 1
    assert "worker-success" in result["diff"][0]["after"]
    assert list((tmp_path / "rules.d").iterdir()) == []


@pytest.mark.parametrize(("old", "new"), [("severity: page", "severity: ticket"), ("sum(", "sum((")])
def test_rules_that_promtool_refuses_or_whose_tests_fail_change_nothing(generated, lay, tmp_path, old, new):
    files = small(generated)
    text = files["rules"]["slo-worker-success.yml"]
    assert old in text
    result = lay(rules={"slo-worker-success.yml": text.replace(old, new)}, tests=files["tests"])
    assert result["failed"]
    assert "nothing was laid" in result["msg"]
    assert list((tmp_path / "rules.d").iterdir()) == []


def test_names_that_are_not_its_own_and_a_missing_folder_are_refused(lay):
    assert "expected: names like slo-NAME.yml" in lay(rules={"../x.yml": ""})["msg"]
    assert "slo_rules_dest" in lay(dest="/nowhere", rules={})["msg"]
