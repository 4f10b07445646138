# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Log in to PostgreSQL as the application does, from where it runs, with nothing installed but Python.

The little of the protocol (version 3.0; PostgreSQL documentation, chapter "Frontend/Backend Protocol") that a login
and a query need: TLS, SCRAM-SHA-256 (RFC 5802, RFC 7677), md5 and clear-text passwords, the simple query protocol. The
password stays in this process: it is on no command line and in no message.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
import time
import urllib.parse

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError

_AUTH_OK, _AUTH_CLEAR, _AUTH_MD5, _AUTH_SASL, _AUTH_SASL_CONTINUE, _AUTH_SASL_FINAL = 0, 3, 5, 10, 11, 12
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_VERSION = 196608
_CREDENTIAL_STATES = ("28000", "28P01", "3D000", "42501")  # who, password, which database, which rights
_NOT_IN_SERVICE = ("57P03", "57P01", "57P02")  # starting up, shutting down
# Whether to try with TLS, in this order.
_WAYS = {"disable": (False,), "allow": (False, True), "prefer": (True, False)}
_LONGEST = 16 << 20  # bytes of one message; more is no answer of ours


def parse(url: str) -> dict:
    """Return host, port, user, password, database, TLS mode and root certificate of a connection URI.

    Raises ProbeError without any part of the address that may hold a secret.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname or not parts.username:
        raise ProbeError("error", "the address is not of the form postgresql://user:password@host:port/database")
    options = dict(urllib.parse.parse_qsl(parts.query))
    try:
        port = parts.port or 5432
    except ValueError:
        raise ProbeError("error", "the address holds a port that is no number") from None
    user = urllib.parse.unquote(parts.username)
    return {
        "host": parts.hostname,
        "port": port,
        "user": user,
        "password": urllib.parse.unquote(parts.password or ""),
        "database": urllib.parse.unquote(parts.path.lstrip("/")) or user,
        "sslmode": options.get("sslmode", "prefer"),
        "sslrootcert": options.get("sslrootcert"),
    }


class Session:
    """One connection; `limit_s` bounds the whole of it, from the first packet to the last."""

    def __init__(self, url: str, limit_s: float) -> None:
        self._deadline = time.monotonic() + limit_s
        self.target = parse(url)
        self.encrypted = False
        ways = _WAYS.get(self.target["sslmode"], (True,))
        for number, with_tls in enumerate(ways, start=1):
            try:
                self._connect(with_tls)
                return
            except ProbeError as error:
                # As libpq does: pg_hba.conf may let in only the other kind of line.
                if number == len(ways) or not (error.kind == "credentials" and "pg_hba.conf" in str(error)):
                    raise

    def _connect(self, with_tls: bool) -> None:
        self.encrypted = False
        address = (self.target["host"], self.target["port"])
        self._socket = socket.create_connection(address, timeout=self._left())
        try:
            if with_tls:
                self._start_tls()
            self._log_in()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(OSError):
            self._send(b"X", b"")
        self._socket.close()

    def query(self, sql: str) -> list:
        """Return the rows of one or several statements as lists of texts (None for NULL)."""
        self._send(b"Q", sql.encode() + b"\0")
        rows, error = [], None
        while True:
            kind, body = self._message()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                error = _error(body)
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _start_tls(self) -> None:
        mode = self.target["sslmode"]
        if mode == "require" and self.target["sslrootcert"]:
            mode = "verify-ca"  # libpq's own reading of it
        self._socket.sendall(_SSL_REQUEST)
        said = self._exactly(1)
        if said == b"S":
            context = ssl.create_default_context(cafile=self.target["sslrootcert"])
            context.check_hostname = mode == "verify-full"
            if mode not in ("verify-ca", "verify-full"):
                context.verify_mode = ssl.CERT_NONE
            self._socket.settimeout(self._left())
            self._socket = context.wrap_socket(self._socket, server_hostname=self.target["host"])
            self.encrypted = True
        elif mode not in ("prefer", "allow"):
            raise ProbeError("error", f"the server speaks no TLS, and the address asks for sslmode={mode}")

    def _log_in(self) -> None:
        words = ["user", self.target["user"], "database", self.target["database"]]
        words += ["application_name", "turnout-checklist"]
        body = struct.pack("!I", _VERSION) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
        self._socket.sendall(struct.pack("!I", len(body) + 4) + body)
        scram = Scram(self.target["password"])
        while True:
            kind, body = self._message()
            if kind == b"E":
                raise _error(body)
            if kind == b"Z":
                return
            if kind == b"R":
                self._authenticate(struct.unpack("!I", body[:4])[0], body[4:], scram)

    def _authenticate(self, code: int, body: bytes, scram: Scram) -> None:
        if code == _AUTH_CLEAR:
            if not self.encrypted:
                raise ProbeError("error", "the server asks for the password in clear text over a line without TLS")
            self._send(b"p", self.target["password"].encode() + b"\0")
        elif code == _AUTH_MD5:
            self._send(b"p", _md5(self.target["user"], self.target["password"], body[:4]) + b"\0")
        elif code == _AUTH_SASL:
            if b"SCRAM-SHA-256" not in body.split(b"\0"):
                raise ProbeError("error", "the server offers no SCRAM-SHA-256")
            first = scram.first()
            self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        elif code == _AUTH_SASL_CONTINUE:
            self._send(b"p", scram.final(body))
        elif code == _AUTH_SASL_FINAL:
            scram.verify(body)
        elif code != _AUTH_OK:
            raise ProbeError("error", f"the server asks for a way of logging in that is not known here ({code})")

    def _send(self, kind: bytes, body: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def _message(self) -> tuple:
        kind = self._exactly(1)
        (size,) = struct.unpack("!I", self._exactly(4))
        if not 4 <= size <= _LONGEST:
            raise ProbeError("error", "something that is not PostgreSQL answered")
        return kind, self._exactly(size - 4)

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            self._socket.settimeout(self._left())
            part = self._socket.recv(size - len(got))
            if not part:
                raise ProbeError("refused", "the server closed the connection")
            got += part
        return got


class Scram:
    """The client's side of SCRAM-SHA-256 without channel binding."""

    def __init__(self, password: str, *, nonce: str | None = None, user: str = "") -> None:
        self._password = password.encode()
        self._nonce = nonce or secrets.token_urlsafe(18)
        # PostgreSQL knows the user from the start packet, and leaves the name here empty.
        self._bare = f"n={user},r={self._nonce}"
        self._server_key = b""
        self._auth = b""

    def first(self) -> bytes:
        """Return the client's first message."""
        return b"n,," + self._bare.encode()

    def final(self, server_first: bytes) -> bytes:
        """Return the client's last message, with the proof."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        if not fields["r"].startswith(self._nonce):
            raise ProbeError("error", "the server answered for another login")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        self._server_key = hmac.digest(salted, b"Server Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        self._auth = f"{self._bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), self._auth, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Raise ProbeError where the server does not know the password itself."""
        expected = base64.b64encode(hmac.digest(self._server_key, self._auth, "sha256"))
        if not hmac.compare_digest(server_final.split(b",")[0], b"v=" + expected):
            raise ProbeError("error", "the server could not prove that it knows the password")


def _md5(user: str, password: str, salt: bytes) -> bytes:
    # What the server asks for; it is no choice of ours.
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def _row(body: bytes) -> list:
    (count,) = struct.unpack("!H", body[:2])
    values, at = [], 2
    for _ in range(count):
        (size,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        if size < 0:
            values.append(None)
            continue
        values.append(body[at : at + size].decode("utf-8", "replace"))
        at += size
    return values


def _error(body: bytes) -> ProbeError:
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    state, text = fields.get(b"C", ""), fields.get(b"M", "the server gave no reason")
    kind = "credentials" if state in _CREDENTIAL_STATES else "refused" if state in _NOT_IN_SERVICE else "error"
    return ProbeError(kind, f"{text} ({state})")
