"""Limits on the lab's two edges: logins tried by the hundred, while honest users work, over a reload and a death."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from harness import BIN, EDGES, ROOT, Turnout

ATTACKER, ADDRESSES = "mon1", range(201, 221)
# Once a client may use up a whole window at once: an attack of nine windows tells the rate from that (docs/limits.md).
REQUESTS, PER_S, ATTACK_S = 5, 10, 90
RATE, HONEST = 200, 300

# Tries logins from many addresses at a steady pace, spread over edges; prints how often each status was answered.
ATTACK = """
import collections, http.client, json, sys, threading, time
sources, edges, rate, seconds = json.loads(sys.argv[1])
found, threads, end = collections.Counter(), 16, time.monotonic() + seconds
def run(number):
    due = time.monotonic()
    while (now := time.monotonic()) < end:
        edge, source = edges[number // len(sources) % len(edges)], sources[number % len(sources)]
        try:
            to = http.client.HTTPConnection(edge, timeout=5, source_address=(source, 0))
            body = json.dumps({"username": f"u{number % 50}", "password": "wrong"})
            to.request("POST", "/api/auth/login/", body, {"Content-Type": "application/json"})
            found[to.getresponse().status] += 1
            to.close()
        except OSError:
            found[0] += 1
        number += threads
        due += threads / rate
        time.sleep(max(0, due - time.monotonic()))
all = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
[t.start() for t in all]; [t.join() for t in all]
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def limited(turnout: Turnout) -> Iterator[tuple[str, str]]:
    """Lay the limits, and take them out at the end."""
    login: dict[str, Any] = {"name": "login", "path": "/api/auth/login/", "methods": ["POST"]}
    login["by_address"] = {"requests": REQUESTS, "per_s": PER_S, "keys": 1000}
    echo = {"name": "echo", "path": "/api/echo/", "body_bytes": 200_000, "body_s": 5}
    # Honest users of the lab have one address, and log in from it.
    limits = {"exempt": [turnout.address("mon1").rpartition(".")[0] + ".1"], "routes": [login, echo]}
    options = turnout.with_service(limits=limits)
    nets = " ".join(f"{turnout.lab.subnet}.{n}" for n in ADDRESSES)
    turnout.ssh(ATTACKER, f"for a in {nets}; do ip address add $a/24 dev eth0 2>/dev/null; done; true")
    run = turnout.playbook("site", "--tags", "firewall,edge", *options)
    assert run.rc == 0, run.tail
    time.sleep(12)  # a process that is younger hands no counters over
    yield options
    turnout.ssh(ATTACKER, f"for a in {nets}; do ip address del $a/24 dev eth0; done; true")
    run = turnout.playbook("site", "--tags", "firewall,edge")
    assert run.rc == 0, run.tail
    assert "turnout-limits" not in turnout.ssh(EDGES[0], "cat /etc/haproxy/haproxy.cfg")


class Attack:
    """Logins tried from the attacker's addresses, in the background."""

    def __init__(self, turnout: Turnout, edges: list[str], seconds: float = ATTACK_S) -> None:
        sources = [f"{turnout.lab.subnet}.{n}" for n in ADDRESSES]
        options = json.dumps([sources, [turnout.address(edge) for edge in edges], RATE, seconds])
        self.seconds = seconds
        self.answers: Counter[str] = Counter()

        def run() -> None:
            done = subprocess.run(
                [str(BIN / "turnout"), "lab", "ssh", ATTACKER, f"python3 - '{options}'"], input=ATTACK, text=True,
                capture_output=True, check=True, env=turnout.env(), cwd=ROOT,
            )  # fmt: skip
            self.answers = Counter(json.loads(done.stdout))

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def end(self) -> None:
        self.thread.join()
        most = len(ADDRESSES) * REQUESTS * self.seconds / PER_S
        print(f"{dict(self.answers)}: {self.answers['401']} admitted of {most:.0f}")
        assert self.answers["429"] > 0
        assert self.answers["401"] <= 1.1 * most


def honest(report: dict[str, Any]) -> None:
    assert report["failed"] == 0, report["failures"]
    calm, attacked = (report["windows"][name]["latency_ms"]["p99"] for name in ("calm", "attack"))
    print(f"p99 of the honest: {calm} ms, under attack {attacked} ms")
    assert attacked <= max(1.2 * calm, calm + 5)


def test_both_edges_together_and_over_a_reload(turnout: Turnout) -> None:
    turnout.ensure("1.0.0")
    with turnout.load(HONEST) as load:
        with load.mark("calm"):
            time.sleep(20)
        attack = Attack(turnout, list(EDGES))
        with load.mark("attack"):
            time.sleep(ATTACK_S / 3)
            for edge in EDGES:
                turnout.ssh(edge, "systemctl reload haproxy")
            time.sleep(ATTACK_S / 2)
        attack.end()
    honest(load.report)


def test_a_release_under_attack_is_not_rolled_back_for_it(turnout: Turnout, limited: tuple[str, str]) -> None:
    turnout.ensure("1.0.0")
    attack = Attack(turnout, list(EDGES), 90)
    run = turnout.deploy("1.1.0", *limited)
    attack.end()
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.1.0"


def test_with_one_edge_dead(turnout: Turnout) -> None:
    turnout.ensure("1.0.0")
    turnout.ssh(EDGES[1], "systemctl kill --signal=KILL haproxy; systemctl stop haproxy")
    try:
        Attack(turnout, [EDGES[0]]).end()
    finally:
        turnout.ssh(EDGES[1], "systemctl start haproxy")


def test_the_port_between_edges_is_shut_to_others(turnout: Turnout) -> None:
    knock = "timeout 3 bash -c 'echo > /dev/tcp/{}/8406' && echo open || echo shut"
    assert turnout.ssh(EDGES[0], knock.format(turnout.address(EDGES[1]))).split()[-1] == "open"
    assert turnout.ssh("app1", knock.format(turnout.address(EDGES[1]))).split()[-1] == "shut"
