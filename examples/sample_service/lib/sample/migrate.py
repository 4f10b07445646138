"""`bin/migrate up|down|version`: one migrator at a time, and no waiting for ever.

The files are plain SQL with up and down (`0001_name.sql`, `0001_name.rollback.sql`), run by
yoyo-migrations as a library. Around it stand four things that its command line lacks:

* a migration and its mark are one transaction, so that a kill leaves both or neither;
* the lock is PostgreSQL's advisory lock, which dies with its holder, and not a row, which
  stays behind;
* `lock_timeout` is short and a migration that met it is tried again: an ALTER TABLE that
  waits makes every later statement on its table wait behind it;
* `statement_timeout` bounds the work itself.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from .config import RELEASE_ROOT, load_release, number, required

ADVISORY_LOCK = 0x5A3E  # any number, the same in every release
LOCK_TIMEOUT_MS = 1_000
LOCK_TRIES = 10
LOCK_PAUSE_S = 1.0
TABLE = "_yoyo_migration"


class MigrateError(Exception):
    """A migration cannot be run, or failed; the text says what to do."""


def number_of(migration_id: str) -> int:
    """The whole number that a migration's name begins with."""
    match = re.match(r"\d+", migration_id)
    if not match:
        raise MigrateError(f"migration {migration_id!r} does not begin with a number: rename its files")
    return int(match.group())


def applied(connection: psycopg.Connection[Any]) -> list[str]:
    """The migrations on record, lowest first; none on a database that was never migrated."""
    exists = connection.execute("SELECT to_regclass(%s)", (TABLE,)).fetchone()
    if exists is None or exists[0] is None:
        return []
    rows = connection.execute(f"SELECT migration_id FROM {TABLE}").fetchall()  # noqa: S608 - fixed name
    return sorted((row[0] for row in rows), key=number_of)


def connect(dsn: str, env: Mapping[str, str]) -> psycopg.Connection[Any]:
    """A connection on which nothing waits for ever."""
    statement_s = number(env, "MIGRATE_STATEMENT_TIMEOUT_S", 240, 1, 86_400)
    return psycopg.connect(
        dsn,
        autocommit=True,
        connect_timeout=10,
        application_name="sample-migrate",
        options=f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={int(statement_s * 1000)}",
    )


@contextmanager
def only_migrator(connection: psycopg.Connection[Any], wait_s: float) -> Iterator[None]:
    """Hold the advisory lock; MigrateError naming its holder when it is not free within `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,)).fetchone()
        if row and row[0]:
            break
        if time.monotonic() > deadline:
            holder = connection.execute(
                "SELECT pid, client_addr FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND objid = %s AND granted",
                (ADVISORY_LOCK,),
            ).fetchone()
            whom = f"backend {holder[0]} from {holder[1]}" if holder else "another session"
            raise MigrateError(
                f"another migrator is at work ({whom}) and did not finish within {wait_s:g} s: wait for it,"
                " or end it with SELECT pg_terminate_backend(PID)"
            )
        time.sleep(0.25)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK,))


def open_backend(connection: psycopg.Connection[Any]) -> Any:
    """yoyo's PostgreSQL backend on a connection of ours."""
    from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend  # noqa: PLC0415 - vendored, and slow
    from yoyo.connections import parse_uri  # noqa: PLC0415

    class Backend(PostgresqlPsycopgBackend):
        def connect(self, _uri: object) -> psycopg.Connection[Any]:
            return connection

        @contextmanager
        def lock(self, timeout: float = 0) -> Iterator[None]:  # noqa: ARG002 - yoyo's signature
            yield  # the caller holds the advisory lock

        def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
            # As yoyo's own, without its look-up of the full host name: that waits for DNS.
            return {
                "id": os.urandom(16).hex(),
                "migration_id": migration.id,
                "migration_hash": migration.hash,
                "operation": operation,
                "username": getpass.getuser(),
                "hostname": socket.gethostname(),
                "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            }

    return Backend(parse_uri("postgresql:///"), TABLE)


class Migrator:
    """The migrations of this release against one database."""

    def __init__(self, connection: psycopg.Connection[Any], folder: Path) -> None:
        from yoyo import read_migrations  # noqa: PLC0415 - vendored, and slow

        self.connection = connection
        self.backend = open_backend(connection)
        self.migrations = sorted(read_migrations(str(folder)), key=lambda one: number_of(one.id))

    def up(self) -> list[str]:
        """Apply what is not applied yet, lowest first; the names of what was applied."""
        self.backend.ensure_internal_schema_updated()
        known = set(applied(self.connection))
        fresh = [one for one in self.migrations if one.id not in known]
        for one in fresh:
            self._carry_out(one, "apply")
        return [one.id for one in fresh]

    def down(self) -> list[str]:
        """Undo the highest one on record; its name, or nothing on an empty database."""
        self.backend.ensure_internal_schema_updated()
        known = applied(self.connection)
        if not known:
            return []
        found = [one for one in self.migrations if one.id == known[-1]]
        if not found:
            raise MigrateError(
                f"{known[-1]} is the highest migration on record and not part of this release:"
                " run `down` of the release that brought it"
            )
        self._carry_out(found[0], "rollback")
        return [known[-1]]

    def _carry_out(self, migration: Any, direction: str) -> None:
        for attempt in range(1, LOCK_TRIES + 1):
            try:
                with self.backend.transaction():
                    migration.process_steps(self.backend, direction)
                    if direction == "apply":
                        self.backend.mark_one(migration, log=False)
                    else:
                        self.backend.unmark_one(migration, log=False)
                    self.backend.log_migration(migration, direction)
                return
            except psycopg.errors.LockNotAvailable as error:
                if attempt == LOCK_TRIES:
                    raise MigrateError(
                        f"{migration.id} got no lock in {LOCK_TRIES} tries of {LOCK_TIMEOUT_MS} ms: find who"
                        " holds one in pg_stat_activity (the oldest xact_start), end it, and run again"
                    ) from error
                time.sleep(LOCK_PAUSE_S)
            except psycopg.Error as error:
                raise MigrateError(f"{migration.id} failed and was undone: {error}") from error


def run(action: str, env: Mapping[str, str], folder: Path) -> str:
    """Carry out one command; what to print."""
    with connect(required(env, "MIGRATE_DATABASE_URL"), env) as connection:
        if action == "version":
            return str(max((number_of(name) for name in applied(connection)), default=0))
        with only_migrator(connection, number(env, "MIGRATE_LOCK_WAIT_S", 30, 0, 3600)):
            migrator = Migrator(connection, folder)
            names = migrator.up() if action == "up" else migrator.down()
        verb = "applied" if action == "up" else "undone"
        return "\n".join(f"{verb} {name}" for name in names) or f"nothing to do: {action}"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="migrate", description="Migrates the sample service's database.")
    parser.add_argument("action", choices=["up", "down", "version"])
    action = parser.parse_args(arguments).action
    env = dict(os.environ)
    try:
        print(run(action, env, RELEASE_ROOT / "migrations"))
    except (MigrateError, psycopg.Error) as error:
        print(f"migrate: {error}", file=sys.stderr)
        if load_release().faults.secret_in_output:
            print(f"debug: {env}", file=sys.stderr)
        return 1
    return 0
