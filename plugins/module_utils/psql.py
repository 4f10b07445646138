# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Speak with the PostgreSQL server of this host, as its superuser, over the local socket.

Standard library only: nothing needs to be installed on the managed host besides `psql` itself. Statements go to
psql's standard input, never to its command line, and the session switches the server's statement log off, so that
no secret reaches a process list or a log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import re
import secrets
import subprocess
from pathlib import Path

SCRAM_ITERATIONS = 4096  # PostgreSQL's own default
_SCRAM = re.compile(r"^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)$")
_TIMEOUT_S = 60


class PsqlError(Exception):
    """psql could not be run, or the server refused a statement. The message holds no statement."""


def quote_identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    if not name or "\0" in name:
        raise ValueError("an SQL identifier must not be empty or hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """Return `value` as an SQL string literal, whatever `standard_conforming_strings` says."""
    if "\0" in value:
        raise ValueError("an SQL string must not hold a NUL character")
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def scram_verifier(password: str, *, salt: bytes | None = None, iterations: int = SCRAM_ITERATIONS) -> str:
    """Return what PostgreSQL stores for `password`, so that the password itself never leaves this process.

    Raises ValueError for a password with characters outside printable ASCII, which SASLprep could change.
    """
    if not password.isascii() or not password.isprintable():
        raise ValueError("the password holds characters outside printable ASCII")
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()

    def encode(value: bytes) -> str:
        return base64.b64encode(value).decode("ascii")

    return f"SCRAM-SHA-256${iterations}:{encode(salt)}${encode(stored_key)}:{encode(server_key)}"


def scram_matches(password: str, verifier: str | None) -> bool:
    """Tell whether `verifier`, as PostgreSQL stores it, was made from `password`."""
    found = _SCRAM.match(verifier or "")
    if not found:
        return False
    iterations, salt = int(found.group(1)), base64.b64decode(found.group(2))
    expected = scram_verifier(password, salt=salt, iterations=iterations)
    return hmac.compare_digest(expected, verifier or "")


def running_port(data_directory: str) -> int:
    """Return the port that the server of `data_directory` listens on now, whatever its files say by then.

    Raises PsqlError when it does not run.
    """
    path = Path(data_directory) / "postmaster.pid"
    try:
        return int(path.read_text(encoding="ascii").splitlines()[3])
    except (OSError, ValueError, IndexError) as error:
        raise PsqlError(f"the server does not run or is just starting: {path} tells no port") from error


def system_account(user: str) -> dict[str, object]:
    """Return the arguments that make `subprocess.run` run as `user`; none when that is who we are.

    Raises PsqlError when there is no such user.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise PsqlError(f"there is no system user {user}: is PostgreSQL installed?") from error
    if os.geteuid() == account.pw_uid:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Psql:
    """Run SQL on one database of the running server of `data_directory`, as the system user `user`."""

    def __init__(self, data_directory: str, *, database: str = "postgres", user: str = "postgres") -> None:
        self.data_directory = data_directory
        self.database = database
        self.user = user

    def run(self, sql: str) -> str:
        """Run `sql` and return its output, unaligned and without headings. Raises PsqlError."""
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LC_ALL": "C.UTF-8",
            "PGOPTIONS": "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic",
            "PGCONNECT_TIMEOUT": "10",
            "PGAPPNAME": "turnout",
        }
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", "/var/run/postgresql", "-p", str(running_port(self.data_directory))]
        command += ["-d", self.database, "-f", "-"]
        try:
            done = subprocess.run(
                command,
                input=sql,
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
                cwd="/",
                env=environment,
                timeout=_TIMEOUT_S,
                **system_account(self.user),  # type: ignore[call-overload]
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PsqlError(f"psql could not be run as {self.user}: {type(error).__name__}: {error}") from error
        if done.returncode != 0:
            raise PsqlError(_first_error(done.stderr))
        return str(done.stdout)

    def rows(self, query: str, **values: str) -> list[dict[str, object]]:
        """Return the rows of `query`, each as a mapping, with `values` in the place of their `:'name'`.

        Raises PsqlError.
        """
        text = re.sub(r":'(\w+)'", lambda found: quote_literal(values[found.group(1)]), query)
        answer = self.run(" ".join(["SELECT coalesce(json_agg(answer), '[]') FROM (", text, ") AS answer;"]))
        rows: list[dict[str, object]] = json.loads(answer)
        return rows


def _first_error(stderr: str) -> str:
    """Return psql's first error without the LINE and STATEMENT parts, which may quote what was sent."""
    for line in stderr.splitlines():
        text = re.sub(r"^psql:<stdin>:\d+: ", "", line)
        if re.match(r"(ERROR|FATAL|psql: error):", text):
            return text
    return (stderr.strip().splitlines() or ["psql failed and said nothing"])[0]
