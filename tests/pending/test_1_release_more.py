"""A release and the way back, and that doing the same again changes nothing."""

from __future__ import annotations

import json

from conftest import snapshot
from harness import Turnout
from turnout.lab.topology import host_named


def test_a_failed_release_leaves_the_way_back_as_warm_as_it_was(turnout: Turnout) -> None:
    turnout.publish("3.0.1", "crash-at-start")
    turnout.ensure("1.0.0")
    turnout.ensure("1.1.0")
    before = snapshot(turnout)
    assert turnout.deploy("3.0.1").rc != 0
    assert snapshot(turnout) == before
    # The failed release was put back already: a rollback that is typed now must not go one release too far ...
    run = turnout.rollback()
    assert run.rc == 0, run.tail
    assert "--further" in run.out
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
    stable, idle = edge["stable"], {"blue": "green", "green": "blue"}[edge["stable"]]
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
