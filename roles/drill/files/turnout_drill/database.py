"""The restored PostgreSQL: its configuration, its start as read from its own log, and questions to it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from typing import Any

from .errors import BrokenOff
from .isolation import Decoys, Isolation
from .place import Place
from .shell import ProgramError, run, transient, unit_active, unit_said

CONSISTENT = re.compile(r"consistent recovery state reached at ([0-9A-F/]+)")
REPLAYED = re.compile(r"redo done at ([0-9A-F/]+)|redo is not required|recovery stopping (before|after|at)")
READY = re.compile(r"database system is ready to accept connections")
_FATAL = re.compile(r"(FATAL|PANIC):  (?!the database system is (starting up|not yet accepting))(.*)")
# What recovery asks of a server that replays, as pg_controldata prints it (see "Administrator's Overview" of hot
# standby in PostgreSQL's documentation).
_PARAMETERS = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact")
_NAMES = {"max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction"}
_POLL_S = 0.02
# What the restored server is told on its command line, above all that was restored with it: it listens to nobody, asks
# nobody, and sends nothing away.
CUT_OFF = {
    "listen_addresses": "",
    "archive_mode": "off",
    "archive_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "max_logical_replication_workers": "0",
    # pg_cron, where it is preloaded at all, starts none of its jobs.
    "cron.launch_active_jobs": "off",
}


class Database:
    """A cluster of its own in the place, on a socket of its own."""

    def __init__(self, place: Place, version: str) -> None:
        self.place = place
        self.bin = f"/usr/lib/postgresql/{version}/bin"
        self.unit = place.unit("postgres")
        self.settings: dict[str, Any] = {}

    def parameters(self) -> dict[str, int]:
        """Return the settings that the cluster's control file demands. Raises ProgramError."""
        out = run([f"{self.bin}/pg_controldata", "-D", str(self.place.data)], user="postgres").decode()
        found = dict(re.findall(r"^(\w+) setting:\s+(\d+)$", out, flags=re.MULTILINE))
        return {_NAMES.get(name, name): int(found[name]) for name in _PARAMETERS if name in found}

    def configure(self, settings: dict[str, Any]) -> None:
        """Write the cluster's configuration: its own settings stand in /etc of a host that may be gone."""
        place = self.place
        self.settings = settings
        wanted = {
            **self.parameters(),
            "hot_standby": "on",
            "shared_buffers": "128MB",
            **settings,
        }
        lines = [f"{name} = '{value}'" for name, value in sorted(wanted.items())]
        place.write("postgresql.conf", "\n".join(lines) + "\n", 0o640)
        place.write("pg_hba.conf", "local all postgres peer\nlocal all all scram-sha-256\n", 0o640)
        place.write("pg_ident.conf", "", 0o640)

    def start(self, isolation: Isolation, decoys: Decoys) -> None:
        """Start it, cut off. What postgresql.auto.conf of the primary says of addresses and files does not count."""
        place = self.place
        place.write("postgres.log", "", 0o640, user="postgres")
        forced = {
            **CUT_OFF,
            # Libraries may start workers that act by themselves: those alone that somebody looked at.
            "shared_preload_libraries": self.settings.get("shared_preload_libraries", ""),
            "config_file": place.folder / "postgresql.conf",
            "hba_file": place.folder / "pg_hba.conf",
            "ident_file": place.folder / "pg_ident.conf",
            "port": "5432",
            "unix_socket_directories": place.sockets,
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] ",
            "ssl": "off",
            "cluster_name": place.id,
        }
        argv = [f"{self.bin}/postgres", "-D", str(place.data)]
        for name, value in forced.items():
            argv += ["-c", f"{name}={value}"]
        properties = {
            "User": "postgres",
            "NetworkNamespacePath": isolation.path,
            # Unix sockets know no network: /run and /tmp, where servers have theirs, are not the host's.
            "TemporaryFileSystem": "/run:ro",
            "PrivateTmp": "yes",
            "BindPaths": [f"{place.sockets}:{place.sockets}", *decoys.binds],
            "BindReadOnlyPaths": [
                f"{place.folder}/hosts:/etc/hosts",
                f"{place.folder}/resolv.conf:/etc/resolv.conf",
            ],
            # On the database's own host the user postgres could write to what is in service, and to the repository.
            "ProtectSystem": "strict",
            "ReadWritePaths": [str(place.folder)],
            "InaccessiblePaths": ["-/etc/pgbackrest", "-/etc/pgbackrest.conf", f"-{place.config}"],
            "NoNewPrivileges": "yes",
            "StandardOutput": f"append:{place.log}",
            "StandardError": f"append:{place.log}",
            "KillSignal": "SIGINT",
            "TimeoutStopSec": 60,
        }
        try:
            transient(self.unit, argv, properties)
        except ProgramError as error:
            raise BrokenOff(f"the restored PostgreSQL does not start: {error}; {self.last_words()}", "start") from None

    def watch(self, mark: Callable[[str], None], limit_s: float) -> None:
        """Follow the log to the end of recovery and mark `consistency`, `target` and `promote` as they are reached.

        Raises BrokenOff.
        """
        awaited = [("consistency", CONSISTENT), ("target", REPLAYED), ("promote", READY)]
        deadline = time.monotonic() + limit_s
        seen = ""
        with self.place.log.open(errors="replace") as log:
            while awaited:
                more = log.read()
                if not more:
                    self._still_there(seen, deadline, limit_s)
                    time.sleep(_POLL_S)
                    continue
                seen += more
                while awaited and awaited[0][1].search(seen):
                    mark(awaited.pop(0)[0])

    def _still_there(self, seen: str, deadline: float, limit_s: float) -> None:
        if not unit_active(self.place.unit("fetch")):
            raise BrokenOff(f"what fetches WAL ended during recovery: {unit_said(self.place.unit('fetch'))}")
        if not unit_active(self.unit):
            raise BrokenOff(f"the restored PostgreSQL ended during recovery: {self.last_words()}", "start")
        if time.monotonic() > deadline:
            raise BrokenOff(f"recovery took longer than {limit_s:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """Return what its log says of an end, or its last lines."""
        try:
            text = self.place.log.read_text(errors="replace")
        except OSError:
            return "it wrote no log"
        fatal = [match[3] for match in _FATAL.finditer(text)]
        return " ".join((fatal or text.splitlines())[-4:])[-500:]

    def ask(self, sql: str, database: str = "postgres", timeout_s: float = 600) -> str:
        """Return psql's unaligned answer. Raises ProgramError with the server's own words."""
        argv = [
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.place.sockets), "-d", database,
            "-f", "-",
        ]  # fmt: skip
        return run(argv, user="postgres", stdin=sql.encode(), timeout_s=timeout_s).decode("utf-8", "replace").strip()

    def stop(self) -> None:
        """Stop it in order. Raises ProgramError."""
        run(["systemctl", "stop", self.unit], timeout_s=120)

    def databases(self) -> list[str]:
        """Return the names of the databases that can be connected to. Raises ProgramError."""
        return self.ask("SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname").splitlines()

    def installed(self) -> bool:
        """Tell whether this host has the programs of the cluster's version."""
        return shutil.which("postgres", path=self.bin) is not None
