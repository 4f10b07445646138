"""A release and the way back, and that doing the same again changes nothing."""

from __future__ import annotations

import json
import time

import requests
from conftest import SHORT_ANSWERS, snapshot
from harness import APPS, EDGES, OTHER, SOON, Turnout, refused
from turnout.lab.topology import host_named


def test_a_release_under_load_and_its_rollback_lose_no_request(on_1_0_0: Turnout) -> None:
    before = snapshot(on_1_0_0)
    with on_1_0_0.load(rate=60, new_connections="0.3") as load:
        run = on_1_0_0.deploy("1.1.0")
        assert run.rc == 0, run.tail
        assert on_1_0_0.in_service() == "1.1.0"
        color = on_1_0_0.edge("edge1")["stable"]
        for host in APPS:
            # The replaced API stays warm; its workers and scheduler are gone.
            assert {unit for unit in on_1_0_0.units(host) if not unit.startswith("scheduler")} == {
                "api@blue",
                "api@green",
                f"worker-jobs@{color}",
            }
        assert on_1_0_0.schedulers() == [f"app1:{color}"]
        run = on_1_0_0.rollback()
        assert run.rc == 0, run.tail
    assert on_1_0_0.in_service() == "1.0.0"
    assert load.report["failed"] == 0, load.report
    after = snapshot(on_1_0_0)
    assert after["units"] == before["units"] or set(map(len, after["units"].values())) == {2, 3}
    assert on_1_0_0.schedulers() == [f"app1:{on_1_0_0.edge('edge1')['stable']}"]


def test_each_edge_counts_the_answers_of_both_colors_by_route(turnout: Turnout) -> None:
    for name in EDGES:
        address = turnout.address(name)
        for color in ("blue", "green"):
            answer = requests.get(
                f"http://{address}/api/tasks/?s3cret=1", headers={"X-Turnout-Color": color}, timeout=10
            )
            assert answer.headers["X-Turnout-Color"] == color
    for name in ("turnout_edge_requests_total", "turnout_edge_request_duration_seconds_count"):
        query = f'sum by (host, color) ({name}{{job="edge-latency",route="tasks"}}) > 0'
        turnout.until_found(query, 2 * len(EDGES), 20)
    turnout.until_found('up{job="edge-latency"} == 1', len(EDGES), 20)
    for name in EDGES:
        assert "s3cret" not in turnout.ssh(name, "journalctl --quiet --unit=haproxy --since=-10min --output=cat")


def test_deploying_what_is_in_service_changes_nothing_and_says_so(on_1_0_0: Turnout) -> None:
    before = snapshot(on_1_0_0)
    run = on_1_0_0.deploy("1.0.0")
    assert run.rc == 0, run.tail
    assert "in service already" in run.out
    assert snapshot(on_1_0_0) == before


def test_a_second_rollback_changes_nothing_and_says_so(turnout: Turnout) -> None:
    turnout.ensure("1.0.0")
    turnout.ensure("1.1.0")
    assert turnout.rollback().rc == 0
    assert turnout.in_service() == "1.0.0"
    before = snapshot(turnout)
    run = turnout.rollback()
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.0.0"
    assert snapshot(turnout) == before


def test_the_table_of_status_and_its_json_say_what_the_edges_say(turnout: Turnout) -> None:
    turnout.ensure("1.1.0")
    table = turnout.playbook("status")
    assert table.rc == 0, table.tail
    for word in ("1.1.0", "stable", "100 %", "app1", "app2", "edge2", "lock", "unfinished", "ledger"):
        assert word in table.out
    run = turnout.playbook("status", "-e", "format=json")
    assert run.rc == 0, run.tail
    status = json.loads(run.out)
    stable = turnout.edge("edge1")["stable"]
    assert status["stable"] == stable
    assert status["releases"][stable]["release"] == "1.1.0"
    assert set(status["edges"]) == set(EDGES)
    assert all(edge["serving_bp"][stable] == 10_000 for edge in status["edges"].values())
    for host in APPS:
        assert status["hosts"][host]["units"][f"sample-api@{stable}.service"] == "active"


def test_a_failed_release_leaves_the_way_back_as_warm_as_it_was(turnout: Turnout) -> None:
    turnout.publish("3.0.1", "crash-at-start")
    turnout.ensure("1.0.0")
    turnout.ensure("1.1.0")
    before = snapshot(turnout)
    with turnout.load(rate=30, new_connections="0.3", mix=SHORT_ANSWERS) as load:
        run = turnout.deploy("3.0.1", *turnout.with_service(api=SOON))
    # On either host: they fail at the same moment, and the first that is heard of is told.
    refused(run, "/api/health/", "had no answer")
    assert snapshot(turnout) == before
    assert load.report["failed"] == 0, load.report
    # The failed release was put back already: a rollback that is typed now must not go one release too far ...
    run = turnout.rollback()
    assert run.rc == 0, run.tail
    assert "turnout.ops.rollback -e further=true" in run.out
    assert turnout.in_service() == "1.1.0"
    # ... unless somebody says so.
    run = turnout.rollback("-e", "further=true")
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.0.0"


def test_a_reload_a_restart_and_a_reboot_of_an_edge_keep_the_share(turnout: Turnout) -> None:
    share_bp = 2_500
    if not turnout.edge("edge2")["previous"]:
        turnout.ensure("1.0.0" if turnout.in_service() == "1.1.0" else "1.1.0")
    edge = turnout.edge("edge2")
    stable, idle = edge["stable"], OTHER[edge["stable"]]
    assert edge["backends"][idle]["up"], "the replaced release is warm"
    record = json.dumps({**edge["releases"][idle], "complete": True})
    say = "turnout-edge --run keeps --actor test"
    turnout.ssh("edge2", f"{say} lock take --ttl-s 600")
    turnout.ssh("edge2", f"{say} prepare --color {idle} --release '{record}'")
    turnout.ssh("edge2", f"{say} move --share-bp {share_bp}")
    green_bp = share_bp if idle == "green" else 10_000 - share_bp
    hosts = turnout.hosts
    try:
        for command in ("systemctl reload haproxy", "systemctl restart haproxy", None):
            if command is None:
                hosts.kill(host_named("edge2"))
                hosts.start(host_named("edge2"))
            else:
                turnout.ssh("edge2", command)
            turnout.ssh("edge2", "for i in $(seq 50); do test -S /run/haproxy/admin.sock && break; sleep .1; done")
            seen = turnout.edge("edge2")
            assert (seen["live"]["green_bp"], seen["disk"]["green_bp"]) == (green_bp, green_bp), command
    finally:
        turnout.ssh(
            "edge2", "for i in $(seq 80); do turnout-edge show | grep -q '\"up\": true' && break; sleep .1; done"
        )
        turnout.ssh("edge2", f"{say} rollback --put-back")
        turnout.ssh("edge2", f"{say} settle --previous-restored")
        turnout.ssh("edge2", f"{say} lock release")
    assert turnout.edge("edge2")["stable"] == stable


def test_a_candidate_that_answers_5xx_is_taken_out_again(on_1_0_0: Turnout) -> None:
    """Its own share of the users may see its errors, until the guard goes back; nobody else may."""
    # Good in the smoke tests, bad for users. Of a name of its own, since what was rolled back is quarantined.
    version = f"3.0.{int(time.time())}"
    on_1_0_0.publish(version, "5xx=0.5", armed=True)
    with on_1_0_0.load(rate=60, mix=SHORT_ANSWERS) as load:
        run = on_1_0_0.judged(version, [("has 5 % of the traffic", lambda: on_1_0_0.arm(version))], "-e", "canary=off")
    refused(run, "5xx", "went back at once")
    assert on_1_0_0.in_service() == "1.0.0"
    report = load.report
    assert {release for release, seen in report["releases"].items() if seen["failed"]} <= {version}, report
    assert report["failed"] == sum(seen["failed"] for seen in report["releases"].values()), "a request had no answer"
