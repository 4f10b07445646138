"""The guard between deploys, on real edges: a page that reaches Alertmanager takes the release back, once."""

from __future__ import annotations

import json
import shlex
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from harness import APPS, EDGES, Turnout


def tell_alertmanager(turnout: Turnout, slo: str, *, ends: bool = False, began_s: float = 0.0) -> None:
    """Hand a page to the lab's Alertmanager, as Prometheus does."""
    now = datetime.now(UTC)
    alert: dict[str, Any] = {
        "labels": {"alertname": "SloBudgetBurn", "severity": "page", "service": "sample", "slo": slo, "burn": "14.4"},
        "annotations": {"summary": f"sample: {slo} burns 14.4 times its budget"},
        "startsAt": (now - timedelta(seconds=began_s)).isoformat(),
        "endsAt": (now - timedelta(seconds=1) if ends else now + timedelta(minutes=5)).isoformat(),
    }
    request = urllib.request.Request(
        f"http://{turnout.address('mon1')}:9093/api/v2/alerts",
        data=json.dumps([alert]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the address is written above
        assert answer.status == 200


# One of its own: what a page took back is not released again, in any test.
VERSION = "1.1.17"
TRIAL_RULES = "/etc/prometheus/rules.d/page-watch-trial.yml"


def burn(turnout: Turnout, slo: str) -> None:
    """Let the lab's Prometheus record a burn of an SLO that exists for this test only."""
    named = {"slo": slo, "service": "sample"}
    values = {"slo:objective": 0.99, "slo:bad_ratio:rate1h": 0.5, "slo:bad_ratio:rate5m": 0.5}
    recorded = [{"record": name, "expr": f"vector({value})", "labels": named} for name, value in values.items()]
    rules = json.dumps({"groups": [{"name": "page-watch-trial", "interval": "1s", "rules": recorded}]})
    turnout.ssh("mon1", f"echo {shlex.quote(rules)} > {TRIAL_RULES} && systemctl reload prometheus")
    query = f"http://{turnout.address('mon1')}:9090/api/v1/query?query=slo:bad_ratio:rate1h%7Bslo=%22{slo}%22%7D"
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(query, timeout=10) as answer:
            if json.loads(answer.read())["data"]["result"]:
                return
        assert time.monotonic() < deadline, "Prometheus does not record the burn"
        time.sleep(0.5)


def said(turnout: Turnout, edge: str) -> str:
    return turnout.ssh(edge, "journalctl -u turnout-page-watch --no-pager -o cat")


@pytest.fixture
def guarded(turnout: Turnout) -> Iterator[Turnout]:
    """Return the lab with 1.1.0 in service, 1.0.0 warm behind it, and the guard on both edges."""
    turnout.ensure("1.0.0")
    turnout.ensure(VERSION)
    try:
        run = turnout.playbook("watch", "-e", "page_watch_poll_s=1")
        assert run.rc == 0, run.tail
        yield turnout
    finally:
        for slo in ("before", "api-availability", "trial", "worker-success"):
            tell_alertmanager(turnout, slo, ends=True, began_s=7200)
        turnout.ssh("mon1", f"rm -f {TRIAL_RULES} && systemctl reload prometheus")
        run = turnout.playbook("watch", "-e", "page_watch_enabled=false")
        assert run.rc == 0, run.tail


def test_a_page_takes_the_release_back_on_every_edge_once_and_losing_no_request(guarded: Turnout) -> None:
    for edge in EDGES:
        assert guarded.ssh(edge, "systemctl is-active turnout-page-watch").strip() == "active"
    # A page from before the release is not its fault.
    tell_alertmanager(guarded, "before", began_s=3 * 3600)
    deadline = time.monotonic() + 60
    while not all("they began before" in said(guarded, edge) for edge in EDGES):
        assert time.monotonic() < deadline, {edge: said(guarded, edge) for edge in EDGES}
        time.sleep(0.5)
    assert guarded.in_service() == VERSION

    # A forged one, which Prometheus knows nothing of, moves nobody.
    tell_alertmanager(guarded, "api-availability")
    deadline = time.monotonic() + 60
    while not all("does not see the budget of api-availability burn" in said(guarded, edge) for edge in EDGES):
        assert time.monotonic() < deadline, {edge: said(guarded, edge) for edge in EDGES}
        time.sleep(0.5)
    assert guarded.in_service() == VERSION

    with guarded.load(rate=30, new_connections="0.3") as load:
        burn(guarded, "trial")
        tell_alertmanager(guarded, "trial")
        deadline = time.monotonic() + 60
        while any("all traffic is back on" not in said(guarded, edge) for edge in EDGES):
            assert time.monotonic() < deadline, {edge: said(guarded, edge) for edge in EDGES}
            time.sleep(0.5)
    assert load.report["requests"] > 0
    assert load.report["failed"] == 0, load.report
    assert guarded.in_service() == "1.0.0"
    for edge in EDGES:
        shown = guarded.edge(edge)
        held, back = [entry for entry in shown["ledger"] if entry.get("actor") == "page-watch"][-2:]
        assert (back["kind"], held["kind"], held["release"]) == ("rollback", "quarantine", VERSION)
        assert held["sha256"]
        assert "trial burns 14.4 times its budget" in held["why"]
        assert shown["agree"]
        assert not shown["lock"]["held"]

    # Another page, about the release that serves now: there is nothing further to go back to by itself.
    tell_alertmanager(guarded, "worker-success")
    deadline = time.monotonic() + 60
    while any("there is no way back" not in said(guarded, edge) for edge in EDGES):
        assert time.monotonic() < deadline, {edge: said(guarded, edge) for edge in EDGES}
        time.sleep(0.5)
    assert guarded.in_service() == "1.0.0"

    # Workers and scheduler follow by the playbook, which finds the traffic where it belongs.
    run = guarded.rollback()
    assert run.rc == 0, run.tail
    color = guarded.edge("edge1")["stable"]
    assert all(f"worker-jobs@{color}" in guarded.units(host) for host in APPS)


def test_without_the_key_the_guard_is_gone(turnout: Turnout) -> None:
    run = turnout.playbook("watch", "-e", "page_watch_enabled=false")
    assert run.rc == 0, run.tail
    for edge in EDGES:
        assert "not-found" in turnout.ssh(edge, "systemctl show -p LoadState turnout-page-watch", check=False), (
            "the unit is still known"
        )
        assert "page" not in turnout.ssh(edge, "ls /etc/turnout")
