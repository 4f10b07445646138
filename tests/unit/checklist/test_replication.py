"""Who is connected to a real PostgreSQL by its replication protocol: standbys, backups, pg_receivewal, subscribers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils.probes import postgres_server

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), Path("/none")).parent


class Cluster:
    """Servers that listen on a socket in one folder, and the programs that are connected to them."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self, program: str, *words: object) -> None:
        done = subprocess.run(self._words(program, *words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self, program: str, *words: object) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        self.running.append(subprocess.Popen(self._words(program, *words), stdout=log, stderr=log))
        return self.running[-1]

    def sql(self, statement: str, *, database: str = "postgres", port: int | None = None) -> None:
        at = ["-h", self.folder, "-p", port or self.port]
        self.run("psql", "-X", "-v", "ON_ERROR_STOP=1", *at, "-d", database, "-c", statement)

    def replicas(self, until: Callable[[list[Any]], bool]) -> list[Any]:
        """Return what the probe sees, once it holds; a failure shows what it sees."""
        for _ in range(150):
            found = postgres_server({"data_directory": str(self.folder / "primary"), "database": "postgres"}, 5)[
                "replicas"
            ]
            if until(found):
                return list(found)
            time.sleep(0.1)
        raise AssertionError(found)

    def _words(self, program: str, *words: object) -> list[str]:
        command = [str(BIN / program), *map(str, words)]
        return (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
            if os.getuid() == 0
            else command
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    assert BIN.exists(), "there is no PostgreSQL; expected: Debian's; to mend: apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="turnout-replication-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    made = Cluster(folder, 54000 + os.getpid() % 9000)
    # The probe asks by Debian's folder of sockets, as on a host.
    sockets = Path("/var/run/postgresql")
    if not sockets.exists():
        sockets.mkdir()
        shutil.chown(sockets, "postgres")
    listen = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets},{folder}", "-c", "fsync=off"]
    try:
        made.run("initdb", "-D", folder / "primary", "-A", "trust", "--no-sync", "-U", "postgres")
        made.start("postgres", "-D", folder / "primary", "-p", made.port, *listen, "-c", "wal_level=logical")
        for _ in range(100):
            if (
                subprocess.run([BIN / "pg_isready", "-q", "-h", folder, "-p", str(made.port)], check=False).returncode
                == 0
            ):
                break
            time.sleep(0.1)
        yield made
    finally:
        for one in reversed(made.running):
            one.send_signal(signal.SIGINT)
        for one in made.running:
            one.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def kinds(found: list[Any]) -> list[str]:
    return sorted(one["kind"] for one in found)


def test_only_a_standby_is_a_standby(cluster: Cluster) -> None:
    at = ["-h", cluster.folder, "-p", cluster.port, "-U", "postgres"]
    # A base backup has two connections: its own, and one that streams.
    cluster.start("pg_basebackup", *at, "-D", cluster.folder / "slow", "-c", "fast", "--max-rate=100", "--no-sync")
    cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "base backup"])
    (cluster.folder / "wal").mkdir()
    shutil.chown(cluster.folder / "wal", pwd.getpwuid(cluster.folder.stat().st_uid).pw_name)
    cluster.start("pg_receivewal", *at, "-D", cluster.folder / "wal", "--no-sync")
    cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "WAL receiver", "base backup"])
    cluster.sql("CREATE TABLE t (n int); CREATE PUBLICATION p FOR TABLE t")
    cluster.sql("CREATE DATABASE other")
    cluster.sql("CREATE TABLE t (n int)", database="other")
    cluster.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    where = f"host={cluster.folder} port={cluster.port} user=postgres dbname=postgres"
    cluster.sql(
        f"CREATE SUBSCRIPTION s CONNECTION '{where}' PUBLICATION p WITH (create_slot=false, copy_data=false)",
        database="other",
    )
    cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "WAL receiver", "base backup", "subscriber"])
    cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'pg_basebackup'")
    cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "subscriber"])

    standby = cluster.folder / "standby"
    cluster.run("pg_basebackup", *at, "-D", standby, "-c", "fast", "--no-sync", "-R", "-d", "application_name=db2")
    listen = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={cluster.folder}", "-c", "fsync=off"]
    server = cluster.start("postgres", "-D", standby, "-p", cluster.port + 1, *listen, "-c", "hot_standby=on")
    found = cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "standby", "subscriber"])
    (replica,) = [one for one in found if one["kind"] == "standby"]
    assert replica["name"] == "db2"
    assert int(replica["lag_bytes"]) < 20_000_000

    cluster.sql("SELECT pg_wal_replay_pause()", port=cluster.port + 1)
    cluster.sql("CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)")
    behind = cluster.replicas(
        lambda found: any(one["kind"] == "standby" and int(one["lag_bytes"]) > 25_000_000 for one in found)
    )
    assert kinds(behind) == ["WAL receiver", "standby", "subscriber"]
    server.send_signal(signal.SIGINT)
    cluster.replicas(lambda found: kinds(found) == ["WAL receiver", "subscriber"])
