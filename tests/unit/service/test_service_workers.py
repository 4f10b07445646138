"""Workers by name: what a service file may say of them, and what is told of the `worker:` that there was."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.turnout.ops.plugins.filter import service as filters
from service_examples import full, small
from turnout.faults import Fault, FaultsError
from turnout.service import load
from turnout.service.units import drop_ins

BASE = Path("/inventory")


def three() -> dict[str, Any]:
    value = full()
    value["workers"] |= {
        "mails": {"command": "bin/mails", "drain_s": 300, "metrics_port": {"blue": 9121, "green": 9131}},
        "big-jobs": {"command": "bin/big", "group": "mailers", "quiesce_signal": "SIGTSTP"},
    }
    return value


def faults(value: Any) -> list[Fault]:
    with pytest.raises(FaultsError) as caught:
        load(value, base_dir=BASE)
    return list(caught.value.faults)


def test_each_kind_has_its_own_units_signals_and_ports():
    texts = drop_ins(load(three(), base_dir=BASE), "green")
    assert {name.partition(".")[0] for name in texts if "worker" in name} == {
        "shop-worker-jobs@green", "shop-worker-jobs@green-2", "shop-worker-mails@green", "shop-worker-big-jobs@green",
    }  # fmt: skip
    mails = texts["shop-worker-mails@green.service.d/turnout.conf"]
    assert "Environment=METRICS_PORT=9131\n" in mails
    assert "TimeoutStopSec=305\n" in mails
    assert "Quiesce" not in mails
    assert "X-Turnout-Quiesce=SIGTSTP\n" in texts["shop-worker-big-jobs@green.service.d/turnout.conf"]


def test_the_worker_of_an_earlier_version_is_refused_with_the_line_to_write():
    value = small()
    value["worker"] = {"command": "bin/worker --queue 'a b'", "drain_s": 60, "metrics_port": {"blue": 9101, "green": 2}}
    (fault,) = faults(value)
    assert (fault.path, fault.observed) == ("service.worker", "a key of an earlier version")
    line = fault.remedy.partition("): ")[2]
    assert yaml.safe_load(line) == {"workers": {"jobs": value["worker"]}}
    assert load({**small(), "worker": None}, base_dir=BASE).workers == {}
    for asked in (filters.worker_ports, lambda one: filters.worker_jobs(one, {})):  # as turnout.ops.site asks
        with pytest.raises(AnsibleFilterError, match=r"write in its place .*workers: \{jobs: \{command: bin/worker"):
            asked(value)


@pytest.mark.parametrize("name", ["Mails", "mails_2", "-mails", "mails-", "api", "big-web", "worker", "2nd", "a" * 32])
def test_a_name_that_would_be_no_unit_of_its_own_is_refused(name):
    value = small()
    value["workers"] = {name: {"command": "bin/worker"}}
    (fault,) = faults(value)
    assert fault.path == f"service.workers.{name}"
    assert "rename it, to e.g. mails" in fault.remedy


def test_a_port_of_an_instance_that_another_kind_has_is_refused():
    value = three()
    value["workers"]["mails"]["metrics_port"]["blue"] = 9102  # the second of jobs
    (fault,) = faults(value)
    assert fault.path == "service.workers.mails.metrics_port.blue"
    assert "9102, which service.workers.jobs.metrics_port.blue has too" in fault.observed


def test_hosts_get_and_monitoring_scrapes_the_kinds_that_run_there():
    groups = {"worker": ["app1", "mail1"], "mailers": ["mail1"]}
    value = {**three(), "releases": {"source": "/releases", "allowed_signers": "signers"}}
    laid = filters.drop_ins(value, "blue", host="mail1", groups=groups)
    assert sorted(name.partition(".")[0] for name in laid) == [
        "shop-api@blue", "shop-scheduler@blue", "shop-worker-big-jobs@blue",
    ]  # fmt: skip
    assert filters.worker_ports(value) == [9101, 9102, 9111, 9112, 9121, 9131]
    assert filters.worker_ports(value, "mail1", groups) == []
    assert filters.worker_ports({"name": "shop"}) == []
    assert [(job["job"], job["hosts"], job["instances"]) for job in filters.worker_jobs(value, groups)] == [
        ("shop-worker-jobs", ["app1"], 2), ("shop-worker-mails", ["app1"], 1),
    ]  # fmt: skip
