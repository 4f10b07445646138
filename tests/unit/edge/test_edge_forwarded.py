"""Who a client is: what it says of itself counts only where a declared proxy says it, seen by a real HAProxy."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.filter import edge as edge_filters
from real_edge import RealEdge

STRANGER, PROXY, SECOND_PROXY = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CLAIMS = {
    "X-Forwarded-For": "203.0.113.66",
    "X-Real-IP": "203.0.113.66",
    "Forwarded": "for=203.0.113.66;proto=https;host=evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Prefix": "/admin",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Anything": "evil.example",
    "X_Forwarded_For": "203.0.113.66",
    "X_Real_IP": "203.0.113.66",
    "X-Original-URL": "/admin",
    "X-Rewrite-URL": "/admin",
    "X-Client-IP": "203.0.113.66",
    "X-Cluster-Client-IP": "203.0.113.66",
    "True-Client-IP": "203.0.113.66",
    "CF-Connecting-IP": "203.0.113.66",
    "X-Original-Forwarded-For": "203.0.113.66",
    "Front-End-Https": "on",
}


def flying(folder: Path, **variables: object) -> RealEdge:
    folder.mkdir()
    edge = RealEdge(folder, **variables)
    edge.start()
    edge.bring_up()
    return edge


@pytest.fixture(scope="module")
def open_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEdge]:
    """An edge as it is by default: no proxy is declared."""
    edge = flying(tmp_path_factory.mktemp("edge") / "open")
    yield edge
    edge.stop()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEdge]:
    """An edge behind two declared proxies, one behind the other; half of the traffic on each color."""
    edge = flying(
        tmp_path_factory.mktemp("edge") / "behind",
        edge_trusted_proxies=[PROXY, f"{SECOND_PROXY}/32"],
        edge_candidate_networks=["127.0.0.0/8", "198.51.100.0/24"],
    )
    edge.do("move", "--run", "A", "--share-bp", "5000")
    yield edge
    edge.stop()


@pytest.fixture(scope="module")
def speaking_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEdge]:
    """An edge whose declared proxies speak the PROXY protocol."""
    edge = flying(
        tmp_path_factory.mktemp("edge") / "speaking",
        edge_trusted_proxies=[PROXY],
        edge_proxy_protocol=True,
        edge_candidate_networks=["198.51.100.0/24"],
    )
    yield edge
    edge.stop()


def ask(edge: RealEdge, source: str, *requests: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Ask from that address, all on one connection; return for each the color and what the application was told."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10, source_address=(source, 0))
    answers = []
    try:
        for headers in requests:
            connection.request("GET", "/", headers=headers)
            response = connection.getresponse()
            assert response.status == 200
            color = response.read().decode().split(" ")[0]
            answers.append((color, dict(edge.services[color].last_headers)))
    finally:
        connection.close()
    return answers


def told(edge: RealEdge, source: str, **headers: str) -> dict[str, str]:
    return ask(edge, source, {name.replace("_", "-"): value for name, value in headers.items()})[0][1]


@pytest.mark.parametrize("name", CLAIMS)
def test_nothing_that_a_stranger_says_of_itself_reaches_the_application(open_edge: RealEdge, name: str) -> None:
    for case in (name, name.lower(), name.upper()):
        ((_, seen),) = ask(open_edge, STRANGER, {case: CLAIMS[name]})
        assert CLAIMS[name] not in seen.values(), f"{case} came through"
        assert seen["x-forwarded-for"] == STRANGER
        assert seen["x-forwarded-proto"] == "http"


def test_all_claims_at_once_from_a_stranger_are_taken_away_behind_proxies_too(behind: RealEdge) -> None:
    ((_, seen),) = ask(behind, STRANGER, CLAIMS)
    assert not set(CLAIMS.values()) & set(seen.values())
    assert seen["x-forwarded-for"] == STRANGER


def test_a_stranger_cannot_hide_a_header_behind_connection(open_edge: RealEdge) -> None:
    # "Connection: X-Forwarded-For" asks a proxy to take that header away: then the application would see no address.
    seen = told(open_edge, STRANGER, Connection="keep-alive, X-Forwarded-For", X_Forwarded_For="203.0.113.66")
    assert seen["x-forwarded-for"] == STRANGER


def test_behind_a_declared_proxy_the_client_is_whom_the_proxy_names(behind: RealEdge) -> None:
    ((_, seen),) = ask(
        behind,
        PROXY,
        {
            "X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "443", "Forwarded": "for=203.0.113.7",
        },
    )  # fmt: skip
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == "203.0.113.7"
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"], seen["x-forwarded-port"]) == (
        "https", "shop.example", "443",
    )  # fmt: skip
    assert seen["forwarded"] == "for=203.0.113.7"


def test_what_a_client_put_before_the_proxys_word_does_not_count(behind: RealEdge) -> None:
    assert told(behind, PROXY, X_Forwarded_For="198.51.100.1, 203.0.113.7")["x-forwarded-for"] == "203.0.113.7"
    chain = f"198.51.100.1, 203.0.113.7, {SECOND_PROXY}"
    seen = told(behind, PROXY, X_Forwarded_For=chain, X_Real_IP="198.51.100.1")
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == "203.0.113.7", "the last address that is no proxy's"


def test_what_a_proxy_does_not_know_is_not_passed_on_for_it(behind: RealEdge) -> None:
    smuggled = {name: value for name, value in CLAIMS.items() if "_" in name or "Client" in name or "URL" in name}
    assert len(smuggled) >= 6
    ((_, seen),) = ask(behind, PROXY, {"X-Forwarded-For": "203.0.113.7", **smuggled})
    assert not set(smuggled.values()) & set(seen.values())
    assert seen["x-forwarded-for"] == "203.0.113.7"


@pytest.mark.parametrize("rubbish", ["", "unknown", "203.0.113.7, rubbish", "_hidden", "1.2.3.4.5", "''\";--"])
def test_an_address_that_is_none_leaves_the_proxys_own(behind: RealEdge, rubbish: str) -> None:
    assert told(behind, PROXY, X_Forwarded_For=rubbish)["x-forwarded-for"] == PROXY


def test_an_address_of_ipv6_is_taken_too(behind: RealEdge) -> None:
    assert told(behind, PROXY, X_Forwarded_For="2001:db8::7")["x-forwarded-for"] == "2001:db8::7"


def test_requests_of_several_clients_on_one_connection_of_a_proxy_are_told_apart(behind: RealEdge) -> None:
    names = ["203.0.113.7", "203.0.113.8", "203.0.113.9"]
    requests = [{"X-Forwarded-For": name} for name in names] + [{}]
    seen = [headers["x-forwarded-for"] for _, headers in ask(behind, PROXY, *requests)]
    assert seen == [*names, PROXY]


def test_the_bucket_is_the_clients_and_not_the_proxys(behind: RealEdge) -> None:
    clients = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(60)]
    first = [color for color, _ in ask(behind, PROXY, *clients)]
    assert set(first) == {"blue", "green"}, "60 clients behind one proxy are not one user"
    assert [color for color, _ in ask(behind, PROXY, *clients)] == first
    strangers = {color for color, _ in ask(behind, STRANGER, *clients)}
    assert len(strangers) == 1, "a stranger chooses no bucket by a header"


def test_a_color_is_chosen_by_the_clients_network_and_not_by_the_proxys(behind: RealEdge) -> None:
    for color in ("blue", "green"):
        chosen = {"X-Turnout-Color": color}
        assert ask(behind, STRANGER, chosen)[0][0] == color
        assert ask(behind, PROXY, chosen | {"X-Forwarded-For": "198.51.100.9"})[0][0] == color
    for name in ("203.0.113.7", "rubbish"):
        asked = {ask(behind, PROXY, {"X-Turnout-Color": c, "X-Forwarded-For": name})[0][0] for c in ("blue", "green")}
        assert len(asked) == 1, f"{name} behind a proxy chose a color, since the proxy's address may"


def test_the_snippet_for_a_haproxy_of_ones_own_has_the_same_lines(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    variables = {"edge_trusted_proxies": [PROXY], "edge_manage_haproxy": False}
    snippet, whole = edge.render(variables, "snippet.cfg.j2"), edge.render(variables)
    edge.stop()
    lines = [line for line in whole.splitlines() if "turnout_" in line or "del-header" in line]
    (logged,) = (line for line in lines if "log-format" in line)
    lines.remove(logged)  # a log of one's own has its own form, with the ids in it
    assert re.findall(r"\{%\[var\(txn.turnout_request\)\]\S+", logged)[0] in snippet
    assert len(lines) > 20
    assert not set(lines) - set(snippet.splitlines())


def test_proxys_word_about_https_prevents_a_redirect(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    pem = tmp_path / "pem"
    text = edge.render({"edge_tls_certificate": str(pem), "edge_https_port": 1, "edge_trusted_proxies": [PROXY]})
    edge.stop()
    (redirect,) = [line for line in text.splitlines() if "redirect scheme https" in line]
    assert "ssl_fc" not in redirect
    assert "X-Forwarded-Proto" in redirect


def test_a_smoke_test_comes_to_the_application_as_users_do_who_are_sent_to_https(tmp_path: Path) -> None:
    """An application that redirects to HTTPS itself (SECURE_SSL_REDIRECT, force_ssl) answered it 301."""
    pem = tmp_path / "edge.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=shop.example.com")
    both = ["-keyout", str(pem), "-out", str(tmp_path / "certificate")]
    subprocess.run(["openssl", "req", "-x509", *key, *both], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "certificate").read_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    edge = flying(tmp_path / "edge", edge_tls_certificate=str(pem), edge_https_port=port)
    try:
        seen = told(edge, STRANGER, X_Turnout_Color="green", X_Forwarded_Host="evil.example")
        assert seen["x-forwarded-proto"] == "https"
        assert "x-forwarded-host" not in seen
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 308  # whoever chooses nothing
        connection.close()
    finally:
        edge.stop()


def speak(edge: RealEdge, source: str, preface: bytes, request: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=3, source_address=(source, 0)) as line:
        line.sendall(preface + (request or b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := line.recv(4096):
                got += part
        return got


V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 80\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12) + socket.inet_aton("203.0.113.8")
    + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 5555, 80)
)  # fmt: skip


@pytest.mark.parametrize(("preface", "client"), [(V1, "203.0.113.7"), (V2, "203.0.113.8")], ids=["v1", "v2"])
def test_a_declared_proxy_tells_the_client_by_proxy_protocol(
    speaking_proxy: RealEdge, preface: bytes, client: str
) -> None:
    claim = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    assert b" 200 " in speak(speaking_proxy, PROXY, preface, claim)
    assert speaking_proxy.services["blue"].last_headers["x-forwarded-for"] == client, (
        "the client's own claim counts not"
    )


def test_a_color_is_chosen_by_the_address_of_the_proxy_protocol(speaking_proxy: RealEdge) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Turnout-Color: green\r\n\r\n"
    trusted = V1.replace(b"203.0.113.7", b"198.51.100.7")
    assert b"green" in speak(speaking_proxy, PROXY, trusted, request)
    assert b"green" not in speak(speaking_proxy, PROXY, V1, request)


@pytest.mark.parametrize("preface", [V1, V2], ids=["v1", "v2"])
def test_a_stranger_that_speaks_proxy_protocol_is_refused(speaking_proxy: RealEdge, preface: bytes) -> None:
    speaking_proxy.services["blue"].last_headers.clear()
    assert b" 200 " not in speak(speaking_proxy, STRANGER, preface)
    assert speaking_proxy.services["blue"].last_headers == {}


def test_without_proxy_protocol_a_stranger_is_served_as_itself(speaking_proxy: RealEdge) -> None:
    assert told(speaking_proxy, STRANGER, X_Forwarded_For="203.0.113.66")["x-forwarded-for"] == STRANGER


def test_a_declared_proxy_that_does_not_speak_it_is_not_served(speaking_proxy: RealEdge) -> None:
    assert b" 200 " not in speak(speaking_proxy, PROXY, b"")


def test_declared_proxies_are_checked_before_they_are_laid() -> None:
    faults = edge_filters.proxy_faults
    assert faults(["192.0.2.0/24", "2001:db8::/32", "10.0.0.1"], False) == []
    for wrong in (["lb.example"], ["192.0.2.0/33"], ["192.0.2.1/24"], ["0.0.0.0/0"], ["127.0.0.1"], ["::/0"], ["::1"]):
        (fault,) = faults(wrong, False)
        assert wrong[0] in fault
    assert faults([], True), "the PROXY protocol from nobody"
