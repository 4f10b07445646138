# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL that lives as long as one rehearsal, and a watcher of the locks that a migration takes in it."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.cage import account
from ansible_collections.turnout.ops.plugins.module_utils.pg_session import Session

STRONG = (
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
BLOCKS_READS = "AccessExclusiveLock"
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
    """One cluster in a folder of its own, removed at the end. `urls` are the addresses that must lead to it."""

    def __init__(self, urls: list, data_directory: str | None = None) -> None:
        self._bin = binaries(data_directory)
        self._account = account("postgres")
        self._home = tempfile.mkdtemp(prefix="turnout-rehearsal-", dir="/var/lib")
        os.chown(self._home, self._account["user"], self._account["group"])
        self._data = data_directory or os.path.join(self._home, "data")
        self._own = data_directory is None
        self._targets = [urllib.parse.urlsplit(url) for url in urls]
        self.database = urllib.parse.unquote(self._targets[0].path.lstrip("/"))
        self._password = secrets.token_urlsafe(24)
        self._port = self._targets[0].port or 5432
        self._server = None

    def url(self, database: str | None = None) -> str:
        """Return the address of the superuser's own session."""
        name = urllib.parse.quote(database or self.database)
        return f"postgresql://turnout_rehearsal:{self._password}@127.0.0.1:{self._port}/{name}?sslmode=disable"

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
        settings = {
            "listen_addresses": "*",
            "port": self._port,
            "unix_socket_directories": self._home,
            "fsync": "off",
            "archive_mode": "off",
            "max_logical_replication_workers": 0,  # a copy's subscriptions stay where they are
            "max_prepared_transactions": 10,
            "track_counts": "on",
            **self._certificate(),
        }
        command = [f"{self._bin}/postgres", "-D", self._data]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            **self._account,
        )  # fmt: skip
        self._wait()
        self._make_roles()
        self._say(
            "pg_hba.conf",
            "local all postgres trust\nhost all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n",
        )
        self._psql("postgres", "SELECT pg_reload_conf();")

    def stop(self) -> None:
        """Stop the server and remove everything."""
        if self._server is not None:
            self._server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(10)
            self._server.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def query(self, sql: str, limit_s: float = 120.0) -> list:
        """Return the rows of a query, asked by the superuser. Raises EphemeralError."""
        try:
            session = Session(self.url(), limit_s)
            try:
                return session.query(sql)
            finally:
                session.close()
        except (ProbeError, OSError) as error:
            raise EphemeralError(f"the database of the rehearsal gave no answer: {error}") from error

    def dump(self) -> str:
        """Return the schema as `pg_dump` writes it, without what differs from run to run."""
        command = [f"{self._bin}/pg_dump", "--schema-only", "-h", self._home, "-p", str(self._port), "-U", "postgres"]
        text = self._run([*command, "-d", self.database])
        lines = [line for line in text.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))]
        return "\n".join(line for line in lines if line.strip())

    def _certificate(self) -> dict:
        """Make a certificate that lives as long as the rehearsal, for addresses that say sslmode=require."""
        certificate, key = os.path.join(self._home, "server.crt"), os.path.join(self._home, "server.key")
        self._run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key, "-out", certificate, "-days", "7", "-subj", "/CN=rehearsal"]
        )  # fmt: skip
        os.chmod(key, 0o600)
        return {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}

    def _make_roles(self) -> None:
        made = set()
        statements = [
            "SET log_statement = 'none'",
            f"CREATE ROLE turnout_rehearsal SUPERUSER LOGIN PASSWORD {_literal(self._password)}",
        ]
        for target in self._targets:
            name = urllib.parse.unquote(target.username or "")
            if name in made:
                continue
            made.add(name)
            password = _literal(urllib.parse.unquote(target.password or ""))
            verb = "ALTER" if self._has_role(name) else "CREATE"
            statements.append(f"{verb} ROLE {_name(name)} LOGIN PASSWORD {password}")
        self._psql("postgres", ";\n".join(statements) + ";")
        owner = _name(urllib.parse.unquote(self._targets[0].username or ""))
        if self._own:
            self._psql("postgres", f"CREATE DATABASE {_name(self.database)} OWNER {owner};")
            # As the role `postgres` gives them: whoever is not the owner may use what the owner makes.
            grants = [f"GRANT ALL ON SCHEMA public TO {owner}"]
            for name in sorted(made - {urllib.parse.unquote(self._targets[0].username or "")}):
                for what in ("TABLES", "SEQUENCES"):
                    rights = "SELECT, INSERT, UPDATE, DELETE" if what == "TABLES" else "USAGE, SELECT"
                    grants.append(
                        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {rights} ON {what} TO {_name(name)}"
                    )
            self._psql(self.database, ";\n".join(grants) + ";")

    def _has_role(self, name: str) -> bool:
        return "1" in self._psql("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = {_literal(name)};")  # noqa: S608 - quoted

    def _psql(self, database: str, sql: str) -> str:
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self._home, "-p", str(self._port)]
        return self._run([*command, "-U", "postgres", "-d", database, "-f", "-"], sql)

    def _run(self, command: list, text: str = "") -> str:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, cwd="/", timeout=300,
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
                self._psql("postgres", "SELECT 1;")
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
            "SELECT oid, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
            " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        self._tables = {row[0]: row[1] for row in rows}
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
            session = Session(self._database.url(), 3600)
            while not self._stop.is_set():
                now = time.monotonic()
                seen = {(pid, self._tables[oid], mode) for pid, oid, mode in session.query(sql) if oid in self._tables}
                self.looks += 1
                for key in seen:
                    since = open_locks.setdefault(key, now)
                    self._note(key, time.monotonic() - since)
                open_locks = {key: since for key, since in open_locks.items() if key in seen}
                self._stop.wait(LOOK_S)
            session.close()
        except (ProbeError, OSError) as error:
            self.error = f"locks could not be watched: {error}"

    def _note(self, key: tuple, seconds: float) -> None:
        name = (key[1], key[2])
        self.held[name] = max(self.held.get(name, 0.0), seconds)


def state(database: Ephemeral) -> dict:
    """Return the tables with rows and files, the size of the database and how much WAL was written so far."""
    rows = database.query(
        "SELECT oid::regclass::text, pg_relation_filenode(oid) FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    tables = {}
    for name, node in rows:
        count = database.query(f"SELECT count(*) FROM {name}")[0][0]  # noqa: S608 - quoted by the server (regclass)
        tables[name] = {"rows": int(count), "file": int(node or 0)}
    size, wal = database.query(
        "SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
    )[0]
    return {"tables": tables, "bytes": int(size), "wal_bytes": int(wal)}


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
