# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""The little of Redis's protocol (RESP2) that is needed here, from Python alone."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.parse

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError

_CREDENTIALS = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR invalid password")
_NOT_IN_SERVICE = ("LOADING", "MASTERDOWN", "CLUSTERDOWN")
_CLOSED = "the connection was closed in the middle of an answer"


class RedisError(Exception):
    """The server answered with an error, or something that is not Redis answered."""


class Connection:
    """A connection to Redis; the time limit of the opened socket bounds each wait."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._file = opened.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def call(self, *words: object):
        """Send one command and return its answer. Raises RedisError with the server's own words."""
        parts = [str(word).encode() for word in words]
        self._begin_wait()
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._answer()

    def info(self, *sections: str) -> dict:
        """Return `INFO` as {field: text}."""
        text = "\n".join(self.call("INFO", section) for section in sections)
        return dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)

    def _begin_wait(self) -> None:
        """Set the time limit of the next wait."""

    def _answer(self):
        self._begin_wait()
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError(_CLOSED)
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"-":
            raise RedisError(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return None if int(rest) < 0 else [self._answer() for _ in range(int(rest))]
        raise RedisError("something that is not Redis answered")


class Session(Connection):
    """A logged-in connection to the database that the address names; `limit_s` bounds the whole of it."""

    def __init__(self, url: str, limit_s: float, ca_file: str | None = None) -> None:
        self._deadline = time.monotonic() + limit_s
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ProbeError("error", "the address is not of the form redis://user:password@host:port/database")
        opened = socket.create_connection((parts.hostname, parts.port or 6379), timeout=self._left())
        if parts.scheme == "rediss":
            opened = ssl.create_default_context(cafile=ca_file).wrap_socket(opened, server_hostname=parts.hostname)
        super().__init__(opened)
        if parts.password:
            names = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.call("AUTH", *names, urllib.parse.unquote(parts.password))
        database = parts.path.strip("/") or dict(urllib.parse.parse_qsl(parts.query)).get("db", "0")
        if database != "0":
            self.call("SELECT", database)

    def call(self, *words: object):
        """Send one command and return its answer. Raises ProbeError with the server's own words."""
        try:
            return super().call(*words)
        except RedisError as error:
            refused = str(error).startswith((*_NOT_IN_SERVICE, _CLOSED))
            kind = "credentials" if str(error).startswith(_CREDENTIALS) else "error"
            raise ProbeError("refused" if refused else kind, str(error)) from None

    def _begin_wait(self) -> None:
        self._socket.settimeout(self._left())

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
