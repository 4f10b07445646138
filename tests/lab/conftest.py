"""Fixtures for tests on the lab: real hosts, real HAProxy, PostgreSQL, Redis; releases in a folder of this session.

`make test` brings the lab up and applies site.yml before; `pytest tests/lab` alone does it here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from harness import APPS, EDGES, ROOT, Turnout, provisioned


@pytest.fixture(scope="session")
def turnout() -> Turnout:
    """Return the lab, up and provisioned, with 1.0.0 and 1.1.0 published and one of them in service."""
    store = ROOT / ".cache" / "lab" / "store"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir(parents=True)
    lab = provisioned(str(store))
    lab.rest()
    lab.forget_jobs()  # a run that was cut off left them, and a drill would find them
    lab.publish("1.0.0")
    lab.publish("1.1.0")
    return lab


@pytest.fixture
def on_1_0_0(turnout: Turnout) -> Turnout:
    """Return the lab with 1.0.0 in service."""
    turnout.ensure("1.0.0")
    return turnout


def snapshot(turnout: Turnout) -> dict[str, Any]:
    """Return all that a refused or failed release must leave as it was."""
    edges = {name: turnout.edge(name) for name in EDGES}
    return {
        "edges": {
            name: {key: edge[key] for key in ("stable", "previous", "candidate", "share_bp", "serving", "agree")}
            | {"lock": edge["lock"]["held"], "stable_release": edge["releases"][edge["stable"]]}
            for name, edge in edges.items()
        },
        "units": {host: sorted(turnout.units(host)) for host in APPS},
        "slots": {host: turnout.ssh(host, "readlink /opt/sample/blue /opt/sample/green", check=False) for host in APPS},
        "environments": {host: turnout.ssh(host, "sha256sum /etc/sample/*.env") for host in APPS},
    }


# None of the answers that last seconds: a test would wait for them at its end. Where traffic moves, they are asked for.
SHORT_ANSWERS = "tasks=40,static=30,echo=12,login=5,health=5,create=5"


@pytest.fixture(scope="module")
def users(turnout: Turnout) -> Iterator[list[dict[str, Any]]]:
    """Serve users on both edges, by 1.0.0, for as long as a file of tests runs; none of their requests may fail.

    Gives what `untouched` compares with: the last thing that was seen.
    """
    turnout.ensure("1.0.0")
    seen = [snapshot(turnout)]
    with turnout.load(rate=30, seconds=1800, new_connections="0.3", mix=SHORT_ANSWERS) as load:
        yield seen
    report = load.report
    assert report["requests"] > 0
    assert report["failed"] == 0, (report["failures"], report["samples"])


@pytest.fixture
def untouched(turnout: Turnout, users: list[dict[str, Any]]) -> Iterator[Turnout]:
    """Hold a test to its promise: with 1.0.0 in service and users on both edges, nothing changes."""
    if turnout.in_service() != "1.0.0":
        turnout.ensure("1.0.0")
        users.append(snapshot(turnout))
    before = users[-1]
    yield turnout
    # A change is this test's, not also the next one's.
    users.append(snapshot(turnout))
    assert users[-1] == before
