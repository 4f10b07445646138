"""The measuring HTTP client: whole answers from any pieces, and a name for every fault."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load.http1 import Answer, Connection, HttpFault, Parser, request_bytes

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Release: 1.1.0\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;note=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def read(wire: bytes, cuts: list[int]) -> Answer | None:
    parser = Parser()
    answer = None
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for start, end in itertools.pairwise(edges):
        found = parser.feed(wire[start:end])
        answer = found or answer
    return answer


@given(st.sampled_from([SIZED, CHUNKED, INTERIM]), st.lists(st.integers(0, 200)))
def test_an_answer_is_the_same_however_it_is_cut(wire: bytes, cuts: list[int]) -> None:
    answer = read(wire, cuts)
    assert answer is not None
    assert (answer.status, answer.body, answer.keep) == (200, b"hello", True)


@given(st.sampled_from([SIZED, CHUNKED]), st.integers(1, 20))
def test_an_answer_that_lacks_its_end_is_not_whole(wire: bytes, missing: int) -> None:
    parser = Parser()
    assert parser.feed(wire[:-missing]) is None
    assert parser.closed() is None


def test_an_answer_without_length_ends_with_its_connection() -> None:
    parser = Parser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nall of it") is None
    answer = parser.closed()
    assert answer is not None
    assert (answer.body, answer.keep) == (b"all of it", False)


def test_no_content_needs_no_length() -> None:
    answer = read(EMPTY, [])
    assert answer is not None
    assert answer.status == 204


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_answer_says(head: bytes, keep: bool) -> None:
    answer = read(head + b"Content-Length: 0\r\n\r\n", [])
    assert answer is not None
    assert answer.keep is keep


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_a_fault(wire: bytes) -> None:
    with pytest.raises(HttpFault) as caught:
        read(wire, [])
    assert caught.value.name == "bad-answer"


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def ask(server: Server, *, timeout_s: float = 5, times: int = 1) -> list[Answer]:
    """Ask a server that behaves as `server` does, over one connection."""
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    answers = []
    try:
        connection = await Connection.connect("127.0.0.1", port)
        for _ in range(times):
            answers.append(await connection.ask(request_bytes("GET", "/", "host"), timeout_s))
            await asyncio.sleep(0.02)  # let a close that follows the answer arrive
    finally:
        listener.close()
    return answers


def server_that(*, says: bytes, ends: bool, again: bool = True) -> Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(says)
            await writer.drain()
            if not again:
                await reader.readuntil(b"\r\n\r\n")
            if ends or not again:
                writer.close()
                return

    return serve


async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def test_one_connection_carries_several_requests() -> None:
    answers = asyncio.run(ask(server_that(says=SIZED, ends=False), times=3))
    assert [answer.body for answer in answers] == [b"hello"] * 3


@pytest.mark.parametrize(
    ("server", "times", "name"),
    [
        (server_that(says=b"", ends=True), 1, "closed-before-answer"),
        (server_that(says=SIZED[:-2], ends=True), 1, "closed-in-answer"),
        (server_that(says=CHUNKED[:-9], ends=True), 1, "closed-in-answer"),
        # A reused connection that is closed instead of answered is a lost request too.
        (server_that(says=SIZED, ends=False, again=False), 2, "closed-before-answer"),
        (forgetful, 1, "timeout"),
    ],
)
def test_every_fault_has_its_name(server: Server, times: int, name: str) -> None:
    with pytest.raises(HttpFault) as caught:
        asyncio.run(ask(server, timeout_s=0.2, times=times))
    assert caught.value.name == name


def test_a_refused_connection_is_a_fault() -> None:
    async def connect() -> None:
        listener = await asyncio.start_server(forgetful, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        await Connection.connect("127.0.0.1", port)

    with pytest.raises(HttpFault) as caught:
        asyncio.run(connect())
    assert caught.value.name == "connect-refused"


def test_a_request_says_how_long_its_body_is_and_whether_it_is_the_last() -> None:
    wire = request_bytes("POST", "/a", "h", headers={"X": "1"}, body=b"abc", close=True)
    assert wire == b"POST /a HTTP/1.1\r\nHost: h\r\nX: 1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
