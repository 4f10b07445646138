# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ask Redis as the application does: the little of its protocol (RESP2) that reading needs, from Python alone."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.parse

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError

_CREDENTIALS = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR invalid password")
_NOT_IN_SERVICE = ("LOADING", "MASTERDOWN", "CLUSTERDOWN")


class Session:
    """A logged-in connection to the database that the address names; `limit_s` bounds the whole of it."""

    def __init__(self, url: str, limit_s: float, ca_file: str | None = None) -> None:
        self._deadline = time.monotonic() + limit_s
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ProbeError("error", "the address is not of the form redis://user:password@host:port/database")
        self._socket = socket.create_connection((parts.hostname, parts.port or 6379), timeout=self._left())
        if parts.scheme == "rediss":
            context = ssl.create_default_context(cafile=ca_file)
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._file = self._socket.makefile("rb")
        if parts.password:
            names = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.call("AUTH", *names, urllib.parse.unquote(parts.password))
        database = parts.path.strip("/") or dict(urllib.parse.parse_qsl(parts.query)).get("db", "0")
        if database != "0":
            self.call("SELECT", database)

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def call(self, *words: object):
        """Send one command and return its answer. Raises ProbeError with the server's own words."""
        parts = [str(word).encode() for word in words]
        self._socket.settimeout(self._left())
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._answer()

    def info(self, *sections: str) -> dict:
        """Return `INFO` as {field: text}."""
        text = "\n".join(self.call("INFO", section) for section in sections)
        return dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _answer(self):
        self._socket.settimeout(self._left())
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ProbeError("refused", "the connection was closed in the middle of an answer")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"-":
            known = "credentials" if rest.startswith(_CREDENTIALS) else "error"
            raise ProbeError("refused" if rest.startswith(_NOT_IN_SERVICE) else known, rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return None if int(rest) < 0 else [self._answer() for _ in range(int(rest))]
        raise ProbeError("error", "something that is not Redis answered")
