"""Web processes beside the API, behind a real HAProxy: one color for a user in all, and connections that stay."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.filter import edge as edge_filters
from ansible_collections.turnout.ops.plugins.modules import guard
from real_edge import RealEdge
from turnout_edge.edge import config_faults

ADMIN = {"route": {"host": "admin.example.com"}}
EVENTS = {"route": {"path": "/events"}, "long": {"end": "keep", "within_s": 20}}
STREAMS = 200


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[RealEdge]:
    """An edge with blue stable and green prepared, and an admin panel and a server of events beside the API."""
    edge = RealEdge(tmp_path, web={"admin": ADMIN, "events": EVENTS})
    try:
        edge.start()
        edge.bring_up()
        yield edge
    finally:
        edge.stop()


def colors_of(edge: RealEdge, user: str) -> set[str]:
    """Return the colors that answer a user, in the API, the admin panel and the server of events."""
    answers = [
        edge.get("/", user)[1],
        edge.get("/", user, Host="admin.example.com")[1],
        edge.get("/events/now", user)[1],
    ]
    assert [answer.split()[0].partition("-")[2] for answer in answers] == ["", "admin", "events"]
    return {answer.split()[0].partition("-")[0] for answer in answers}


def test_a_user_is_on_one_color_in_every_process_at_every_share(edge: RealEdge) -> None:
    users = [f"user-{number}" for number in range(60)]
    seen: Counter[str] = Counter()
    for share in (500, 2500, 5000, 10_000):
        edge.do("move", "--run", "A", "--share-bp", str(share))
        for user in users:
            (color,) = colors_of(edge, user)
            seen[color] += 1
    assert set(seen) == {"blue", "green"}
    edge.do("rollback")
    assert {color for user in users for color in colors_of(edge, user)} == {"blue"}


@pytest.mark.parametrize(
    ("host", "path", "answers"),
    [
        ("shop.example.com", "/", "api"),
        ("admin.example.com", "/", "admin"),
        ("ADMIN.example.com:8080", "/any?x=/events", "admin"),
        ("admin.example.com", "/events", "admin"),
        ("admin.example.com.evil.test", "/", "api"),
        ("shop.example.com", "/events", "events"),
        ("shop.example.com", "/events?since=1", "events"),
        ("shop.example.com", "/events/a", "events"),
        ("shop.example.com", "/eventsource", "api"),
        ("shop.example.com", "/x/events", "api"),
    ],
)
def test_requests_go_by_host_and_path(edge: RealEdge, host: str, path: str, answers: str) -> None:
    assert (edge.get(path, "u", Host=host)[1].split()[0].partition("-")[2] or "api") == answers


def test_a_route_with_a_host_comes_first_and_then_the_longer_path() -> None:
    routes: dict[str, dict[str, str]] = {
        "a": {"path": "/x"},
        "b": {"path": "/x/y"},
        "c": {"host": "h.test"},
        "d": {"host": "h.test", "path": "/x"},
    }
    web = {name: {"route": route, "ports": {"blue": 1, "green": 2}} for name, route in routes.items()}
    assert [one["name"] for one in edge_filters.web_processes({"name": "s", "web": web})] == ["d", "c", "b", "a"]


def test_a_color_may_be_chosen_for_every_process(edge: RealEdge) -> None:
    assert edge.get("/events", "u", X_Turnout_Color="green")[1].startswith("green-events")
    assert edge.get("/", "u", Host="admin.example.com", X_Turnout_Color="green")[1].startswith("green-admin")


def test_users_do_not_move_to_a_candidate_whose_web_process_is_down(edge: RealEdge) -> None:
    edge.web["admin"]["green"].healthy = False
    edge.wait_for(lambda: not edge.ask("show")["backends"]["green"]["up"], "failed checks")
    assert not edge.ask("show")["backends"]["green"]["all_up"]
    code, answer, err = edge.call("move", "--run", "A", "--share-bp", "500")
    assert (code, answer["error"]["code"]) == (3, "candidate-down")
    assert "app1/web-admin DOWN" in answer["error"]["observed"]
    assert "systemctl status sample-web-admin@green" in err
    assert edge.ask("show")["share_bp"] == 0
    assert edge.get("/", "u", Host="admin.example.com", X_Turnout_Color="green")[0] == 503


def test_the_way_back_is_gone_although_a_web_process_is_down_there(edge: RealEdge) -> None:
    edge.do("move", "--run", "A", "--share-bp", "5000")
    edge.web["events"]["blue"].healthy = False
    edge.wait_for(lambda: not edge.ask("show")["backends"]["blue"]["up"], "failed checks")
    answer = edge.do("rollback")
    assert edge.ask("show")["serving"] == {"blue": 10_000, "green": 0}
    (warning,) = [one for one in answer["warnings"] if "events" in one]
    assert "systemctl start sample-web-events@blue" in warning


def test_a_process_that_the_running_haproxy_does_not_know_yet_keeps_nobody_from_going_back(edge: RealEdge) -> None:
    """Between the settings of turnout-edge and HAProxy's reload, or where that fails."""
    edge.do("move", "--run", "A", "--share-bp", "500")
    settings = json.loads(edge.config.read_text())
    settings["web"]["new"] = {color: f"sample-web-new-{color}" for color in ("blue", "green")}
    edge.config.write_text(json.dumps(settings))
    green = edge.ask("show")["backends"]["green"]
    assert (green["up"], green["api_up"], sorted(green["web"])) == (False, True, ["admin", "events"])
    code, answer, _ = edge.call("move", "--run", "A", "--share-bp", "2500")
    assert (code, answer["error"]["code"]) == (3, "candidate-down")
    assert "HAProxy/web-new has no such backend (ansible-playbook turnout.ops.site" in answer["error"]["observed"]
    edge.do("rollback")
    assert edge.ask("show")["serving"] == {"blue": 10_000, "green": 0}


def test_what_a_web_process_answers_counts_for_its_color(edge: RealEdge) -> None:
    for _ in range(3):
        assert edge.get("/events/fail", "u", X_Turnout_Color="green")[0] == 500
    edge.get("/", "u", X_Turnout_Color="green")
    green = edge.ask("show")["backends"]["green"]
    assert guard.counts(green) == (4, 3)
    assert (green["web"]["events"]["hrsp_5xx"], green["web"]["admin"]["requests"]) == (3, 0)


@pytest.mark.parametrize(
    ("web", "words"),
    [
        (["a"], "no mapping"),
        ({"a": {"blue": "x"}}, "does not name blue and green"),
        ({"a": {"blue": "x", "green": "g"}}, "a backend of its own"),
        ({"a": {"blue": "x", "green": "y"}, "b": {"blue": "y", "green": "z"}}, "web.b does not give"),
        ({"a": {"blue": 1, "green": []}}, "a backend of its own"),
    ],
)
def test_settings_that_two_processes_share_are_refused(web: Any, words: str) -> None:
    data = {"service": "s", "socket": "/s", "map": "/m", "backends": {"blue": "b", "green": "g"}, "state_dir": "/d"}
    assert words in "; ".join(config_faults({**data, "web": web}))


# Connections that stay open ---------------------------------------------------------------------------------------


class Streams:
    """Clients of the server of events, each on a connection of its own: what each of them saw, and how it ended."""

    def __init__(self, edge: RealEdge, number: int, path: str) -> None:
        self.edge, self.path = edge, path
        self.opened = threading.Semaphore(0)
        self.seen: list[str] = []
        self.ends: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(f"user-{one}",)) for one in range(number)]
        for thread in self.threads:
            thread.start()
        for _ in self.threads:
            assert self.opened.acquire(timeout=20)

    def run(self, user: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=20)
        try:
            connection.request("GET", self.path, headers={"Authorization": user, "Connection": "close"})
            response = connection.getresponse()
            first = response.fp.readline() + response.fp.readline() + response.fp.readline()
            self.opened.release()
            self.seen.append(first.decode().split()[-1])
            text = response.fp.read() if response.status == 200 else b""
            self.ends.append(text.decode().split("data: ")[-1].split()[0] if text.endswith(b"0\r\n\r\n") else "cut")
        except (OSError, http.client.HTTPException) as fault:
            self.ends.append(repr(fault))
            self.opened.release()
        finally:
            connection.close()

    def join(self) -> Counter[str]:
        for thread in self.threads:
            thread.join(30)
        return Counter(self.ends)


def test_streams_go_on_over_a_switch_and_a_rollback_until_they_end(edge: RealEdge) -> None:
    streams = Streams(edge, STREAMS, "/events/hold/4")
    edge.do("move", "--run", "A", "--share-bp", "10000")
    assert colors_of(edge, "user-0") == {"green"}
    edge.do("rollback")
    edge.do("lock", "take", "--run", "B", "--purpose", "deploy", "--ttl-s", "600")
    assert edge.ask("show")["backends"]["blue"]["sessions"] == STREAMS
    assert streams.join() == {"over": STREAMS}
    blue = edge.ask("show")["backends"]["blue"]
    assert (blue["hrsp_5xx"], blue["eresp"], blue["econ"], blue["sessions"]) == (0, 0, 0, 0)


def test_streams_that_are_closed_by_their_protocol_come_back_on_the_other_color(edge: RealEdge) -> None:
    old = Streams(edge, STREAMS, "/events/hold/60")
    edge.do("move", "--run", "A", "--share-bp", "10000")
    edge.web["events"]["blue"].closing.set()  # as its quiesce signal has it
    assert old.join() == {"closed": STREAMS}
    new = Streams(edge, STREAMS, "/events/hold/1")
    assert new.join() == {"over": STREAMS}
    assert set(new.seen) == {"green-events"}
    backends = edge.ask("show")["backends"]
    assert [(one["hrsp_5xx"], one["eresp"]) for one in backends.values()] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("long", "end"), [({"end": "keep"}, "over"), (None, "cut")])
def test_a_connection_may_be_silent_for_longer_only_where_it_is_declared(
    tmp_path: Path, long: dict[str, Any] | None, end: str
) -> None:
    web = {"events": {"route": {"path": "/events"}, "long": long}}
    edge = RealEdge(tmp_path, web=web, edge_timeout_client_s=1, edge_timeout_server_s=1)
    try:
        edge.start()
        edge.bring_up()
        assert Streams(edge, 3, "/events/hold/2.5").join() == {end: 3}
    finally:
        edge.stop()


def test_a_web_process_alone_changes_the_configuration(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    try:
        text = edge.haproxy_cfg.read_text()
        assert "turnout_process" not in text
        assert "timeout tunnel" in text
        assert text.count("timeout tunnel") == 1
    finally:
        edge.stop()


def test_a_haproxy_of_ones_own_is_told_the_same(edge: RealEdge) -> None:
    text = edge.render({}, "snippet.cfg.j2")
    for name in ("admin", "events"):
        for color in ("blue", "green"):
            assert f"backend sample-web-{name}-{color}\n" in text


def test_after_a_reload_users_of_the_old_process_move_as_well(edge: RealEdge) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=20) as kept:
        ask = b"GET /events/now HTTP/1.1\r\nHost: x\r\nAuthorization: u\r\n\r\n"
        kept.sendall(ask)
        assert b"blue-events" in kept.recv(4096)
        edge.reload()
        edge.do("move", "--run", "A", "--share-bp", "10000")
        kept.sendall(ask)
        time.sleep(0.3)
        assert b"green-events" in kept.recv(4096)
