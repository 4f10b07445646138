"""Logins by libpq at a real PostgreSQL: sockets, several hosts, conninfo, service files, system users."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import migration_watch, pg_session
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.pg_session import Session
from ansible_collections.turnout.ops.plugins.module_utils.probes import postgres as login
from ports import free_port
from turnout.checklist import addresses

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = pytest.mark.skipif(not BINARIES or os.geteuid() != 0, reason="needs PostgreSQL's server, and root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Path, int]]:
    """A server whose socket lets in who has the role's name, and whose port asks for a password."""
    account = pwd.getpwnam("postgres")
    run = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}
    with tempfile.TemporaryDirectory(prefix="turnout-pg-") as name:
        home = Path(name)
        os.chown(home, account.pw_uid, account.pw_gid)
        home.chmod(0o755)
        port = free_port()
        password = home / "password"
        password.write_text("p@ss/word")
        password.chmod(0o644)
        words = [
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            f"--pwfile={password}",
            "--no-sync",
            "-U",
            "postgres",
        ]
        data = str(home / "data")
        subprocess.run([str(BINARIES[-1]), *words, "-D", data], check=True, capture_output=True, **run)  # type: ignore[call-overload]
        settings = ["-k", str(home), "-h", "127.0.0.1", "-F"]
        server = subprocess.Popen(  # type: ignore[call-overload]
            [str(BINARIES[-1].with_name("postgres")), "-D", data, "-p", str(port), *settings],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **run,
        )  # fmt: skip
        try:
            for _ in range(100):
                if (home / f".s.PGSQL.{port}").exists():
                    break
                time.sleep(0.1)
            time.sleep(0.3)
            yield home, port
        finally:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected
            server.wait(10)


def target(text: str) -> dict[str, str]:
    found = addresses.postgres(text)
    assert found is not None
    return found


def test_every_form_of_the_same_address_logs_in(cluster: tuple[Path, int]) -> None:
    home, port = cluster
    service = home / "pg_service.conf"
    service.write_text(f"[shop]\nhost=127.0.0.1\nport={port}\ndbname=postgres\nuser=postgres\npassword=p@ss/word\n")
    secret = "p%40ss%2Fword"
    for text, environment in (
        (f"postgresql://postgres:{secret}@127.0.0.1:{port}/postgres", {}),
        (f"postgresql+asyncpg://postgres:{secret}@127.0.0.1:{port}/postgres?ssl=prefer", {}),
        (f"postgres://postgres:{secret}@127.0.0.1:{port}/postgres?schema=public&pgbouncer=true", {}),
        (f"jdbc:postgresql://127.0.0.1:{port}/postgres?user=postgres&password={secret}", {}),
        (f"postgresql://postgres:{secret}@127.0.0.1:1,127.0.0.1:{port}/postgres", {}),
        (f"host=127.0.0.1 port={port} user=postgres dbname=postgres password='p@ss/word' binary_parameters=yes", {}),
        ("service=shop", {"PGSERVICEFILE": str(service)}),
        (
            f"postgresql:///postgres?port={port}",
            {"PGHOST": "127.0.0.1", "PGUSER": "postgres", "PGPASSWORD": "p@ss/word"},
        ),
    ):
        said = login({"address": target(text), "environment": environment}, 60)
        assert (said["role"], said["database"], said["encrypted"]) == ("postgres", "postgres", False), text


def test_what_a_migration_waits_for_is_seen_without_its_statement(
    cluster: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_watch, "LOOK_S", 60)
    url = f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{cluster[1]}/postgres"
    asks = migration_watch.asks({"DATABASE_URL": url}, "")
    holder = Session(url, 120)
    holder.query("SET application_name = 'shop-api'; CREATE TABLE t (x int)")
    assert migration_watch.statement(asks, 1) == ""
    holder.query("BEGIN; LOCK TABLE t")
    tool = subprocess.Popen(["psql", url, "-X", "-q", "-c", "ALTER TABLE t ADD y text; SELECT pg_sleep(60), 's3cr3t'"])
    try:
        said = ""
        for _ in range(100):
            if said := migration_watch.statement(asks, 60):
                break
            time.sleep(0.1)
        waits = "waits for Lock relation, held by \\d+ shop-api idle in transaction"
        assert re.fullmatch(rf"PostgreSQL is at one statement for \d+ s, {waits}", said)
        holder.query("COMMIT")
        time.sleep(1)
        said = migration_watch.statement(asks, 60)
        assert re.fullmatch(r"PostgreSQL is at one statement for \d+ s, waits for Timeout PgSleep", said)
        # What began long before the migrations is not theirs.
        time.sleep(1)
        assert migration_watch.statement(asks, -5) == ""
    finally:
        tool.kill()
        tool.wait(10)
        holder.close()
    assert migration_watch.statement(migration_watch.asks({"PGHOST": "127.0.0.1", "PGPORT": "1"}, ""), 1) == ""
    assert migration_watch.statement(migration_watch.asks({"A": "b"}, ""), 1) == ""


def test_a_socket_asks_for_the_name_of_the_system_user(cluster: tuple[Path, int]) -> None:
    home, port = cluster
    owner = Session(f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres", 60)
    owner.query("CREATE ROLE root LOGIN")
    owner.close()
    address = target(f"postgresql:///postgres?host={home}&port={port}")
    assert login({"address": address}, 60)["role"] == "root"
    with pytest.raises(ProbeError) as caught:
        login({"address": {**address, "user": "postgres"}}, 60)
    assert caught.value.kind == "credentials"


def test_it_is_the_service_s_user_who_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as program:
        program.write('#!/bin/sh\necho "{\\"error\\": \\"uid $(id -u), $HOME, $PGSERVICE, $SECRET\\"}"\n')
    Path(program.name).chmod(0o755)
    monkeypatch.setattr(pg_session, "_PYTHONS", (program.name,))
    monkeypatch.setenv("SECRET", "of root")
    asked = {"address": {}, "user": "nobody", "home": "/var/lib/shop", "environment": {"PGSERVICE": "shop"}}
    with pytest.raises(ProbeError) as caught:
        login(asked, 60)
    Path(program.name).unlink()
    assert str(caught.value) == f"uid {pwd.getpwnam('nobody').pw_uid}, /var/lib/shop, shop,"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"password": "hunter2"}, "credentials"),
        ({"dbname": "nowhere"}, "credentials"),
        ({"port": "1"}, "refused"),
        ({"host": "/nowhere"}, "refused"),
        ({"sslmode": "require"}, "error"),
        ({"host": "no-such-host.invalid"}, "unreachable"),
    ],
)
def test_what_is_refused_is_told_apart(cluster: tuple[Path, int], change: dict[str, str], kind: str) -> None:
    _, port = cluster
    good = target(f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres")
    with pytest.raises(ProbeError) as caught:
        login({"address": {**good, **change}}, 60)
    assert caught.value.kind == kind
    assert "hunter2" not in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_several_statements_and_errors_in_one_session(cluster: tuple[Path, int]) -> None:
    _, port = cluster
    session = Session(f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres", 60)
    assert session.query("SELECT 1, NULL, true; SELECT 'x'") == [["1", None, "t"], ["x"]]
    assert session.query("CREATE TEMP TABLE one (a int)") == []
    with pytest.raises(ProbeError) as caught:
        session.query("SELECT * FROM nothing")
    assert str(caught.value) == 'relation "nothing" does not exist (42P01)'
    assert session.query("SELECT 2") == [["2"]]
    session.close()


def test_an_option_that_this_libpq_does_not_know_is_left_out(cluster: tuple[Path, int]) -> None:
    _, port = cluster
    good = target(f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres")
    assert login({"address": {**good, "of_the_future": "1"}}, 60)["role"] == "postgres"


def test_the_time_limit_holds_for_queries_too(cluster: tuple[Path, int]) -> None:
    _, port = cluster
    session = Session(f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres", 12)
    with pytest.raises(TimeoutError):
        session.query("SELECT pg_sleep(120)")
