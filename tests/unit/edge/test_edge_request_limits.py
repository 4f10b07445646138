"""Bodies, times, networks and requests at once: what the edge refuses by itself, and what is only counted."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import real_edge
from limited_edge import ask, limited, say
from real_edge import Load, RealEdge

ROUTES = [
    {"name": "small", "path": "/small", "body_bytes": 1000, "body_s": 1},
    {"name": "large", "path": "/large", "body_bytes": 1_000_000, "body_s": 2},
    {"name": "json", "path": "/json", "by_account": {"json": "email", "requests": 900, "per_s": 60, "keys": 10}},
    {"name": "slow", "path": "/slow/*", "answer_s": 1},
    {"name": "few", "path": "/stream/*", "concurrent": 2},
    {"name": "admin", "path": "/admin/*", "networks": ["127.0.3.0/24", "2001:db8::/32"]},
]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[RealEdge]:
    edge = limited(tmp_path, {"headers_s": 1, "connections": 8, "routes": ROUTES})
    try:
        edge.start()
        yield edge
    finally:
        edge.stop()


def chunks(size: int, piece: int = 5000) -> Iterator[bytes]:
    for _ in range(size // piece):
        yield b"x" * piece
    yield b"x" * (size % piece)


def test_a_body_is_refused_by_its_size(edge: RealEdge) -> None:
    for path, fits, most in (("/small", 1000, 1000), ("/large", 1_000_000, 9216), ("/json", 9216, 9216)):
        assert ask(edge, path, body=b"x" * fits)[0] == 200, path
        assert ask(edge, path, body=b"x" * (fits + 1))[0] == 413, path
        assert ask(edge, path, body=chunks(most))[0] == 200, f"{path} in chunks"
        assert ask(edge, path, body=chunks(most + 1))[0] == 413, f"{path} in chunks"
    assert ask(edge, "/other", body=chunks(3_000_000))[0] == 200
    assert ask(edge, "/small", method="GET")[0] == 200


def test_a_body_that_is_much_too_long_is_answered_not_reset(edge: RealEdge) -> None:
    for body in (b"x" * 5_000_000, None):
        head = f"Content-Length: {len(body)}" if body else "Transfer-Encoding: chunked"
        rest = body or b"10000\r\n" + b"x" * 65536 + b"\r\n"
        answers = [
            say(
                edge,
                f"POST /small HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode(),
                rest,
                *([rest] * 20 if not body else []),
            )
            for _ in range(5)
        ]
        print(head, [answer[:12] for answer in answers])
        assert all(answer.startswith(b"HTTP/1.1 413 ") for answer in answers)


def test_long_headers_hide_no_chunked_body(edge: RealEdge) -> None:
    for size in (4000, 5200, 7000, 9000, 13000, 14500):
        for path in (b"/small", b"/large", b"/json"):
            head = b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nX-A: %s\r\n\r\n"
            body = b"4000\r\n" + b"x" * 16384 + b"\r\n0\r\n\r\n"
            answer = say(edge, head % (path, b"a" * size), body)
            assert answer[:13] in (b"HTTP/1.1 413 ", b"HTTP/1.1 400 "), (size, path, answer[:60])
    few = b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: %s\r\n\r\n" % (b"a" * 7000)
    assert say(edge, few).startswith(b"HTTP/1.1 200 ")


def test_slow_headers_and_bodies_are_answered_with_a_408(edge: RealEdge) -> None:
    slow_body = (b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", b"abc", 1.6)
    slow_chunks = (b"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 1.6)
    for parts in ((b"POST /small HTTP/1.1\r\n", 1.6), slow_body, slow_chunks):
        began = time.monotonic()
        answer = say(edge, *parts)
        assert answer.startswith(b"HTTP/1.1 408 "), parts
        # HAProxy's own words where there is no request yet.
        assert parts[0].endswith(b"POST /small HTTP/1.1\r\n") or b"retry-after: 1\r\n" in answer.lower()
        assert time.monotonic() - began < 4
    prompt = (b"POST /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6\r\n\r\n", b"abc", 0.3, b"def")
    assert say(edge, *prompt).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_does_not_begin_is_a_504(edge: RealEdge) -> None:
    for service in edge.services.values():
        service.delay_s = 1.8
    began = time.monotonic()
    assert ask(edge, "/slow/1", method="GET")[0] == 504
    assert time.monotonic() - began < 1.7
    assert ask(edge, "/other", method="GET")[0] == 200


def test_requests_of_an_address_at_once(edge: RealEdge) -> None:
    answers: list[int] = []
    users = [threading.Thread(target=lambda: answers.append(ask(edge, "/stream/8", method="GET")[0])) for _ in range(4)]
    for user in users:
        user.start()
    time.sleep(0.4)
    assert ask(edge, "/stream/1", "127.0.1.2", method="GET")[0] == 200
    for user in users:
        user.join()
    assert sorted(answers) == [200, 200, 429, 429]
    edge.reload()
    assert ask(edge, "/stream/1", method="GET")[0] == 200, "none is left over"


def test_networks(edge: RealEdge) -> None:
    assert ask(edge, "/admin/x", "127.0.3.9")[0] == 200
    assert ask(edge, "/admin/x", "127.0.1.9")[0] == 403
    assert ask(edge, "/ADMIN//x", "127.0.1.9")[0] == 403
    assert ask(edge, "/administration", "127.0.1.9")[0] == 200
    assert ask(edge, "/admin/x", "127.0.9.1", X_Turnout_Color="blue")[0] == 200, "a smoke test"
    assert ask(edge, "/admin/x", "127.0.1.1", X_Turnout_Color="blue")[0] == 403


def test_connections_of_an_address(edge: RealEdge) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(
                socket.create_connection(("127.0.0.1", edge.port), timeout=5, source_address=("127.0.1.1", 0))
            )
        time.sleep(0.2)  # until HAProxy has accepted them
        assert say(edge, b"GET / HTTP/1.0\r\n\r\n") == b""
        assert say(edge, b"GET / HTTP/1.0\r\n\r\n", source="127.0.1.2").startswith(b"HTTP/1.1 200")
    RealEdge.wait_for(lambda: say(edge, b"GET / HTTP/1.0\r\n\r\n") != b"", "room again", 5)


def test_a_changed_limit_loses_no_request(edge: RealEdge) -> None:
    variables = {"limits": {"routes": [{**ROUTES[0], "body_bytes": 50}]}, "inventory_hostname": "edge1"}
    with Load(edge) as load:
        assert ask(edge, "/small", body=b"x" * 51)[0] == 200
        edge.haproxy_cfg.write_text(edge.render(variables))
        edge.reload()
        RealEdge.wait_for(lambda: ask(edge, "/small", body=b"x" * 51)[0] == 413, "the new limit")
        time.sleep(0.5)
    assert load.failures == []
    assert len(load.answers) > 50


def test_in_mode_count_all_passes_and_the_log_tells(tmp_path: Path) -> None:
    routes: list[dict[str, Any]] = [
        {**one, "body_s": None, "answer_s": None} for one in ROUTES if one["name"] != "slow"
    ]
    routes.append({"name": "rated", "path": "/rated", "by_address": {"requests": 2, "per_s": 60, "keys": 10}})
    routes.append({**ROUTES[0], "name": "strict", "path": "/strict", "mode": "enforce"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "journal"))
        log.settimeout(5)
        extra = f"log {tmp_path}/journal len 2048 format raw local0"
        limits = {"mode": "count", "connections": 3, "routes": routes}
        edge = limited(tmp_path, limits, edge_extra_frontend=extra)

        def logged(path: str, **options: Any) -> tuple[int, str]:
            status = ask(edge, path, **options)[0]
            line = log.recv(4096).decode()
            found = re.search(r"\{([^}]*)\} \"", line)
            assert found, line
            return status, found[1]

        try:
            edge.start()
            assert logged("/small", body=b"x" * 5) == (200, "")
            assert logged("/small", body=b"x" * 5000) == (200, "small.body.counted")
            assert logged("/large", body=chunks(20_000)) == (200, "large.body.counted")
            assert logged("/admin/x") == (200, "admin.networks.counted")
            seen = [logged("/rated") for _ in range(4)]
            assert seen == [(200, "")] * 2 + [(200, "rated.address.counted")] * 2
            idle = [
                socket.create_connection(("127.0.0.1", edge.port), source_address=("127.0.1.1", 0)) for _ in range(3)
            ]
            time.sleep(0.2)
            assert logged("/other") == (200, "connections.address.counted")
            for one in idle:
                one.close()
            time.sleep(0.2)
            assert logged("/strict", body=b"x" * 1001) == (413, "strict.body.refused")
        finally:
            edge.stop()


def test_without_limits_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edge").mkdir()
    edge = RealEdge(tmp_path / "edge")
    templates = ("haproxy.cfg.j2", "snippet.cfg.j2", "turnout.mtail.j2")
    some = ({}, {"edge_latency": False, "edge_trusted_proxies": ["192.0.2.1"]})
    try:
        today = [
            edge.render({"limits": none, **more}, one) for one in templates for none in (None, {}) for more in some
        ]
        shutil.copytree(real_edge.ROLE, tmp_path / "role")
        monkeypatch.setattr(real_edge, "ROLE", tmp_path / "role")
        includes = 0
        for file in (tmp_path / "role/templates").glob("*.j2"):
            text, found = re.subn(r"{% include 'limits\w*[.]j2' %}\n", "", file.read_text())
            file.write_text(text)
            includes += found
        assert includes >= 8
        assert today == [edge.render(more, one) for one in templates for _ in (None, {}) for more in some]
    finally:
        edge.stop()
