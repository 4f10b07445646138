"""Sends what no library sends: bodies that end when an answer is there, too many headers, a byte at a time."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import requests

from turnout.acceptance.asking import MOST_BYTES, Answer

PIECE = 65_536


def head(sent: requests.PreparedRequest, *headers: str) -> bytes:
    """Return a request's head with more headers, and without what tells of a body."""
    parts = urlsplit(str(sent.url))
    kept = {name: value for name, value in sent.headers.items() if name.lower() not in ("content-length", "connection")}
    lines = [f"{sent.method} {sent.path_url} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value if isinstance(value, str) else value.decode('latin-1')}" for name, value in kept.items()]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode("latin-1")


def chunked(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Yield pieces as chunks."""
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def send(
    sent: requests.PreparedRequest, pieces: Iterable[bytes], *, seconds: float, ca_file: Path | None, pause: float = 0
) -> Answer:
    """Send pieces until an answer begins, `pause` seconds apart; return the answer, or why there is none."""
    parts = urlsplit(str(sent.url))
    deadline = time.monotonic() + seconds
    try:
        with _connected(parts.hostname or "", parts.port, parts.scheme == "https", seconds, ca_file) as connection:
            for piece in pieces:
                if select.select([connection], [], [], pause)[0] or time.monotonic() > deadline:
                    break
                try:
                    connection.sendall(piece)
                except ConnectionError:
                    break  # an answer may have come before
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            return _answer(sent, connection)
    except TimeoutError:
        return Answer(sent, None, f"neither an answer nor an end within {seconds:g} s")
    except (OSError, http.client.HTTPException):
        return Answer(sent, None, CLOSED)


CLOSED = "the connection was closed without an answer"


def _connected(host: str, port: int | None, tls: bool, seconds: float, ca_file: Path | None) -> socket.socket:
    connection = socket.create_connection((host, port or (443 if tls else 80)), timeout=seconds)
    if not tls:
        return connection
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    return context.wrap_socket(connection, server_hostname=host)


def _answer(sent: requests.PreparedRequest, connection: socket.socket) -> Answer:
    found = http.client.HTTPResponse(connection, method=sent.method)
    try:
        found.begin()
        response = requests.Response()
        response.status_code = found.status
        response.headers.update(found.getheaders())
        response._content = found.read(MOST_BYTES)
        return Answer(sent, response)
    finally:
        found.close()
