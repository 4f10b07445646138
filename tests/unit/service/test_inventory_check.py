"""The inventory's static checks, all told at once."""

from pathlib import Path
from typing import Any

import pytest
from service_examples import full, small
from turnout.inventory_check import check
from turnout.service import load
from turnout.service.units import worker_names

BASE = Path("/inventory")
GROUPS = {
    "all": ["edge1", "edge2", "app1", "app2", "data1"],
    "edge": ["edge1", "edge2"],
    "api": ["app1", "app2"],
    "worker": ["app1", "app2"],
    "postgres": ["data1"],
}
HOSTS: dict[str, dict[str, Any]] = {
    name: {"ansible_host": f"10.0.0.{number}"} for number, name in enumerate(GROUPS["all"], start=1)
}
SERVICE = load(full(), base_dir=BASE)
SMALL = load(small(), base_dir=BASE)


def paths(groups: Any, hosts: Any = HOSTS, service: Any = SERVICE) -> list[str]:
    return [fault.path for fault in check(groups, hosts, service)]


def test_a_good_inventory_has_no_fault():
    assert paths(GROUPS) == []


@pytest.mark.parametrize("missing", ["edge", "api"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_group_that_every_service_needs(missing, empty):
    groups = {name: ([] if empty and name == missing else hosts) for name, hosts in GROUPS.items()}
    if not empty:
        del groups[missing]
    assert paths(groups) == [f"groups.{missing}"]


def test_workers_are_needed_only_where_the_service_has_them():
    groups = {name: hosts for name, hosts in GROUPS.items() if name != "worker"}
    assert paths(groups) == ["groups.worker"]
    assert paths(groups, service=SMALL) == []


def test_an_unchecked_service_is_looked_at_too():
    groups = {name: hosts for name, hosts in GROUPS.items() if name != "worker"}
    assert paths(groups, service={"scheduler": {}}) == ["groups.worker"]
    assert paths(groups, service={"timers": {"nightly": {}}}) == ["groups.worker"]
    assert paths(groups, service={"timers": {}}) == []
    assert paths(groups, service="no mapping") == []


def test_a_misspelt_group_is_named_beside_the_missing_one():
    groups = {("edges" if name == "edge" else name): hosts for name, hosts in GROUPS.items()}
    faults = check(groups, HOSTS, SERVICE)
    assert [fault.path for fault in faults] == ["groups.edge", "groups.edges"]
    assert faults[1].remedy == "rename it to edge"


def test_groups_of_a_teams_own_are_no_fault():
    assert paths({**GROUPS, "office": ["app1"], "europe": ["edge1"]}) == []


def test_two_names_for_one_host_are_told_once():
    hosts = {**HOSTS, "app2": HOSTS["app1"], "edge2": HOSTS["edge1"]}
    assert paths(GROUPS, hosts) == ["hosts.app2.ansible_host", "hosts.edge2.ansible_host"]


def test_an_edge_may_share_a_machine_with_the_api():
    assert paths(GROUPS, {**HOSTS, "edge1": HOSTS["app1"]}) == []


def test_hosts_behind_one_address_differ_by_port():
    hosts = {**HOSTS, "app1": {"ansible_host": "127.0.0.1", "ansible_port": 2201},
             "app2": {"ansible_host": "127.0.0.1", "ansible_port": 2202}}  # fmt: skip
    assert paths(GROUPS, hosts) == []


def test_a_host_needs_an_address_or_a_name_that_is_one():
    hosts = {name: variables for name, variables in HOSTS.items() if name != "app1"}
    assert paths(GROUPS, hosts) == ["hosts.app1.ansible_host"]
    groups = {"edge": ["edge.example.com"], "api": ["10.0.0.9"]}
    assert paths(groups, {}, SMALL) == []


def test_all_faults_come_together():
    hosts = {**HOSTS, "edge2": HOSTS["edge1"], "data1": {}}
    assert paths({**GROUPS, "api": [], "worker": []}, hosts) == [
        "groups.api",
        "groups.worker",
        "hosts.edge2.ansible_host",
        "hosts.data1.ansible_host",
    ]


APART = {**GROUPS, "worker": ["app1", "app2", "data1"], "mailers": ["data1"]}


def kinds(groups_of: dict[str, str | None], *, scheduler: bool = True) -> Any:
    value = full()
    value["workers"] = {
        name: {"command": "bin/worker", **({"group": group} if group else {})} for name, group in groups_of.items()
    }
    if not scheduler:
        del value["scheduler"]
    return load(value, base_dir=BASE)


def test_a_kind_of_worker_runs_on_its_own_group_and_others_do_not():
    workers = kinds({"jobs": None, "mails": "mailers", "all": "worker"}).full()["workers"]
    assert {host: worker_names(workers, host, APART) for host in ("app1", "data1", "edge1")} == {
        "app1": ["jobs", "all"], "data1": ["mails", "all"], "edge1": [],
    }  # fmt: skip
    assert paths(APART, service=kinds({"jobs": None, "mails": "mailers", "all": "worker"})) == []


@pytest.mark.parametrize(
    ("groups", "workers", "where", "told"),
    [
        ({}, {"jobs": None, "mails": "posters"}, "service.workers.mails.group", "worker: {children: {posters: }}"),
        (
            {"mailers": ["data1"], "worker": ["app1"]},
            {"jobs": None, "mails": "mailers"},
            "groups.mailers",
            "put it below worker in the inventory: worker: {children: {mailers: }}",
        ),
        (
            {"mailers": ["app1", "app2", "data1"]},
            {"jobs": None, "mails": "mailers"},
            "service.workers.jobs",
            "workers: {jobs: {group: worker}}",
        ),
        (
            {"worker": ["data1", "app1"]},
            {"jobs": None, "mails": "mailers"},
            "groups.worker",
            "list app1 first in group worker",
        ),
    ],
)
def test_a_group_of_one_kind_that_cannot_be_is_told_with_the_lines_to_write(groups, workers, where, told):
    (fault,) = check({**APART, **groups}, HOSTS, kinds(workers))
    assert fault.path == where
    assert told in fault.remedy
