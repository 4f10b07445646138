"""The fire alarm on the lab: every alert there reaches its receiver, and what stands in the way of one is named."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import EDGES, Turnout


@pytest.fixture(scope="module")
def laid(turnout: Turnout) -> Iterator[Turnout]:
    run = turnout.playbook("site", "--tags", "monitoring,slo_rules")
    assert run.rc == 0, run.tail
    yield turnout
    turnout.ssh("mon1", "systemctl start turnout-alert-sink")


def amtool(turnout: Turnout, words: str) -> str:
    return turnout.ssh("mon1", f"amtool --alertmanager.url=http://{turnout.address('mon1')}:9093 {words}").strip()


def test_every_alert_reaches_its_receiver(laid: Turnout) -> None:
    run = laid.playbook("alert_drill")
    assert run.rc == 0, run.tail
    assert "HostDown (page)" in run.out
    assert "NOT PROVEN" not in run.out
    kept = json.loads(laid.ssh("mon1", "cat /var/lib/turnout/alert-drill.json"))["alerts"]
    assert len(kept) > 20
    assert all(one["proven_at"] for one in kept.values())
    assert laid.ssh("mon1", "ls /etc/prometheus/rules.d | grep -c drill", check=False).strip() == "0"
    for edge in EDGES:
        lines = json.loads(laid.ssh(edge, "turnout-edge ledger --tail 20"))["lines"]
        entry = next(line for line in reversed(lines) if line["kind"] == "alert-drill")
        assert entry["alerts"] == entry["proven"] == len(kept)


def test_a_silence_and_a_receiver_that_is_down_are_named(laid: Turnout) -> None:
    silence = amtool(laid, "silence add alertname=HostDown --author=anna --comment='noisy last night' --duration=5m")
    try:
        run = laid.playbook("alert_drill", "-e", "alert=HostDown")
    finally:
        amtool(laid, f"silence expire {silence}")
    assert run.rc != 0
    assert f"silence {silence} of anna swallowed it" in run.out
    laid.ssh("mon1", "systemctl stop turnout-alert-sink")
    try:
        run = laid.playbook("alert_drill", "-e", "alert=RedisDown")
    finally:
        laid.ssh("mon1", "systemctl start turnout-alert-sink")
    assert run.rc != 0
    assert "the receiver sink cannot be read back: Connection refused" in run.out
    assert "requests of Alertmanager that failed meanwhile: webhook: " in run.out


def test_where_it_is_not_allowed_nothing_fires(laid: Turnout) -> None:
    run = laid.playbook("alert_drill", "-e", '{"alert_drill_allowed": false}')
    assert run.rc != 0
    assert "error[alert-drill-allowed]" in run.out
    assert "alert_drill_allowed: true" in run.out
