"""A small HTTP/1.1 client on asyncio transports, made for measuring.

It costs a third of a general client's CPU, and it never hides anything: no retry, no
redirect, no second connection behind the caller's back. Every fault has a name of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

LONGEST_HEAD = 64 * 1024
CONNECT_TIMEOUT_S = 5.0


class HttpFault(Exception):
    """A request got no whole answer; `name` is a short, countable cause."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name


@dataclass
class Answer:
    """One whole answer; header names are in small letters."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep: bool = True
    """Whether the connection may carry another request."""


class Parser:
    """Reads one answer from pieces of bytes."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._body = bytearray()
        self._answer: Answer | None = None
        self._left = 0  # bytes of the body (or of the current chunk) still to come
        self._mode = "head"

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has arrived."""
        return self._answer is not None or bool(self._data)

    def feed(self, data: bytes) -> Answer | None:
        """Take the next bytes; the answer once it is whole. HttpFault if it is no HTTP."""
        self._data += data
        while True:
            step = getattr(self, "_" + self._mode)
            if not step():
                break
        if self._mode == "done" and self._answer is not None:
            self._answer.body = bytes(self._body)
            return self._answer
        return None

    def closed(self) -> Answer | None:
        """The peer closed: the answer, if its body was meant to end so."""
        if self._mode == "until_close" and self._answer is not None:
            self._answer.body = bytes(self._body)
            return self._answer
        return None

    def _head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > LONGEST_HEAD:
                raise HttpFault("bad-answer", "endless header")
            return False
        lines = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        parts = lines[0].split(" ", 2)
        if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
            raise HttpFault("bad-answer", lines[0][:80])
        status = int(parts[1])
        if 100 <= status < 200:
            return True  # an interim answer; the real one follows
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        connection = headers.get("connection", "").lower()
        keep = connection != "close" and (parts[0] == "HTTP/1.1" or connection == "keep-alive")
        self._answer = Answer(status, headers, keep=keep)
        if status in (204, 304):
            self._mode = "done"
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            self._mode = "chunk_size"
        elif (length := headers.get("content-length")) is not None:
            if not length.isdigit():
                raise HttpFault("bad-answer", f"content-length {length[:40]!r}")
            self._left = int(length)
            self._mode = "sized"
        else:
            self._answer.keep = False
            self._mode = "until_close"
        return True

    def _sized(self) -> bool:
        taken = self._data[: self._left]
        del self._data[: len(taken)]
        self._body += taken
        self._left -= len(taken)
        if self._left == 0:
            self._mode = "done"
        return False

    def _until_close(self) -> bool:
        self._body += self._data
        self._data.clear()
        return False

    def _chunk_size(self) -> bool:
        end = self._data.find(b"\r\n")
        if end < 0:
            return False
        try:
            self._left = int(self._data[:end].split(b";")[0], 16)
        except ValueError:
            raise HttpFault("bad-answer", "chunk size") from None
        del self._data[: end + 2]
        self._mode = "chunk" if self._left else "trailer"
        return True

    def _chunk(self) -> bool:
        if len(self._data) < self._left + 2:
            return False
        self._body += self._data[: self._left]
        del self._data[: self._left + 2]
        self._mode = "chunk_size"
        return True

    def _trailer(self) -> bool:
        end = self._data.find(b"\r\n")
        if end < 0:
            return False
        last = end == 0
        del self._data[: end + 2]
        if last:
            self._mode = "done"
        return not last

    @staticmethod
    def _done() -> bool:
        return False


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = Parser()
        self._waiter: asyncio.Future[Answer] | None = None
        self.served = 0
        self.idle_since = 0.0
        self.open = True

    @classmethod
    async def connect(cls, address: str, port: int) -> Connection:
        """Open a connection; HttpFault `connect-…` when it cannot be."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(cls, address, port)
        except TimeoutError:
            raise HttpFault("connect-timeout", f"{address}:{port}") from None
        except ConnectionRefusedError:
            raise HttpFault("connect-refused", f"{address}:{port}") from None
        except OSError as error:
            raise HttpFault("connect-failed", f"{address}:{port} {error}") from None
        return connection

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser; end the wait when the answer is whole."""
        if self._waiter is None or self._waiter.done():
            self.close()  # an answer that nobody asked for
            return
        try:
            answer = self._parser.feed(data)
        except HttpFault as fault:
            self._waiter.set_exception(fault)
            self.close()
            return
        if answer is not None:
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait: with the answer if closing ends it, else with a fault."""
        self.open = False
        if self._waiter is None or self._waiter.done():
            return
        answer = self._parser.closed() if exc is None else None
        if answer is not None:
            self._waiter.set_result(answer)
            return
        where = "in-answer" if self._parser.begun else "before-answer"
        # A reused connection that ends before a byte of the answer is a fault as well: the
        # request was sent, and a client cannot know whether it was carried out.
        how = "reset" if exc is not None else "closed"
        self._waiter.set_exception(HttpFault(f"{how}-{where}", str(exc or "")))

    # callers call these

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send one request and wait for its whole answer; HttpFault otherwise."""
        assert self._transport is not None
        if not self.open:
            raise HttpFault("closed-before-answer")
        loop = asyncio.get_running_loop()
        self._parser = Parser()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._expire, waiter)
        self.served += 1
        self._transport.write(request)
        try:
            answer = await waiter
        finally:
            timer.cancel()
            self._waiter = None
        if not answer.keep:
            self.close()
        return answer

    def _expire(self, waiter: asyncio.Future[Answer]) -> None:
        if not waiter.done():
            waiter.set_exception(HttpFault("timeout"))
            self.close()

    def close(self) -> None:
        """Close at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort() if self._waiter is not None else self._transport.close()


def request_bytes(
    method: str, path: str, host: str, *, headers: dict[str, str] | None = None, body: bytes = b"", close: bool = False
) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
