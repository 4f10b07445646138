"""What the edge refuses by a limit is no failure of a color, for guard and judge; figures and logs tell of it."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limited_edge import ADDRESSES, TESTERS, ask, say
from ports import free_port
from real_edge import RealEdge
from test_edge_latency import CountingEdge

LIMITS = {
    "routes": [
        {"name": "login", "path": "/login", "by_address": {"requests": 5, "per_s": 60}, "body_bytes": 100, "body_s": 1},
        {"name": "admin", "path": "/admin/*", "networks": ["127.0.3.0/24"]},
        {"name": "seen", "path": "/seen", "mode": "count", "body_bytes": 10},
    ]
}


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[CountingEdge]:
    edge = CountingEdge(
        tmp_path, limits=LIMITS, edge_limits_port=free_port(), edge_candidate_networks=[TESTERS],
        edge_extra_frontend="http-request capture req.hdr(X-Strange) len 60",
    )  # fmt: skip
    try:
        edge.start_mtail()
        edge.start()
        yield edge
    finally:
        edge.stop()


def limited(edge: CountingEdge) -> dict[tuple[str, ...], float]:
    found = re.findall(r"^turnout_edge_limited_total{(.*)} (\S+)$", edge.scrape(), re.M)
    rows = [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in found]
    return {(labels["route"], labels["kind"], labels["mode"]): value for labels, value in rows}


def test_only_what_reached_a_color_counts_for_it(edge: CountingEdge) -> None:
    edge.bring_up()
    edge.do("move", "--run", "A", "--share-bp", "10000")
    strange = {"X_Strange": "login.body.refused"}
    statuses = [ask(edge, "/login", body=b"x", **strange)[0] for _ in range(9)]
    statuses += [ask(edge, "/login", body=b"x" * 101)[0], ask(edge, "/admin/1", **strange)[0]]
    slow = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    assert say(edge, slow, 1.4).startswith(b"HTTP/1.1 408 ")
    statuses += [ask(edge, "/seen", body=b"x" * 11, **strange)[0], ask(edge, "/other", **strange)[0]]
    assert statuses == [200] * 5 + [429] * 4 + [413, 403, 200, 200]
    assert edge.wait_counted(7) == {("green", "other", "2xx"): 7}

    rows = edge.do("show")["backends"]
    counted = {
        name: {kind: row[kind] for kind in ("requests", "hrsp_2xx", "hrsp_4xx", "hrsp_5xx")}
        for name, row in rows.items()
    }
    assert counted["green"] == {"requests": 7, "hrsp_2xx": 7, "hrsp_4xx": 0, "hrsp_5xx": 0}, counted
    wanted = {
        ("login", "address", "refused"): 4,
        ("login", "body", "refused"): 1,
        ("admin", "networks", "refused"): 1,
        ("seen", "body", "counted"): 1,
    }
    edge.wait_for(lambda: limited(edge) == wanted, "the figures of limits", 5)


@pytest.mark.parametrize("edges", [["edge1"], ["edge1", "edge2"]])
@pytest.mark.parametrize("proxy_protocol", [False, True])
def test_whatever_is_declared_makes_a_configuration_that_haproxy_takes(
    tmp_path: Path, edges: list[str], proxy_protocol: bool
) -> None:
    variables: dict[str, Any] = {
        "limits": {
            **{"connections": 50, "headers_s": 5, "exempt": ["10.0.0.0/8", "2001:db8::/32"], "buffer_bytes": 32_768},
            "routes": [
                *LIMITS["routes"],
                {"name": "a_b-c", "path": "/a~b@c:d,e=f+g-h._/{x}/*", "concurrent": 3, "answer_s": 9},
                {"name": "key", "path": "/{any}", "by_account": {"header": "X_Key-1", "requests": 1_000_000}},
                {"name": "json", "path": "/", "by_account": {"json": "a_b.c-d", "requests": 3, "mode": "count"}},
            ],
        },
        "edge_trusted_proxies": ["192.0.2.0/28"],
        "edge_proxy_protocol": proxy_protocol,
        "edge_limits_port": free_port(),
        "groups": {"api": ["app1"], "edge": edges},
        "hostvars": {"app1": {"ansible_host": "127.0.0.1"}, **{n: {"ansible_host": a} for n, a in ADDRESSES.items()}},
    }
    edge = RealEdge(tmp_path, **variables)
    try:
        done = subprocess.run(["haproxy", "-c", "-f", edge.haproxy_cfg], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "will still be processed before" not in done.stderr
        snippet = edge.render(variables, "snippet.cfg.j2")
        for line in ("tune.bufsize 32768", "peers turnout-limits", "wait-for-body time 1s", "localpeer edge1"):
            assert line in snippet
    finally:
        edge.stop()


def test_behind_a_proxy_the_clients_own_address_counts(tmp_path: Path) -> None:
    edge = RealEdge(
        tmp_path, edge_limits_port=free_port(), edge_trusted_proxies=["127.0.7.1"], edge_candidate_networks=[TESTERS],
        limits={"connections": 3, "routes": [{"name": "a", "path": "/a", "by_address": {"requests": 2, "per_s": 60}}]},
    )  # fmt: skip
    try:
        edge.start()
        proxy = [socket.create_connection(("127.0.0.1", edge.port), source_address=("127.0.7.1", 0)) for _ in range(5)]
        time.sleep(0.2)
        for client in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            seen = [ask(edge, "/a", "127.0.7.1", X_Forwarded_For=client)[0] for _ in range(3)]
            assert seen == [200, 200, 429], client
        assert ask(edge, "/a", "127.0.7.1", X_Forwarded_For="2001:db8::2")[0] == 429, "one network, one client"
        assert ask(edge, "/a", "127.0.7.1", X_Forwarded_For="2001:db8:0:1::1")[0] == 200
        seen = [ask(edge, "/a", "127.0.1.1", X_Forwarded_For=f"192.0.2.{n}")[0] for n in range(3)]
        assert seen == [200, 200, 429], "what a stranger says of its address is not believed"
        for one in proxy:
            one.close()
    finally:
        edge.stop()
