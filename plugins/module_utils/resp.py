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
_FORM = "the address is not of the form redis://user:password@host:port/database, with %23 for # and %2F for / in it"
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
        self._begin_wait()
        self._socket.sendall(_command(words))
        return self._answer()

    def call_many(self, commands: list) -> list:
        """Send commands in one go and return their answers in order. Raises as `call` does, for the first error."""
        if not commands:
            return []
        self._begin_wait()
        self._socket.sendall(b"".join(_command(words) for words in commands))
        found, first = [], None
        for _ in commands:
            try:
                found.append(self._answer())
            except RedisError as error:  # the answers behind it are still to be read
                first = first or error
                if str(error) == _CLOSED:
                    break
        if first is not None:
            raise first
        return found

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
            # What is no text (asynq's messages) comes back whole by `encode` with the same word.
            return None if size < 0 else self._file.read(size + 2)[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            return None if int(rest) < 0 else [self._answer() for _ in range(int(rest))]
        raise RedisError("something that is not Redis answered")


def _command(words: tuple) -> bytes:
    """Return one command as it is sent; text of an answer that was no text goes out as it came in."""
    parts = [str(word).encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Session(Connection):
    """A logged-in connection to the database that the address names; `limit_s` bounds the whole of it.

    The address is one of redis-py: redis://, rediss:// (TLS) or unix://, with the options `db`, `username`, `password`,
    `ssl_cert_reqs`, `ssl_check_hostname` and `ssl_ca_certs`; or redis+sentinel://LOGIN@HOST:PORT,.../MASTER?db=N.
    """

    def __init__(self, url: str, limit_s: float, ca_file: str | None = None) -> None:
        self._deadline = time.monotonic() + limit_s
        parts, port = _read(url)
        options = dict(urllib.parse.parse_qsl(parts.query))
        known = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
        if parts.scheme not in known or (parts.scheme == "unix" and not parts.path):
            raise ProbeError("error", _FORM)
        user = urllib.parse.unquote(parts.username or "") or options.get("username")
        password = urllib.parse.unquote(parts.password or "") or options.get("password")
        self._login = [word for word in (user if password else None, password) if word]
        self._tls = _tls(options, ca_file) if parts.scheme.startswith("rediss") else None
        path = urllib.parse.unquote(parts.path)
        if parts.scheme == "unix":
            opened = socket.socket(socket.AF_UNIX)
            opened.settimeout(self._left())
            opened.connect(path)
        elif parts.scheme.endswith("sentinel"):
            opened = self._open(*self._master(parts.netloc.rpartition("@")[2].split(","), path.strip("/")))
        else:
            opened = self._open(parts.hostname or "localhost", port or 6379)
            options.setdefault("db", path.strip("/"))  # a path that is no number is none of redis-py's databases
        super().__init__(opened)
        if self._login:
            self.call("AUTH", *self._login)
        database = options.get("db") or "0"
        if database.isdigit() and int(database):
            self.call("SELECT", database)

    def _open(self, host: str, port: int) -> socket.socket:
        opened = socket.create_connection((host, port), timeout=self._left())
        return self._tls.wrap_socket(opened, server_hostname=host) if self._tls else opened

    def _master(self, sentinels: list, name: str) -> tuple:
        """Return (host, port) of the master, from the first Sentinel that answers."""
        away = OSError("no Sentinel is named")
        for place in sentinels:
            host, _, port = place.rpartition(":")
            try:
                super().__init__(self._open(host.strip("[]"), int(port)))
            except OSError as error:
                away = error
                continue
            try:
                return self._named(name)
            finally:
                self.close()
        raise away

    def _named(self, name: str) -> tuple:
        try:
            masters = self.call("SENTINEL", "MASTERS")
        except ProbeError as error:
            if error.kind != "credentials" or not self._login:
                raise
            self.call("AUTH", *self._login)  # most have no password for Sentinel itself
            masters = self.call("SENTINEL", "MASTERS")
        found = [dict(zip(one[::2], one[1::2], strict=False)) for one in masters]
        if not name and len(found) != 1:
            raise ProbeError("error", f"Sentinel watches {len(found)} masters: name one in checklist.redis.master")
        for one in found:
            if name in ("", one["name"]):
                return one["ip"], int(one["port"])
        raise ProbeError("error", f"Sentinel watches no master {name}, only {', '.join(one['name'] for one in found)}")

    def call(self, *words: object):
        """Send one command and return its answer. Raises ProbeError with the server's own words."""
        try:
            return super().call(*words)
        except RedisError as error:
            raise _told(error) from None

    def call_many(self, commands: list) -> list:
        """Send commands in one go and return their answers. Raises ProbeError with the server's own words."""
        try:
            return super().call_many(commands)
        except RedisError as error:
            raise _told(error) from None

    def _begin_wait(self) -> None:
        self._socket.settimeout(self._left())

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _told(error: RedisError) -> ProbeError:
    refused = str(error).startswith((*_NOT_IN_SERVICE, _CLOSED))
    kind = "credentials" if str(error).startswith(_CREDENTIALS) else "error"
    return ProbeError("refused" if refused else kind, str(error))


def _read(url: str) -> tuple:
    """Return the parts of an address, and its port (of Sentinels each has its own)."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts, None if parts.scheme.endswith("sentinel") else parts.port
    except ValueError:  # its text has a piece of the password
        raise ProbeError("error", _FORM) from None


def _tls(options: dict, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or options.get("ssl_ca_certs"))
    unchecked = options.get("ssl_cert_reqs", "").lower().removeprefix("cert_") in ("none", "optional")
    context.check_hostname = not unchecked and options.get("ssl_check_hostname", "true").lower() not in ("false", "0")
    if unchecked:
        context.verify_mode = ssl.CERT_NONE
    return context
