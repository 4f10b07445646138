"""Application hosts that reboot, lose a unit, or hear from a run that was overtaken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from harness import APPS, OTHER, Turnout
from turnout.lab.topology import host_named

WITHIN_S = 60  # what was in service runs again, counted from the start of the hosts


def _until(what: Callable[[], object], wanted: object, limit_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + limit_s
    while (seen := what()) != wanted:
        assert time.monotonic() < deadline, f"{seen}; expected {wanted}"
        time.sleep(0.5)


def _in_service(turnout: Turnout) -> dict[str, set[str]]:
    """Return the units that each host ought to run: what is in service, and the API that is the way back, if any."""
    edge = turnout.edge("edge1")
    color = edge["stable"]
    both = {f"api@{color}", f"worker-jobs@{color}"} | ({f"api@{edge['previous']}"} if edge["previous"] else set())
    return {"app1": {*both, f"scheduler@{color}"}, "app2": both}


def _running(turnout: Turnout) -> dict[str, set[str]]:
    return {host: turnout.units(host) for host in APPS}


@pytest.fixture(scope="module")
def released(turnout: Turnout) -> Turnout:
    """Return the lab after a release of 1.1.0 by this session, with all that a release leaves on the hosts."""
    turnout.ensure("1.0.0")
    turnout.publish("1.1.0")
    run = turnout.deploy("1.1.0")
    assert run.rc == 0, run.tail
    return turnout


@pytest.fixture
def with_a_way_back(released: Turnout) -> Turnout:
    """Return the lab with 1.1.0 in service and 1.0.0 warm, whatever the test before left."""
    turnout = released
    edge = turnout.edge("edge1")
    if edge["undone"] or not edge["previous"]:
        turnout.ensure("1.0.0")
    turnout.ensure("1.1.0")
    _until(lambda: _running(turnout), _in_service(turnout))
    return turnout


def test_hosts_that_reboot_come_back_with_what_they_served(with_a_way_back: Turnout) -> None:
    turnout = with_a_way_back
    wanted = _in_service(turnout)
    hosts = [host_named(name) for name in APPS]
    for host in hosts:
        turnout.hosts.kill(host)
    for host in hosts:
        turnout.hosts.start(host)
    _until(lambda: _running(turnout), wanted)
    assert turnout.schedulers() == [f"app1:{turnout.edge('edge1')['stable']}"]


def test_a_host_that_reboots_after_a_rollback_comes_back_with_what_was_rolled_back_to(with_a_way_back: Turnout) -> None:
    turnout = with_a_way_back
    assert turnout.rollback().rc == 0
    wanted = _in_service(turnout)
    turnout.hosts.kill(host_named("app1"))
    turnout.hosts.start(host_named("app1"))
    _until(lambda: _running(turnout), wanted)


def test_a_deploy_of_what_is_in_service_starts_what_does_not_run(with_a_way_back: Turnout) -> None:
    turnout = with_a_way_back
    wanted = _in_service(turnout)
    color = turnout.edge("edge1")["stable"]
    turnout.ssh(
        "app1", f"systemctl disable --now sample-api@{color} sample-worker-jobs@{color} sample-scheduler@{color}"
    )
    turnout.ssh("app2", f"systemctl disable --now sample-api@{OTHER[color]}")
    run = turnout.deploy("1.1.0")
    assert run.rc == 0, run.tail
    assert "in service already" in run.out
    assert _running(turnout) == wanted
    for host, units in wanted.items():
        for unit in units:
            assert turnout.ssh(host, f"systemctl is-enabled sample-{unit}").strip() == "enabled", (host, unit)


def test_an_api_outlasts_any_number_of_crashes_and_a_quiesced_worker_stays_down(with_a_way_back: Turnout) -> None:
    turnout = with_a_way_back
    color = turnout.edge("edge1")["stable"]
    for _ in range(7):
        turnout.ssh("app2", f"systemctl kill --signal=KILL sample-api@{color}; sleep 1.2")
    _until(lambda: f"api@{color}" in turnout.units("app2"), True)
    unit = f"sample-worker-jobs@{color}.service"
    pid = turnout.ssh("app2", f"systemctl show -P MainPID {unit}").strip()
    turnout.ssh("app2", f"mkdir -p /run/turnout; echo {pid} > /run/turnout/{unit}.quiesced; kill {pid}")
    _until(lambda: turnout.ssh("app2", f"systemctl is-active {unit}", check=False).strip(), "inactive")
    time.sleep(3)
    assert turnout.ssh("app2", f"systemctl is-active {unit}", check=False).strip() == "inactive"
    assert turnout.deploy("1.1.0").rc == 0
    assert f"worker-jobs@{color}" in turnout.units("app2")


def test_a_run_that_was_overtaken_stops_nothing_on_an_application_host(with_a_way_back: Turnout) -> None:
    """A laptop that slept between declare and move, and wakes up after somebody rolled back."""
    turnout = with_a_way_back
    before = _running(turnout)
    color = turnout.edge("edge1")["stable"]
    record = json.loads(turnout.ssh("app1", "cat /var/lib/turnout-slots/sample/fence.json"))
    given = json.dumps(
        {
            "service": "sample", "run": "0-slept", "fence": record["fence"], "color": color,
            "processes": ["api", "worker", "scheduler"], "state": "stopped",
        }
    )  # fmt: skip
    run = turnout.module("app1", "turnout.ops.units", given)
    assert "error[fence]" in run and "run 0-slept" in run, run
    assert _running(turnout) == before


def test_a_home_that_does_not_answer_is_not_replaced_until_a_person_says_so(with_a_way_back: Turnout) -> None:
    """And once it is, the host that comes back leaves the scheduler where it is now."""
    turnout = with_a_way_back
    color = turnout.edge("edge1")["stable"]
    app1 = host_named("app1")
    turnout.hosts.kill(app1)
    try:
        run = turnout.rollback()
        assert "app1 did not answer and counts as running it" in run.out, run.tail
        assert turnout.units("app2") & {"scheduler@blue", "scheduler@green"} == set()
        word = ("-e", "scheduler_home=app2", "-e", "break_glass=app1 is switched off for good")
        run = turnout.rollback(*word)
        assert f"scheduler@{OTHER[color]}" in turnout.units("app2"), run.tail
    finally:
        turnout.hosts.start(app1)
    time.sleep(15)
    assert turnout.schedulers() == [f"app2:{OTHER[color]}"]
    assert turnout.rollback().rc == 0  # nothing to move: app1's processes follow, the scheduler stays
    assert turnout.schedulers() == [f"app2:{OTHER[color]}"]
    run = turnout.deploy("1.1.0")
    assert run.rc == 0, run.tail
    assert turnout.schedulers() == [f"app1:{turnout.edge('edge1')['stable']}"]


def test_a_frozen_home_that_wakes_up_stops_its_scheduler_where_a_person_has_moved_it(
    with_a_way_back: Turnout,
) -> None:
    """Nothing starts there and nothing reboots: the host goes on where it stood."""
    turnout = with_a_way_back
    color = turnout.edge("edge1")["stable"]
    app1 = host_named("app1")
    turnout.hosts.pause(app1)
    try:
        word = ("-e", "scheduler_home=app2", "-e", "break_glass=app1 does not answer")
        run = turnout.rollback(*word)
        assert f"scheduler@{OTHER[color]}" in turnout.units("app2"), run.tail
    finally:
        turnout.hosts.unpause(app1)
    _until(turnout.schedulers, [f"app2:{OTHER[color]}"], limit_s=10)
    assert "the scheduler's home is app2" in turnout.ssh("app1", "journalctl -u turnout-scheduler-watch@sample -n 5")
    run = turnout.deploy("1.1.0")
    assert run.rc == 0, run.tail
    assert turnout.schedulers() == [f"app1:{turnout.edge('edge1')['stable']}"]
