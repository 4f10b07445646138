# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Log in to PostgreSQL as the application does, by psycopg: what libpq reads of an address is what counts.

psycopg works in a process of its own, so that it may have another user (a socket's server asks for the name) and other
variables (PGSERVICE, PGSSLMODE) than this one, and ends at its time limit. The password goes there by a pipe: it is on
no command line and in no message.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
import threading
import time

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError

# Debian's python3-psycopg belongs to Debian's own Python, which may not be the one that runs this.
_PYTHONS = (sys.executable, "/usr/bin/python3")

_CHILD = r"""
import json, sys
try:
    import psycopg
    from psycopg.conninfo import make_conninfo
except ImportError:
    print('{"missing": true}')
    sys.exit()

def say(**words):
    print(json.dumps(words), flush=True)

def rows(cursor, sql):
    cursor.execute(sql)
    found = []
    while True:
        result = cursor.pgresult
        for row in range(result.ntuples):
            values = [result.get_value(row, column) for column in range(result.nfields)]
            found.append([None if value is None else value.decode("utf-8", "replace") for value in values])
        if not cursor.nextset():
            return found

asked = json.loads(sys.stdin.readline())
try:
    if isinstance(asked["address"], str):
        words = asked["address"]
    else:
        known = {one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults()}
        words = make_conninfo(**{name: value for name, value in asked["address"].items() if name in known})
    more = {"connect_timeout": asked["limit_s"], "fallback_application_name": "turnout-checklist"}
    connection = psycopg.connect(words, autocommit=True, **more)
except psycopg.Error as error:
    say(error=str(error))
    sys.exit()
say(encrypted=bool(connection.pgconn.ssl_in_use))
with connection.cursor() as cursor:
    for line in sys.stdin:
        try:
            say(rows=rows(cursor, json.loads(line)))
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            say(error=f"{said} ({error.sqlstate})" if error.sqlstate else said, state=error.sqlstate)
"""
# libpq keeps a refused login's words and not its SQLSTATE. In this order: who comes first decides.
_WORDS = (
    ("credentials", ("authentication failed", "no pg_hba.conf entry", "does not exist", "permission denied",
                     "no password supplied", "is not permitted to log in", "certificate verify failed")),
    ("refused", ("refused", "no such file or directory", "starting up", "shutting down", "not yet accepting",
                 "closed the connection")),
    ("timeout", ("timeout", "timed out")),
    ("unreachable", ("no route to host", "unreachable", "could not translate host name", "name or service not known")),
)  # fmt: skip
_CREDENTIAL_STATES = ("28000", "28P01", "3D000", "42501")  # who, password, which database, which rights
_NOT_IN_SERVICE = ("57P03", "57P01", "57P02")  # starting up, shutting down


class Session:
    """One connection; `limit_s` bounds the whole of it, from the first packet to the last.

    `address` is a connection string of libpq, or its parameters; those that this host's libpq does not know are left
    out. As root it logs in as the system user `user`, where there is one.
    """

    def __init__(self, address: dict | str, limit_s: float, environment: dict | None = None, user: str = "") -> None:
        self._deadline = time.monotonic() + limit_s
        self.encrypted = False
        for python in dict.fromkeys(_PYTHONS):
            try:
                self._start(python, limit_s, environment or {}, user)
            except (FileNotFoundError, PermissionError):
                continue
            said = self._ask({"address": address, "limit_s": max(2, round(limit_s))})
            if not said.get("missing"):
                self.encrypted = said["encrypted"]
                return
            self.close()
        raise ProbeError("error", "python3-psycopg is not installed here: turnout.ops.site installs it")

    def query(self, sql: str) -> list:
        """Return the rows of one or several statements as lists of texts (None for NULL)."""
        return self._ask(sql)["rows"]

    def close(self) -> None:
        """Say goodbye."""
        self._timer.cancel()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _start(self, python: str, limit_s: float, environment: dict, user: str) -> None:
        account = {}
        if user and os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(user)
                account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        variables = {"PATH": "/usr/bin:/bin", **environment, "LC_ALL": "C"}
        self._process = subprocess.Popen(
            [python, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=variables, cwd="/", text=True, **account,
        )  # fmt: skip
        self._timer = threading.Timer(limit_s, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def _ask(self, words: object) -> dict:
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said before it ended is read below
        line = self._process.stdout.readline()
        if not line:
            self.close()
            if time.monotonic() >= self._deadline:
                raise TimeoutError
            raise ProbeError("error", "psycopg ended without an answer")
        said = json.loads(line)
        if "error" in said:
            if "state" not in said:
                self.close()
            raise _error(said)
        return said


def _error(said: dict) -> ProbeError:
    text, state = " ".join(said["error"].split()), said.get("state")
    if state:
        kind = "credentials" if state in _CREDENTIAL_STATES else "refused" if state in _NOT_IN_SERVICE else "error"
        return ProbeError(kind, text)
    low = text.lower()
    return ProbeError(next((kind for kind, words in _WORDS if any(word in low for word in words)), "error"), text)
