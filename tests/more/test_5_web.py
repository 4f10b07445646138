"""Web processes beside the API, three kinds of workers and 200 streams, over 10 releases and 10 rollbacks under load.

The lab's edges and hosts are told of the processes before, and forget them at the end. `TURNOUT_ROUNDS` says how often
it is released and rolled back, 10 times where nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from conftest import SHORT_ANSWERS
from harness import APPS, EDGES, SERVICE_FILE, Turnout, refused

RATE = 40.0
ROUNDS = int(os.environ.get("TURNOUT_ROUNDS", "10"))
STREAMS = 100  # of each of the two ways in which they end
KEPT_EVENTS = 15  # of a stream that is kept: one a second
LASTING = "lasting.example.com"
HEALTH = {"path": "/events/health/", "timeout_s": 2, "deadline_s": 12}
WEB: dict[str, Any] = {
    "admin": {
        "command": "bin/admin",
        "ports": {"blue": 8011, "green": 8012},
        "route": {"path": "/admin"},
        "health": {**HEALTH, "path": "/admin/health/"},
    },
    "events": {
        "command": "bin/events",
        "ports": {"blue": 8013, "green": 8014},
        "route": {"path": "/events"},
        "health": HEALTH,
        "quiesce_signal": "SIGUSR1",
        "long": {"end": "close", "within_s": 20},
    },
    "lasting": {
        "command": "bin/events",
        "ports": {"blue": 8015, "green": 8016},
        "route": {"host": LASTING},
        "health": HEALTH,
        "long": {"end": "keep", "within_s": 60},
    },
}
SITE = ("--tags", "service_host,node_exporter,edge,firewall,monitoring")


def workers() -> dict[str, Any]:
    """Return three kinds of workers; all take jobs of the sample's one queue."""
    jobs = yaml.safe_load(SERVICE_FILE.read_text())["service"]["workers"]["jobs"]
    ports = ({"blue": 9101, "green": 9102}, {"blue": 9111, "green": 9112}, {"blue": 9121, "green": 9122})
    return {
        name: {**jobs, "metrics_port": port} for name, port in zip(("jobs", "mails", "reports"), ports, strict=True)
    }


@pytest.fixture(scope="module")
def options(turnout: Turnout) -> Iterator[tuple[str, ...]]:
    """Give the options of a playbook with these processes, on a lab that knows them and has 1.0.0 in service."""
    with_web = turnout.with_service(web=WEB, workers=workers())
    turnout.ensure("1.0.0")
    run = turnout.playbook("site", *with_web, *SITE)
    assert run.rc == 0, run.tail
    steady = (*with_web, "-e", "lab_steady_s=3")
    run = turnout.deploy("1.0.0", *steady)  # the release that stands there, and its processes: another configuration
    assert run.rc == 0, run.tail
    yield steady
    turnout.rest()
    plain = turnout.with_service()
    run = turnout.playbook("site", *plain, *SITE)
    assert run.rc == 0, run.tail
    run = turnout.deploy("1.0.0", *plain, "-e", "lab_steady_s=3")
    assert run.rc == 0, run.tail


@dataclass
class Streams:
    """Clients that listen, and connect anew whenever a stream ends: how each stream ended, and what is wrong."""

    addresses: list[str]
    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    listening: dict[str, tuple[str, str]] = field(default_factory=dict)  # client: color and release
    stopping: threading.Event = field(default_factory=threading.Event)

    async def listen(self, kind: str, number: int) -> None:
        """Be one client, until all are to stop."""
        address, name = self.addresses[number % len(self.addresses)], f"{kind}-{number}"
        host, path = (LASTING, f"/events/?n={KEPT_EVENTS}") if kind == "lasting" else (address, "/events/")
        lines = (f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: {name}", "Connection: close", "", "")
        while not self.stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection(address, 80)
            except OSError as fault:
                self.faults.append(f"{name}: no connection: {fault}")
                await asyncio.sleep(1)
                continue
            try:
                writer.write("\r\n".join(lines).encode())
                self.ends[f"{kind} {await self.hear(name, reader)}"] += 1
            except (OSError, asyncio.IncompleteReadError) as fault:
                self.faults.append(f"{name}: {fault!r}")
            finally:
                self.listening.pop(name, None)
                writer.close()
            await asyncio.sleep(0.1)  # what the stream said of it: retry

    async def hear(self, name: str, reader: asyncio.StreamReader) -> str:
        """Read a stream to its end; return the last event's name."""
        status = (await reader.readline()).decode().strip()
        if " 200 " not in f"{status} ":
            self.faults.append(f"{name}: {status}")
            return "refused"
        event, whole = "", False
        while not self.stopping.is_set():
            try:
                line = (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
            except TimeoutError:
                self.faults.append(f"{name}: silent for 10 s")
                return "silent"
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            if line.startswith("data: {"):
                about = json.loads(line.removeprefix("data: "))
                self.listening[name] = (about["color"], about["release"])
            whole = whole or line == "0"  # the chunk that ends the answer
            if not line and reader.at_eof():
                if not whole or event not in ("end", "reconnect"):
                    self.faults.append(f"{name}: cut off after the event {event!r}")
                return event
        return "left by its client"


@contextlib.contextmanager
def streams(turnout: Turnout) -> Iterator[Streams]:
    """Keep 200 streams open for the time of the block."""
    heard = Streams([turnout.address(name) for name in EDGES])

    async def all_of_them() -> None:
        await asyncio.gather(*(heard.listen(kind, n) for kind in ("events", "lasting") for n in range(STREAMS)))

    thread = threading.Thread(target=asyncio.run, args=(all_of_them(),))
    thread.start()
    try:
        until_listening(heard)
        yield heard
    finally:
        heard.stopping.set()
        thread.join(60)


def until_listening(heard: Streams, limit_s: float = 60) -> None:
    """Wait until nearly every client has a stream; some are just between two."""
    deadline = time.monotonic() + limit_s
    while len(heard.listening) < 1.9 * STREAMS:
        assert time.monotonic() < deadline, (len(heard.listening), heard.faults[:5])
        time.sleep(0.2)


def color_of(address: str, path: str, user: str, **headers: str) -> str:
    """Return the color that answers a user."""
    request = urllib.request.Request(f"http://{address}{path}", headers={"Authorization": user, **headers})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - always http
        color: str = answer.headers["X-Turnout-Color"]
    return color


def colors(turnout: Turnout) -> set[str]:
    """Return the colors that answer at rest, whatever is asked of whichever edge."""
    paths = ("/api/static_data/", "/admin/", "/events/health/")
    found = {color_of(turnout.address(edge), path, "") for edge in EDGES for path in paths}
    return found | {color_of(turnout.address(edge), "/events/health/", "", Host=LASTING) for edge in EDGES}


def test_streams_end_as_documented_over_ten_releases_and_ten_rollbacks(
    turnout: Turnout, options: tuple[str, ...]
) -> None:
    with turnout.load(rate=RATE, seconds=7200, mix=SHORT_ANSWERS) as load, streams(turnout) as heard:
        for number in range(ROUNDS):
            before = heard.ends["events reconnect"]
            run = turnout.deploy("1.1.0", *options)
            assert run.rc == 0, (number, run.tail)
            assert turnout.in_service() == "1.1.0"
            (stable,) = colors(turnout)
            # All that listened on the color that was left were told to come again, and did.
            assert heard.ends["events reconnect"] >= before + 0.9 * STREAMS
            until_listening(heard)
            seen = Counter(color for name, (color, _) in heard.listening.items() if name.startswith("events"))
            assert set(seen) == {stable}, seen
            for host in APPS:
                running = turnout.units(host)
                wanted = {f"web-{name}@{stable}" for name in WEB} | {f"worker-{name}@{stable}" for name in workers()}
                assert wanted <= running, (host, running)
            run = turnout.rollback(*options)
            assert run.rc == 0, (number, run.tail)
            assert turnout.in_service() == "1.0.0"
            assert colors(turnout) == {turnout.edge(EDGES[0])["stable"]} != {stable}
            until_listening(heard)
    print(dict(heard.ends))
    assert heard.faults == []
    assert set(heard.ends) <= {
        "events reconnect",
        "lasting end",
        "events left by its client",
        "lasting left by its client",
    }
    assert load.report["failed"] == 0, load.report["failures"]


def test_a_web_process_that_does_not_start_takes_the_release_back_and_is_named(
    turnout: Turnout, options: tuple[str, ...]
) -> None:
    assert options
    broken = turnout.with_service(
        web={**WEB, "admin": {**WEB["admin"], "command": "bin/admin --no-such-option"}}, workers=workers()
    )
    before = turnout.in_service()
    with turnout.load(rate=RATE, mix=SHORT_ANSWERS) as load:
        run = turnout.deploy("1.1.0", *broken, "-e", "lab_steady_s=3")
    refused(run, "sample-web-admin@")
    assert turnout.in_service() == before
    assert load.report["failed"] == 0, load.report["failures"]


def test_users_do_not_move_while_the_admin_panel_is_down_on_one_host(
    turnout: Turnout, options: tuple[str, ...]
) -> None:
    """Between the look at the hosts and the first share its process is stopped for good."""
    before = turnout.in_service()

    def stop() -> None:
        stable = turnout.edge(EDGES[0])["stable"]
        idle = {"blue": "green", "green": "blue"}[stable]
        turnout.ssh(APPS[0], f"systemctl stop sample-web-admin@{idle}")

    run = turnout.judged("1.1.0", [("6/7 ", stop)], *options, "-e", "canary=off")
    refused(run, f"{APPS[0]}/web-admin")
    assert turnout.in_service() == before
