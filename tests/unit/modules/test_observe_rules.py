"""The module that brings the declared alerts to Prometheus: what it gives is tested and laid, a fault is told."""

from __future__ import annotations

import io
import json
import sys

import pytest
from ansible.module_utils.testing import patch_module_args


def run(module, monkeypatch, **parameters):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with patch_module_args({**parameters, "_ansible_check_mode": False}), pytest.raises(SystemExit):
        module.main()
    return json.loads(out.getvalue())


def test_the_declared_alerts_are_tested_by_promtool_and_laid_once(load, monkeypatch, tmp_path):
    given = run(load("observe_rules"), monkeypatch, file=str(tmp_path / "observe.yml"))
    assert not given["changed"]
    assert given["inhibit_rules"]
    (tmp_path / "slo-x.yml").write_text("groups: []\n")
    wanted = {"dest": str(tmp_path), "rules": given["rules"], "tests": given["tests"], "prefix": "observe-"}
    first = run(load("prometheus_rules"), monkeypatch, **wanted)
    assert first["changed"]
    assert first["tested"] == 1
    assert not run(load("prometheus_rules"), monkeypatch, **wanted)["changed"]
    assert (tmp_path / "slo-x.yml").exists()


def test_a_fault_in_a_teams_file_is_told_with_its_place(load, monkeypatch, tmp_path):
    (tmp_path / "observe.yml").write_text("alerts:\n  - {name: a}\n")
    result = run(load("observe_rules"), monkeypatch, file=str(tmp_path / "observe.yml"))
    assert result["failed"]
    assert "observe.alerts[0].name" in result["msg"].replace("\n", "").replace(" ", "")
    assert "observe.yml" in result["msg"]
