"""The service's units, as systemd itself reads them: on Debian 12's systemd where this machine has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/service_host"
MOST = 2.5


def rendered(process: str, **values: Any) -> str:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    environment = jinja2.Environment(trim_blocks=True)  # as Ansible has it  # noqa: S701

    def combine(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, **other}

    environment.filters["combine"] = combine
    template = environment.from_string((ROLE / "templates/unit@.service").read_text())
    names = {"service_host_name": "shop", "service_host_user": "daemon", "item": process, "ansible_managed": ""}
    return template.render({**defaults, "service_host_restart_steps": 0, **names, **values}) + "\n"


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("process", ["api", "worker", "scheduler"])
def test_a_process_that_ends_by_itself_comes_back_for_ever(process: str) -> None:
    unit = settings(rendered(process))
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert "StartLimitBurst" not in unit
    assert unit["WantedBy"] == ["multi-user.target"]


def test_a_worker_that_was_told_to_take_no_new_jobs_stays_down_and_nobody_else_does() -> None:
    assert settings(rendered("worker"))["ExecCondition"] == ["+/usr/bin/test ! -e /run/turnout/%n.quiesced"]
    assert settings(rendered("worker-mails"))["ExecCondition"] == ["+/usr/bin/test ! -e /run/turnout/%n.quiesced"]
    assert "ExecCondition" not in settings(rendered("api"))


def test_a_timers_job_runs_once_and_asks_where_its_home_is() -> None:
    unit = settings(rendered("timer"))
    assert unit["Type"] == ["oneshot"]
    assert unit["ExecCondition"] == ["+/usr/local/sbin/turnout-scheduler-home shop %n"]
    assert not {"Restart", "RestartSec", "WantedBy"} & set(unit)
    assert unit["CapabilityBoundingSet"] == settings(rendered("api"))["CapabilityBoundingSet"]


def test_a_scheduler_asks_where_its_home_is() -> None:
    unit = settings(rendered("scheduler"))
    assert unit["ExecCondition"] == ["+/usr/local/sbin/turnout-scheduler-home shop %n"]
    # What is looked at before the start is the host, also where the release is an image.
    assert unit["RootDirectoryStartOnly"] == ["yes"]


def test_the_wait_grows_where_systemd_knows_of_it() -> None:
    growing = settings(rendered("api", service_host_restart_steps=5))
    assert (growing["RestartSteps"], growing["RestartMaxDelaySec"]) == (["5"], ["15"])
    assert not {"RestartSteps", "RestartMaxDelaySec"} & set(settings(rendered("api")))


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


@needs_systemd
@pytest.mark.parametrize("process", ["api", "worker", "scheduler", "timer"])
def test_systemd_finds_nothing_to_say_and_the_unit_little_exposed(process: str, tmp_path: Path) -> None:
    unit = tmp_path / f"shop-{process}@blue.service"
    unit.write_text(rendered(process))
    read = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    # Of this machine, not of the unit: it has not got the program that the role lays.
    said = [line for line in read.stderr.splitlines() if "turnout-scheduler-home is not executable" not in line]
    assert [line for line in said if unit.name in line] == []
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert float(exposure) <= MOST
