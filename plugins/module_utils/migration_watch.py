# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""What a person is told while migrations run: the tool's own lines as they come, and what PostgreSQL is at."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import time

from ansible_collections.turnout.ops.plugins.module_utils import migration_state
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.pg_session import Session

QUIET_S = 25.0
"""After so long without a line a sign is given: with the look at PostgreSQL and the way to the screen, within 30 s."""
LOOK_S = 3
# As the checklist on the controller knows it (scripts/turnout/checklist/addresses.py).
ADDRESS = re.compile(
    r"(?:jdbc:)?(?:postgres|postgresql|pgsql|psql|postgis|timescale|timescalegis|pgx|pgx[45])(?:\+\w+)?://",
    re.IGNORECASE,
)
_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
# What this database user runs from this host, in a session that is no older than the migrations. No statement is told.
_STATEMENT = """
SELECT floor(extract(epoch FROM clock_timestamp() - a.query_start))::int, a.wait_event_type || ' ' || a.wait_event,
  (SELECT string_agg(concat_ws(' ', b.pid, nullif(b.application_name, ''), b.state), ', ')
   FROM pg_stat_activity b WHERE b.pid = ANY (pg_blocking_pids(a.pid)))
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.state = 'active' AND a.backend_type = 'client backend'
  AND a.usename = current_user AND a.datname = current_database()
  AND a.client_addr IS NOT DISTINCT FROM inet_client_addr()
  AND a.backend_start > clock_timestamp() - interval '%d s'
ORDER BY a.query_start LIMIT 1
"""


def run(argv: list, limit_s: float, hear, quiet, quiet_s: float = QUIET_S) -> tuple:
    """Run a command; return its exit code, standard output and standard error.

    `hear(line)` is called for each line that it writes, when it writes it, and returns whether a person was told;
    `quiet(seconds since its start, unfinished line)` where nobody was told anything for `quiet_s` seconds. Raises
    subprocess.TimeoutExpired after `limit_s` seconds.
    """
    began = told = time.monotonic()
    texts = [bytearray(), bytearray()]
    begun = [0, 0]  # where the line begins that is not finished
    with (
        selectors.DefaultSelector() as ready,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        for number, stream in enumerate((process.stdout, process.stderr)):
            ready.register(stream, selectors.EVENT_READ, number)
        while ready.get_map():
            now = time.monotonic()
            if now >= began + limit_s:
                process.kill()
                raise subprocess.TimeoutExpired(argv, limit_s)
            if now >= told + quiet_s:
                quiet(now - began, " ".join(_text(texts[number][begun[number] :]) for number in (0, 1)).rstrip())
                told = now
            for key, _ in ready.select(max(0, min(began + limit_s, told + quiet_s) - now)):
                data, number = os.read(key.fd, 1 << 16), key.data
                if not data:
                    ready.unregister(key.fileobj)
                texts[number] += data
                whole = texts[number].rfind(b"\n") + 1
                for line in _text(texts[number][begun[number] : whole]).splitlines():
                    told = time.monotonic() if hear(line) else told
                begun[number] = max(whole, begun[number])
    return process.returncode, _text(texts[0]), _text(texts[1])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class Watch:
    """Write what is told to a file that only root may read, line by line; without one nobody is told.

    `hide` takes secrets out of a text, `asks` are address, environment and system user of a login to PostgreSQL.
    """

    def __init__(self, path: str, hide, limit_s: float, asks: tuple) -> None:
        self._path, self._hide, self._limit_s, self._asks = path, hide, limit_s, asks

    def hear(self, line: str) -> bool:
        """Tell a line that says of a migration that it was applied; return whether it was told."""
        lines = migration_state.progress(self._hide(line))
        self._tell(lines)
        return bool(lines)

    def quiet(self, spent_s: float, unfinished: str) -> None:
        """Tell how long it takes already, which migration it is at, and what PostgreSQL is at."""
        parts = [f"{spent_s:.0f} s of at most {self._limit_s:g} s (service.migrate.timeout_s)"]
        parts += migration_state.progress(self._hide(unfinished))
        self._tell(["; ".join(filter(None, [*parts, statement(self._asks, spent_s)]))])

    def close(self) -> None:
        """Remove the file."""
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _tell(self, lines: list) -> None:
        if self._path and lines:
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "a") as file:
                file.writelines(f"{line}\n" for line in lines)


def asks(environment: dict, user: str) -> tuple:
    """Return how PostgreSQL is asked: address, variables of libpq, system user. The address is None without one."""
    found = (ADDRESS.sub("postgresql://", value, count=1) for value in environment.values() if ADDRESS.match(value))
    variables = {name: value for name, value in environment.items() if name.startswith("PG")}
    return next(found, "" if any(name in variables for name in _LIBPQ) else None), variables, user


def statement(asked: tuple, spent_s: float) -> str:
    """Return what PostgreSQL runs for migrations that began `spent_s` seconds ago; "" where that is not to be had."""
    address, variables, user = asked
    if address is None:
        return ""
    try:
        session = Session(address, LOOK_S, variables, user)
        try:
            rows = session.query(_STATEMENT % (spent_s + 5))
        finally:
            session.close()
    except (ProbeError, OSError, ValueError, KeyError):
        return ""
    if not rows:
        return ""
    seconds, waits, held = rows[0]
    words = f", waits for {waits}" if waits else ""
    return f"PostgreSQL is at one statement for {seconds} s{words}{f', held by {held}' if held else ''}"
