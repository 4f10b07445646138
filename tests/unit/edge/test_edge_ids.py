"""Every request has an id that edge, application and log agree on, and no client can write one into them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_edge import RealEdge

STRANGER, PROXY = "127.0.0.1", "127.0.0.2"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MINE = "11111111-2222-4333-8444-555555555555"


class Lines:
    """Stands where mtail listens, and keeps the lines of HAProxy's log."""

    def __init__(self, folder: Path) -> None:
        self.kept: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(folder / "log"))
        self.socket.listen()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection: socket.socket) -> None:
        with connection, connection.makefile(errors="replace") as lines:
            self.kept.extend(line for line in lines)

    def of(self, word: str) -> list[str]:
        """Return the lines that hold a word, once there are some."""
        RealEdge.wait_for(lambda: any(word in line for line in list(self.kept)), f"a line of the log with {word}")
        return [line for line in list(self.kept) if word in line]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealEdge, Lines]]:
    folder = tmp_path_factory.mktemp("ids")
    edge = RealEdge(folder)
    lines = Lines(folder)
    edge.start()
    edge.bring_up()
    yield edge, lines
    edge.stop()
    lines.socket.close()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEdge]:
    edge = RealEdge(
        tmp_path_factory.mktemp("behind"),
        edge_trusted_proxies=[PROXY],
        edge_trusted_proxies_pass=["X-Forwarded-For", "X-Request-ID"],
        edge_trace_sampled=False,
    )
    edge.start()
    edge.bring_up()
    yield edge
    edge.stop()


def raw(
    edge: RealEdge, *headers: str, source: str = STRANGER, path: str = "/"
) -> tuple[dict[str, str], dict[str, str]]:
    """Ask with lines as they are; return what the application was told, and the headers of the answer."""
    with socket.create_connection(("127.0.0.1", edge.port), 10, source_address=(source, 0)) as connection:
        text = "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: x", *headers, "Connection: close"))
        connection.sendall(text.encode() + b"\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head = answer.partition("\r\n\r\n")[0].split("\r\n")
    assert head[0].startswith("HTTP/1.1 200"), head
    got = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    return dict(edge.services["blue"].last_headers), got


def test_a_request_without_ids_gets_one_id_in_both_forms_everywhere(edge: tuple[RealEdge, Lines]) -> None:
    seen, answer = raw(edge[0])
    found = seen["x-request-id"]
    assert re.fullmatch(UUID, found)
    bare = found.replace("-", "")
    assert seen["traceparent"] == f"00-{bare}-{bare[16:]}-01"
    assert answer["x-request-id"] == found
    (line,) = edge[1].of(found)
    assert f"{{blue|other}} {{{found}|{bare}}} " in line


def test_ids_are_never_the_same_twice(edge: tuple[RealEdge, Lines]) -> None:
    assert len({raw(edge[0])[0]["x-request-id"] for _ in range(50)}) == 50


@pytest.mark.parametrize("name", ["X-Request-ID", "x-request-id", "X-REQUEST-ID", "X_Request_ID", "X-Request_Id"])
@pytest.mark.parametrize("value", [MINE, "x", "", "a b", "\x7f", "' OR 1=1", "a" * 4000])
def test_what_a_stranger_calls_its_request_reaches_nobody(edge: tuple[RealEdge, Lines], name: str, value: str) -> None:
    for lines in ([f"{name}: {value}"], [f"{name}: {value}"] * 2, [f"Connection: {name}", f"{name}: {value}"]):
        seen, answer = raw(edge[0], *lines)
        assert re.fullmatch(UUID, seen["x-request-id"])
        assert seen["x-request-id"] != MINE
        assert [one for one in seen if re.fullmatch(r"x[-_]request[-_]id", one)] == ["x-request-id"]
        assert answer["x-request-id"] == seen["x-request-id"]


def test_a_clients_trace_is_gone_on_with(edge: tuple[RealEdge, Lines]) -> None:
    given = f"00-{TRACE}-{PARENT}-00"
    seen, _ = raw(edge[0], f"traceparent: {given}", "tracestate: vendor=1")
    assert (seen["traceparent"], seen["tracestate"]) == (given, "vendor=1")
    assert edge[1].of(f"{{{seen['x-request-id']}|{TRACE}}} ")


@pytest.mark.parametrize(
    "given",
    [
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}|x-{PARENT}-01",
        "",
    ],
)
def test_a_trace_that_is_none_begins_anew_without_its_state(edge: tuple[RealEdge, Lines], given: str) -> None:
    seen, _ = raw(edge[0], f"traceparent: {given}", "tracestate: vendor=1")
    bare = seen["x-request-id"].replace("-", "")
    assert seen["traceparent"] == f"00-{bare}-{bare[16:]}-01"
    assert "tracestate" not in seen


def test_two_traces_are_none(edge: tuple[RealEdge, Lines]) -> None:
    seen, _ = raw(edge[0], f"traceparent: 00-{TRACE}-{PARENT}-01", f"traceparent: 00-{TRACE}-{PARENT}-01")
    assert TRACE not in seen["traceparent"]


def test_an_answer_of_the_edge_itself_says_its_id_too(tmp_path: Path) -> None:
    edge = RealEdge(tmp_path)
    for service in edge.services.values():
        service.healthy = False
    edge.start()
    try:
        status, _, headers = edge.get()
        assert status == 503
        assert re.fullmatch(UUID, headers["x-request-id"])
    finally:
        edge.stop()


def test_a_declared_proxys_id_is_kept_where_it_is_one(behind: RealEdge) -> None:
    seen, answer = raw(behind, f"X-Request-ID: {MINE.upper()}", source=PROXY)
    assert seen["x-request-id"] == answer["x-request-id"] == MINE
    bare = MINE.replace("-", "")
    assert seen["traceparent"] == f"00-{bare}-{bare[16:]}-00"
    for lines in (["X-Request-ID: mine"], [f"X-Request-ID: {MINE}"] * 2, [f"X_Request_ID: {MINE}"]):
        assert raw(behind, *lines, source=PROXY)[0]["x-request-id"] != MINE
    assert raw(behind, f"X-Request-ID: {MINE}", source=STRANGER)[0]["x-request-id"] != MINE
