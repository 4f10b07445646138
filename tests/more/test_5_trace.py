"""Requests are found by their ids in the journals of edge, API and worker, on all hosts."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import APPS, EDGES, Run, Turnout, refused
from turnout.lab.topology import host_named

REQUESTS = 1000
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module", autouse=True)
def laid(turnout: Turnout) -> Iterator[None]:
    """Lay the edges anew, and release a sample that logs ids."""
    run = turnout.playbook("site", "--tags", "edge")
    assert run.rc == 0, run.tail
    version = "1.1.0" if turnout.in_service() == "1.0.0" else "1.0.0"
    run = turnout.deploy(version)
    assert run.rc == 0, run.tail
    yield


def create(turnout: Turnout, edge: str, headers: dict[str, str] | None = None) -> str:
    """Create a task, which makes a job; return the id that the answer says."""
    request = urllib.request.Request(
        f"http://{turnout.lab.address(host_named(edge))}/api/tasks/",
        data=json.dumps({"title": "traced", "job_ms": 0}).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        assert answer.status == 201
        return str(answer.headers["X-Request-ID"])


def trace(turnout: Turnout, found: str, *options: str) -> Run:
    """Look for a request."""
    return turnout.playbook("trace", "-e", f"id={found}", *options)


def journal(turnout: Turnout, host: str, units: str, since: float) -> str:
    """Return what units said on a host."""
    return turnout.ssh(host, f"journalctl -q -o cat --since=@{since:.0f} -u '{units}'")


def test_a_thousand_of_a_thousand_are_found_in_edge_api_and_worker(turnout: Turnout) -> None:
    since = time.time() - 2
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: create(turnout, EDGES[number % 2]), range(REQUESTS)))
    assert len(set(ids)) == REQUESTS
    places = {
        "edge": (EDGES, "haproxy.service"),
        "api": (APPS, "sample-api@*"),
        "worker": (APPS, "sample-worker-*"),
    }
    missing = dict.fromkeys(places, len(ids))
    deadline = time.monotonic() + 60
    while any(missing.values()) and time.monotonic() < deadline:
        time.sleep(2)  # the last jobs run
        for place, (hosts, units) in places.items():
            said = "".join(journal(turnout, host, units, since) for host in hosts)
            missing[place] = sum(one not in said for one in ids)
    assert missing == dict.fromkeys(places, 0)


def test_one_request_is_shown_on_its_way(turnout: Turnout) -> None:
    found = create(turnout, EDGES[0])
    time.sleep(3)
    run = trace(turnout, found)
    assert run.rc == 0, run.tail
    shown = [line for line in run.out.splitlines() if found in line]
    assert [any(unit in line for line in shown) for unit in ("haproxy", "sample-api@", "sample-worker-")] == [True] * 3
    for given in (found.upper(), found.replace("-", "")):
        assert found in trace(turnout, given).out


def test_a_clients_trace_finds_the_request_too(turnout: Turnout) -> None:
    found = create(turnout, EDGES[1], {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    time.sleep(3)
    run = trace(turnout, TRACE, "-e", "format=json")
    assert run.rc == 0, run.tail
    units = {line["unit"].partition("@")[0] for line in json.loads(run.out)["lines"] if found in line["text"]}
    assert {"haproxy.service", "sample-api", "sample-worker-jobs"} <= units


def test_what_is_no_id_and_what_nobody_knows_are_told_apart(turnout: Turnout) -> None:
    refused(trace(turnout, "nonsense"), "trace-id", "X-Request-ID")
    nobodys = "11111111-2222-4333-8444-555555555555"
    refused(trace(turnout, nobodys), "trace-not-found", nobodys, "edge1 since", "hours=72")


def test_a_host_that_does_not_answer_is_named(turnout: Turnout) -> None:
    found = create(turnout, EDGES[0])
    time.sleep(3)
    gone = host_named(APPS[1])
    turnout.hosts.kill(gone)
    try:
        run = trace(turnout, found)
        assert f"NOT looked at: {APPS[1]}: no answer" in run.out
        assert found in run.out
    finally:
        turnout.hosts.start(gone)
