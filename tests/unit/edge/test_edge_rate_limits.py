"""Rates of the edges: two real HAProxys count together, over a reload and a death, and honest users lose nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limited_edge import Attack, ask, limited, pair, say, wait_settled
from real_edge import Load, RealEdge

REQUESTS, PER_S, ADDRESSES = 10, 8, 20
LOGIN = {"name": "login", "path": "/api/login", "methods": ["POST"]}
BY_ADDRESS = {"routes": [{**LOGIN, "by_address": {"requests": REQUESTS, "per_s": PER_S, "keys": 100}}]}


def by_account(**rate: Any) -> dict[str, Any]:
    return {"routes": [{**LOGIN, "by_account": {"requests": 3, "per_s": 60, "keys": 100, **rate}}]}


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[tuple[RealEdge, RealEdge]]:
    both = pair(tmp_path, BY_ADDRESS)
    try:
        for edge in both:
            edge.start()
        wait_settled(*both)
        yield both
    finally:
        for edge in both:
            edge.stop()


def login(edge: RealEdge, number: int) -> int:
    body = json.dumps({"email": f"user{number}@example.com", "password": "x"}).encode()
    return ask(edge, "/api/login", f"127.0.1.{1 + number % ADDRESSES}", body=body)[0]


def most(attack: Attack) -> float:
    """Return what may be let pass in the time of the attack: the first window's at once, then at the pace."""
    return ADDRESSES * REQUESTS * max(1.0, attack.lasted_s / PER_S)


def test_two_edges_let_pass_together_what_one_may(edges: tuple[RealEdge, RealEdge]) -> None:
    with Load(edges[0]) as honest, Attack(lambda n: login(edges[n // ADDRESSES % 2], n), 200) as attack:
        time.sleep(PER_S * 1.5)
    print(f"{len(attack.statuses)} asked, {attack.admitted} admitted of {most(attack):.0f}, {attack.lasted_s:.1f} s")
    assert set(attack.statuses) <= {200, 429}
    assert attack.admitted <= 1.1 * most(attack)
    assert attack.admitted >= 0.8 * most(attack), "and no less than they may"
    assert len(honest.answers) > 100
    assert honest.failures == []


def test_counters_outlive_a_reload_and_no_request_is_lost(edges: tuple[RealEdge, RealEdge]) -> None:
    with Load(edges[0]) as honest, Attack(lambda n: login(edges[n // ADDRESSES % 2], n), 200) as attack:
        time.sleep(PER_S * 0.5)
        edges[0].reload()
        edges[1].reload()
        time.sleep(PER_S * 0.5)
        edges[0].reload()
        time.sleep(PER_S * 0.3)
    print(f"{len(attack.statuses)} asked, {attack.admitted} admitted of {most(attack):.0f}, {attack.lasted_s:.1f} s")
    assert set(attack.statuses) <= {200, 429}
    assert attack.admitted <= 1.1 * most(attack)
    assert honest.failures == []


def test_a_dead_edge_changes_nothing_for_the_other(edges: tuple[RealEdge, RealEdge]) -> None:
    alive = [2]

    def one(number: int) -> int:
        return login(edges[number // ADDRESSES % alive[0]], number)

    with Load(edges[0]) as honest, Attack(one, 200) as attack:
        time.sleep(PER_S * 0.4)
        alive[0] = 1
        time.sleep(0.2)
        edges[1].kill_haproxy()
        time.sleep(PER_S * 0.4)
        edges[0].reload()
        time.sleep(PER_S * 0.8)
    print(f"{len(attack.statuses)} asked, {attack.admitted} admitted of {most(attack):.0f}, {attack.lasted_s:.1f} s")
    assert attack.admitted <= 1.1 * most(attack)
    assert honest.failures == []
    time.sleep(PER_S * 2)  # what the dead one counted has aged out
    assert [login(edges[0], 1) for _ in range(REQUESTS)] == [200] * REQUESTS


def test_an_edge_that_was_started_anew_has_its_counters_from_the_other(edges: tuple[RealEdge, RealEdge]) -> None:
    assert [login(edges[0], 1) for _ in range(REQUESTS)] == [200] * REQUESTS
    time.sleep(0.2)
    edges[0].kill_haproxy()
    edges[0].start()
    RealEdge.wait_for(lambda: login(edges[0], 1) == 429, "its own counters", 6)
    assert login(edges[1], 1) == 429


def test_what_one_edge_let_pass_is_known_to_the_other_at_once(edges: tuple[RealEdge, RealEdge]) -> None:
    lags = []
    for number in range(5):
        for _ in range(REQUESTS):
            assert login(edges[number % 2], number) == 200
        began = time.monotonic()
        while login(edges[1 - number % 2], number) != 429:
            assert time.monotonic() - began < 1
        lags.append(time.monotonic() - began)
    print(f"known to the other within {max(lags) * 1000:.1f} ms")


def test_a_burst_is_made_up_for(tmp_path: Path) -> None:
    rate = {"requests": 4, "per_s": 2, "burst": 6, "keys": 10}
    edge = limited(tmp_path, {"routes": [{**LOGIN, "by_address": rate}]})
    try:
        edge.start()
        assert [ask(edge, "/api/login")[0] for _ in range(11)] == [200] * 10 + [429]
        time.sleep(5 + 1.6)  # a window of ten, and what two a second are in the next
        assert [ask(edge, "/api/login")[0] for _ in range(6)][:2] == [200, 200]
        assert ask(edge, "/api/login")[0] == 429
    finally:
        edge.stop()


def test_an_answer_tells_when_to_come_again(tmp_path: Path) -> None:
    edge = limited(tmp_path, by_account(header="X-Api-Key"))
    try:
        edge.start()
        answers = [ask(edge, "/api/login", X_Api_Key="one") for _ in range(4)]
        assert [status for status, _ in answers] == [200, 200, 200, 429]
        assert answers[3][1]["retry-after"] == "60"
        assert answers[3][1]["cache-control"] == "no-store"
    finally:
        edge.stop()


def test_an_account_is_told_by_a_header(tmp_path: Path) -> None:
    edge = limited(tmp_path, by_account(header="X-Api-Key"))
    try:
        edge.start()
        for source in ("127.0.1.1", "127.0.1.2", "127.0.1.3"):
            assert ask(edge, "/api/login", source, X_Api_Key="one")[0] == 200
        assert ask(edge, "/api/login", "127.0.1.4", X_Api_Key="one")[0] == 429, "from wherever it comes"
        assert ask(edge, "/api/login", "127.0.1.1", X_Api_Key="two")[0] == 200
        long = "k" * 500
        assert [ask(edge, "/api/login", X_Api_Key=f"{long}{n}")[0] for n in range(5)] == [200] * 5, "the whole value"
        for source in ("127.0.1.7", "127.0.1.8"):
            statuses = [ask(edge, "/api/login", source)[0] for _ in range(4)]
            assert statuses == [200, 200, 200, 429], "without the header the address counts"
        twice = b"POST /api/login HTTP/1.0\r\nX-Api-Key: a%d\r\nX-Api-Key: b%d\r\nContent-Length: 0\r\n\r\n"
        statuses = [say(edge, twice % (n, n)).split()[1] for n in range(4)]
        assert statuses == [b"200", b"200", b"200", b"429"], "which of two counts is anybody's guess"
    finally:
        edge.stop()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_account_is_told_by_a_field_of_the_body(tmp_path: Path, chunked: bool) -> None:
    edge = limited(tmp_path, by_account(json="user.email"))

    def tried(text: str, source: str = "127.0.1.1") -> int:
        body: Any = text.encode()
        return ask(edge, "/api/login", source, body=iter([body[:5], body[5:]]) if chunked else body)[0]

    try:
        edge.start()
        body = '{"user": {"email": "%s"}, "password": "p"}'
        for source in ("127.0.1.1", "127.0.1.2", "127.0.1.3"):
            assert tried(body % "a@example.com", source) == 200
        assert tried(body % "a@example.com", "127.0.1.4") == 429
        assert tried(body % "A@Example.COM") == 429, "the same in any case"
        assert tried(body % " a@example.com\\t ") == 429, "and with blanks around it"
        assert tried(body % "b@example.com") == 200
        strange = [
            '{"user": {"email": "x1", "email": "a@example.com"}}',
            '{"user": {"email": "x2", "EMAIL": "a@example.com"}}',
            '{"user": {"email": "x3", "\\u0065mail": "a@example.com"}}',
            '{"user": {"email": "\\u0061@example.com"}}',
            '{"user": {"email": ["a@example.com"]}}',
            '{"user": {"email": {"a": "a@example.com"}}}',
            '{"user": {"email": "\\u0020a@example.com"}}',
            "{}",
            "no JSON",
            "",
        ]
        assert [tried(one) for one in strange] == [200] * 3 + [429] * 7, "these count together"
        assert tried(body % "c@example.com") == 200
    finally:
        edge.stop()


def test_a_path_that_is_written_otherwise_is_the_same_route(tmp_path: Path) -> None:
    edge = limited(tmp_path, {"routes": [{**LOGIN, "by_address": {"requests": 3, "per_s": 60, "keys": 10}}]})
    try:
        edge.start()
        assert [ask(edge, "/api/login")[0] for _ in range(3)] == [200] * 3
        for path in ("/api/login/", "/API/Login", "//api//login", "/api/%6cogin", "/api/login;x=1", "/api/login?a=b"):
            assert ask(edge, path)[0] == 429, path
        for path in ("/api/./login", "/api/x/../login", "/api/%2e%2E/login"):
            assert ask(edge, path)[0] == 400, path
        for path in ("/api/login2", "/x/api/login", "/api/login.html", "/.well-known/x", "/a..b"):
            assert ask(edge, path)[0] == 200, path
        assert ask(edge, "/api/login", method="GET")[0] == 200
    finally:
        edge.stop()


def test_tests_of_a_candidate_and_exempt_networks_are_not_limited(tmp_path: Path) -> None:
    limits = {"exempt": ["127.0.5.0/24"], "routes": [{**LOGIN, "by_address": {"requests": 1, "per_s": 60}}]}
    edge = limited(tmp_path, limits)
    try:
        edge.start()
        color = {"X_Turnout_Color": "green"}
        assert [ask(edge, "/api/login", "127.0.9.1", **color)[0] for _ in range(5)] == [200] * 5
        assert [ask(edge, "/api/login", "127.0.5.1")[0] for _ in range(5)] == [200] * 5
        assert [ask(edge, "/api/login", "127.0.1.1", **color)[0] for _ in range(2)] == [200, 429], "nobody else's word"
        assert [ask(edge, "/api/login", "127.0.9.2")[0] for _ in range(2)] == [200, 429]
    finally:
        edge.stop()
