"""The old version back, whatever else is broken."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from conftest import SHORT_ANSWERS
from harness import EDGES, Turnout
from turnout.lab.hosts import Hosts
from turnout.lab.topology import host_named


@pytest.fixture
def hosts(turnout: Turnout) -> Hosts:
    return turnout.hosts


@pytest.fixture
def on_1_1_0(turnout: Turnout) -> Turnout:
    """Return the lab with 1.1.0 in service and 1.0.0 warm."""
    turnout.ensure("1.0.0")
    turnout.ensure("1.1.0")
    return turnout


@pytest.fixture
def half_the_systems_down(on_1_1_0: Turnout, hosts: Hosts) -> Iterator[None]:
    paused = []
    try:
        for name in ("data1", "mon1", "store1"):
            hosts.pause(host_named(name))
            paused.append(name)
        yield
    finally:
        for name in paused:
            hosts.unpause(host_named(name))
        time.sleep(2)


@pytest.mark.usefixtures("half_the_systems_down")
def test_with_database_redis_monitoring_and_store_down(on_1_1_0: Turnout) -> None:
    run = on_1_1_0.rollback()
    assert "all traffic is back" in run.out, run.tail
    assert on_1_1_0.in_service() == "1.0.0"


def test_an_edge_that_is_gone_is_named_and_the_other_moves(on_1_1_0: Turnout, hosts: Hosts) -> None:
    hosts.pause(host_named("edge2"))
    try:
        run = on_1_1_0.rollback()
        assert run.rc != 0, "an edge that still sends users to the bad version is not a success"
        assert "edge2 UNREACHABLE" in run.out
        edge = on_1_1_0.edge("edge1")
        assert edge["releases"][edge["stable"]]["release"] == "1.0.0"
    finally:
        hosts.unpause(host_named("edge2"))
    time.sleep(1)
    again = on_1_1_0.rollback()
    assert again.rc == 0, again.tail
    assert on_1_1_0.in_service() == "1.0.0"


def test_an_edge_that_ssh_does_not_reach_while_it_serves_loses_no_request(on_1_1_0: Turnout, hosts: Hosts) -> None:
    """Its users are still on 1.1.0: nothing of that release is stopped before this edge, too, has said that it left."""
    left = on_1_1_0.edge("edge1")["stable"]
    with on_1_1_0.load(rate=40, mix=SHORT_ANSWERS) as load:
        hosts.cut_off(host_named("edge2"), [f"{on_1_1_0.lab.subnet}.1"], port=22)
        try:
            run = on_1_1_0.rollback()
            assert run.rc != 0
            assert f"{left} stays up" in run.out, run.tail
            assert "edge2" in run.out
            for host in ("app1", "app2"):
                assert {f"api@{left}", f"worker-jobs@{left}"} <= on_1_1_0.units(host)
        finally:
            hosts.heal(host_named("edge2"))
        time.sleep(3)
        again = on_1_1_0.rollback()
        assert again.rc == 0, again.tail
    assert load.report["failed"] == 0, load.report
    assert on_1_1_0.in_service() == "1.0.0"
    for host in ("app1", "app2"):
        assert on_1_1_0.units(host).isdisjoint({f"api@{left}", f"worker-jobs@{left}"})


def test_an_application_host_that_is_gone_is_named_and_the_rest_goes_on(on_1_1_0: Turnout, hosts: Hosts) -> None:
    hosts.pause(host_named("app2"))
    try:
        run = on_1_1_0.rollback()
        assert run.rc != 0
        assert "app2 UNREACHABLE" in run.out
        assert on_1_1_0.in_service() == "1.0.0"
    finally:
        hosts.unpause(host_named("app2"))
    time.sleep(2)
    again = on_1_1_0.rollback()
    assert again.rc == 0, again.tail
    stable = on_1_1_0.edge("edge1")["stable"]
    assert f"worker-jobs@{stable}" in on_1_1_0.units("app2")
    assert on_1_1_0.units("app2").isdisjoint({f"worker-jobs@{color}" for color in ("blue", "green") if color != stable})


def test_a_target_that_is_down_is_refused_until_somebody_takes_the_blame(on_1_1_0: Turnout) -> None:
    warm = on_1_1_0.edge("edge1")["previous"]
    for host in ("app1", "app2"):
        on_1_1_0.ssh(host, f"systemctl stop sample-api@{warm}")
    time.sleep(3)
    run = on_1_1_0.rollback()
    assert run.rc != 0
    assert "break_glass" in run.out or "--force" in run.out
    assert on_1_1_0.in_service() == "1.1.0", "refused before traffic moved"
    for host in ("app1", "app2"):
        on_1_1_0.ssh(host, f"systemctl start sample-api@{warm}")
    run = on_1_1_0.rollback("-e", "break_glass=tested")
    assert run.rc == 0, run.tail
    journal = on_1_1_0.ssh("edge1", "tail -n 40 /var/lib/turnout/journal.jsonl")
    assert "tested" in journal


def test_a_schema_that_the_target_cannot_run_on_is_refused(on_1_1_0: Turnout) -> None:
    say = "turnout-edge --run schema --actor test"
    for edge in EDGES:
        on_1_1_0.ssh(edge, f"{say} lock take --ttl-s 60 && {say} schema --version 2 --last-contract 2")
        on_1_1_0.ssh(edge, f"{say} lock release")
    try:
        run = on_1_1_0.rollback()
        assert run.rc != 0
        assert "schema" in run.out
        assert on_1_1_0.in_service() == "1.1.0"
    finally:
        for edge in EDGES:
            on_1_1_0.ssh(edge, f"{say} lock take --ttl-s 60 && {say} schema --version 2 --last-contract 0")
            on_1_1_0.ssh(edge, f"{say} lock release")


def test_the_edges_own_command_needs_no_arguments(on_1_1_0: Turnout) -> None:
    took = []
    for edge in EDGES:
        answer = json.loads(on_1_1_0.ssh(edge, "turnout-edge rollback 2>/dev/null"))
        assert answer["ok"], answer
        took.append(answer["took_ms"])
    assert on_1_1_0.in_service() == "1.0.0"
    assert max(took) < 1000, took
    # The hosts follow what the edges say, once somebody can run the playbook.
    run = on_1_1_0.rollback()
    assert run.rc == 0, run.tail
    assert on_1_1_0.schedulers() == [f"app1:{on_1_1_0.edge('edge1')['stable']}"]
