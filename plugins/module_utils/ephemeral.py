# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL that lives as long as one rehearsal, and a watcher of the locks that a migration takes in it."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import subprocess
import threading
import time
from typing import Any

try:
    import psycopg
except ImportError:  # told by Ephemeral
    psycopg = None  # type: ignore[assignment]

from ansible_collections.turnout.ops.plugins.module_utils.cage import account

STRONG = (
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
BLOCKS_READS = "AccessExclusiveLock"
VERSION_TABLES = frozenset(
    [
        # golang-migrate, dbmate, Rails and Ecto; goose; Alembic; Django; Flyway and tern; yoyo; Liquibase
        *("schema_migrations", "ar_internal_metadata", "goose_db_version", "alembic_version", "django_migrations"),
        *("flyway_schema_history", "schema_version", "_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"),
        *("databasechangelog", "databasechangeloglock"),
        # Laravel and TypeORM; Knex; Sequelize; Prisma; node-pg-migrate; Drizzle; MikroORM; Kysely; Doctrine; Phinx
        *("migrations", "knex_migrations", "knex_migrations_lock", "SequelizeMeta", "_prisma_migrations"),
        *("pgmigrations", "__drizzle_migrations", "mikro_orm_migrations", "kysely_migration", "kysely_migration_lock"),
        *("doctrine_migration_versions", "phinxlog"),
        # Diesel; SQLx; refinery; Entity Framework; sql-migrate; bun; Atlas
        *("__diesel_schema_migrations", "_sqlx_migrations", "refinery_schema_history", "__EFMigrationsHistory"),
        *("gorp_migrations", "bun_migrations", "bun_migration_locks", "atlas_schema_revisions"),
    ]
)
"""What migration tools keep their own record in, by default: it counts migrations and holds nobody's data."""
START_LIMIT_S = 60
LOOK_S = 0.005  # between two looks at the locks


class EphemeralError(Exception):
    """The database could not be made or asked; the message holds no secret."""


def binaries(data_directory: str | None = None) -> str:
    """Return the folder of the server programs that a data directory is of; of the newest ones without it."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
    version = ""
    if data_directory is not None:
        try:
            with open(os.path.join(data_directory, "PG_VERSION"), encoding="ascii") as file:
                version = file.read().strip()
        except (OSError, ValueError):
            raise EphemeralError(f"{data_directory} is no data directory: it has no PG_VERSION") from None
        found = [path for path in found if path.split("/")[4] == version]
    if not found:
        package = f"postgresql-{version}" if version else "postgresql"
        raise EphemeralError(f"no PostgreSQL server {version} is installed here: apt-get install {package}")
    return os.path.dirname(found[-1])


class Ephemeral:
    """One cluster, in the folder `home`, on which the caller looks after; `targets` are what must lead to it.

    Each target has `user`, `password`, `dbname`, `hosts` and `port`; the first one's user owns the database.
    """

    def __init__(self, targets: list, home: str, data_directory: str | None = None) -> None:
        if psycopg is None:
            raise EphemeralError("this host has no psycopg: apt-get install python3-psycopg")
        self._bin = binaries(data_directory)
        self._account = account("postgres")
        self._home = home
        os.chown(home, self._account["user"], self._account["group"])
        self._data = data_directory or os.path.join(home, "data")
        self._own = data_directory is None
        self._targets = targets
        self.database = targets[0]["dbname"]
        self._port = targets[0]["port"]
        self._server: subprocess.Popen | None = None
        self._session: Any = None

    def start(self) -> None:
        """Make the cluster where there is none, start it, and make the roles and the database of the addresses."""
        if self._own:
            self._run(
                [f"{self._bin}/initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
            )
        self._say("pg_hba.conf", "local all postgres trust\n")
        if not self._own:
            # Debian keeps it in /etc, and settings of the host that it came from are not for this one.
            for name in ("postgresql.conf", "postgresql.auto.conf", "pg_ident.conf"):
                self._say(name, "")
        sockets = {self._home, *(host for one in self._targets for host in one["hosts"] if host.startswith("/"))}
        for folder in sockets - {self._home}:
            os.chown(folder, self._account["user"], self._account["group"])
        settings = {
            "listen_addresses": "*",
            "port": self._port,
            "unix_socket_directories": ",".join(sorted(sockets)),
            "fsync": "off",
            "archive_mode": "off",
            "max_logical_replication_workers": 0,  # a copy's subscriptions stay where they are
            "max_prepared_transactions": 10,
            "track_counts": "on",
            "ssl": "on",
            "ssl_cert_file": os.path.join(self._home, "tls", "server.crt"),
            "ssl_key_file": os.path.join(self._home, "tls", "server.key"),
        }
        command = [f"{self._bin}/postgres", "-D", self._data]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            **self._account,
        )  # fmt: skip
        self._wait()
        self._make_roles()
        # Whose address has no password is known by something else where it is in service.
        known = sorted({_name(one["user"]) for one in self._targets if not one["password"]})
        lines = ["local all postgres trust"]
        lines += [line for name in known for line in (f"local all {name} trust", f"host all {name} all trust")]
        lines += ["local all all scram-sha-256", "host all all all scram-sha-256"]
        self._say("pg_hba.conf", "\n".join(lines) + "\n")
        self._tell("postgres", "SELECT pg_reload_conf();")
        self._session = self.connect()

    def stop(self) -> None:
        """Stop the server; its folder is the caller's."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # PostgreSQL's fast way: it waits for no session
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(10)
            self._server.kill()

    def connect(self, database: str | None = None) -> Any:
        """Return a session of the superuser, over the cluster's own socket. Raises psycopg.Error."""
        return psycopg.connect(
            host=self._home, port=self._port, user="postgres", dbname=database or self.database, autocommit=True
        )

    def query(self, sql: str, limit_s: float = 120.0) -> list:
        """Return the rows of a query, asked by the superuser. Raises EphemeralError."""
        try:
            self._session.execute(f"SET statement_timeout = {int(limit_s * 1000)}")
            cursor = self._session.execute(sql)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise EphemeralError(f"the database of the rehearsal gave no answer: {_first_line(error)}") from error

    def dump(self) -> str:
        """Return the schema as `pg_dump` writes it, without what differs from run to run, and the tools' records."""
        command = [f"{self._bin}/pg_dump", "--schema-only", "-h", self._home, "-p", str(self._port), "-U", "postgres"]
        command += [f'--exclude-table=*."{name}"' for name in VERSION_TABLES]
        text = self._run([*command, "-d", self.database])
        lines = [line for line in text.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))]
        return "\n".join(line for line in lines if line.strip())

    def tables(self) -> dict:
        """Return every table with the number of its file, which a rewrite changes; without the tools' records."""
        rows = self.query(
            "SELECT oid::regclass::text, relname, pg_relation_filenode(oid) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        return {name: node for name, alone, node in rows if alone not in VERSION_TABLES}

    def rows(self) -> dict:
        """Return the number of rows of every table. It reads all of them."""
        counts = {}
        for name in self.tables():  # quoted by the server (regclass)
            counts[name] = self.query(f"SELECT count(*) FROM {name}", 3600)[0][0]  # noqa: S608
        return counts

    def sizes(self) -> tuple:
        """Return the size of the database, and how much WAL was written so far, in bytes."""
        size, wal = self.query(
            "SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
        )[0]
        return int(size), int(wal)

    def _make_roles(self) -> None:
        made: dict = {}
        statements = ["SET log_statement = 'none'"]
        for target in self._targets:
            name = target["user"]
            if name in made:
                continue
            made[name] = f"PASSWORD {_literal(target['password'])}" if target["password"] else ""
            verb = "ALTER" if self._has_role(name) else "CREATE"
            statements.append(f"{verb} ROLE {_name(name)} LOGIN {made[name]}")
        self._tell("postgres", ";\n".join(statements) + ";")
        owner = _name(self._targets[0]["user"])
        if self._own:
            for database in dict.fromkeys(target["dbname"] for target in self._targets):
                if database != "postgres":
                    self._tell("postgres", f"CREATE DATABASE {_name(database)} OWNER {owner};")
            # As the role `postgres` gives them: whoever is not the owner may use what the owner makes.
            grants = [f"GRANT ALL ON SCHEMA public TO {owner}"]
            for name in sorted(set(made) - {self._targets[0]["user"]}):
                for what in ("TABLES", "SEQUENCES"):
                    rights = "SELECT, INSERT, UPDATE, DELETE" if what == "TABLES" else "USAGE, SELECT"
                    grants.append(
                        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {rights} ON {what} TO {_name(name)}"
                    )
            self._tell(self.database, ";\n".join(grants) + ";")

    def _has_role(self, name: str) -> bool:
        return bool(self._tell("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = {_literal(name)}"))  # noqa: S608 - quoted

    def _tell(self, database: str, sql: str) -> list:
        try:
            with self.connect(database) as session:
                cursor = session.execute(sql)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            said = _first_line(error)[:200]
            raise EphemeralError(f"the database of the rehearsal could not be made: {said}") from None

    def _run(self, command: list) -> str:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/", timeout=300,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **self._account,
        )  # fmt: skip
        if done.returncode:
            first = (done.stderr.strip().splitlines() or ["no reason"])[0]
            raise EphemeralError(f"{os.path.basename(command[0])} failed: {first[:200]}")
        return done.stdout

    def _say(self, name: str, text: str) -> None:
        path = os.path.join(self._data, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chown(path, self._account["user"], self._account["group"])

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                self._tell("postgres", "SELECT 1;")
                return
            except EphemeralError:
                if time.monotonic() > deadline or (self._server is not None and self._server.poll() is not None):
                    raise
                time.sleep(0.1)


class LockWatch:
    """Looks at the table locks of everybody else, every few milliseconds, while a block runs.

    `held` maps (table, mode) to the longest seconds that one process was seen holding it; only tables that were there
    before, since nobody can wait for one that is new.
    """

    def __init__(self, database: Ephemeral) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.held: dict = {}
        self.looks = 0
        self.error = ""

    def __enter__(self) -> LockWatch:
        rows = self._database.query(
            "SELECT oid, oid::regclass::text, relname FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
            " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        # A tool that locks its own record for as long as it works keeps nobody but another migrator waiting.
        self._tables = {oid: name for oid, name, alone in rows if alone not in VERSION_TABLES}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _look(self) -> None:
        open_locks: dict = {}
        modes = ", ".join(f"'{mode}'" for mode in STRONG)
        sql = (  # its own constants
            "SELECT l.pid, l.relation, l.mode FROM pg_locks l WHERE l.locktype = 'relation' AND l.granted"  # noqa: S608
            f" AND l.pid <> pg_backend_pid() AND l.mode IN ({modes})"
        )
        try:
            session = self._database.connect()
            while not self._stop.is_set():
                now = time.monotonic()
                rows = session.execute(sql).fetchall()
                seen = {(pid, self._tables[oid], mode) for pid, oid, mode in rows if oid in self._tables}
                self.looks += 1
                for key in seen:
                    since = open_locks.setdefault(key, now)
                    self._note(key, time.monotonic() - since)
                open_locks = {key: since for key, since in open_locks.items() if key in seen}
                self._stop.wait(LOOK_S)
            session.close()
        except psycopg.Error as error:
            self.error = f"locks could not be watched: {error}"

    def _note(self, key: tuple, seconds: float) -> None:
        name = (key[1], key[2])
        self.held[name] = max(self.held.get(name, 0.0), seconds)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason"])[0]


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
