from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

ROLES = ["app", "migrate", "backup", "readonly"]


def connect(lab, use: str, **changes) -> psycopg.Connection:
    wanted = {
        "host": lab.one("postgres"),
        "user": f"{lab.database}_{use}",
        "password": lab.postgres_passwords[use],
        "dbname": lab.database,
        "connect_timeout": 5,
    }
    return psycopg.connect(**wanted | changes, autocommit=True)


@contextmanager
def refused(privilege: str) -> Iterator[None]:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=privilege):
        yield


@pytest.fixture
def shop(lab) -> Iterator[None]:
    """Tables in public and in a schema of its own, made the way a migration makes them."""
    with connect(lab, "migrate") as migrate:
        migrate.execute("DROP SCHEMA IF EXISTS verify_more CASCADE; DROP TABLE IF EXISTS verify_items")
        migrate.execute("CREATE TABLE verify_items (id serial PRIMARY KEY, name text)")
        migrate.execute("CREATE SCHEMA verify_more; CREATE TABLE verify_more.notes (id int, text text)")
        yield
        migrate.execute("DROP SCHEMA verify_more CASCADE; DROP TABLE verify_items")


@pytest.mark.parametrize("use", ROLES)
def test_each_role_logs_in_with_its_password(lab, use) -> None:
    with connect(lab, use) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (f"{lab.database}_{use}",)


@pytest.mark.parametrize("use", ROLES)
def test_no_role_logs_in_with_a_wrong_password(lab, use) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(lab, use, password=secrets.token_hex(24))


@pytest.mark.parametrize("use", ROLES)
def test_no_role_may_enter_another_database(lab, use) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        connect(lab, use, dbname="postgres")


def test_the_superuser_may_not_come_over_the_network(lab) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        connect(lab, "app", user="postgres")


def test_a_host_that_needs_no_database_is_refused(lab) -> None:
    """By the firewall, and by pg_hba.conf where that does not stand before it: seen from the database's own host.

    Spoken by hand, since an edge need not have psql: SSLRequest, StartupMessage for protocol 3.0, then the type of the
    answer.
    """
    script = f"""python3 - <<'EOF_PY'
import socket, ssl, struct
body = struct.pack("!i", 196608) + b"user\\0{lab.database}_app\\0database\\0{lab.database}\\0\\0"
anybody = ssl.create_default_context()
anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
with socket.create_connection(("{lab.one("postgres")}", 5432), timeout=5) as plain:
    plain.sendall(struct.pack("!ii", 8, 80877103))
    assert plain.recv(1) == b"S"
    with anybody.wrap_socket(plain) as connection:
        connection.sendall(struct.pack("!i", len(body) + 4) + body)
        print(connection.recv(4096))
EOF_PY"""
    for host in lab.groups["edge"]:
        assert "ConnectionRefusedError" in lab.ssh(host, f"{{ {script}\n}} 2>&1 || true").stdout
    for host in lab.groups["postgres"]:
        answer = lab.ssh(host, script).stdout
        assert answer.startswith("b'E"), answer
        assert "no pg_hba.conf entry" in answer
        assert "no encryption" not in answer


@pytest.mark.usefixtures("shop")
def test_the_application_reads_and_writes_what_migrations_made(lab) -> None:
    with connect(lab, "app") as app:
        app.execute("INSERT INTO verify_items (name) VALUES ('one')")
        app.execute("INSERT INTO verify_more.notes (text) VALUES ('one')")
        assert app.execute("UPDATE verify_items SET name = 'two' RETURNING id").fetchone() == (1,)
        assert app.execute("SELECT name FROM verify_items").fetchall() == [("two",)]
        assert app.execute("DELETE FROM verify_items").rowcount == 1
        app.execute("CREATE TEMPORARY TABLE mine (x int)")


@pytest.mark.usefixtures("shop")
def test_the_application_can_define_nothing(lab) -> None:
    with connect(lab, "app") as app:
        with refused("schema public"):
            app.execute("CREATE TABLE sneaked (id int)")
        with refused("database"):
            app.execute("CREATE SCHEMA sneaked")
        with refused("must be owner"):
            app.execute("ALTER TABLE verify_items ADD COLUMN sneaked int")
        with refused("must be owner"):
            app.execute("DROP TABLE verify_items")
        with refused("verify_items"):
            app.execute("TRUNCATE verify_items")
        with refused("permission denied"):
            app.execute("CREATE ROLE sneaked")
        with refused("permission denied|must be superuser|must be member"):
            app.execute("COPY verify_items TO PROGRAM 'id'")


@pytest.mark.usefixtures("shop")
def test_readonly_reads_everything_and_writes_nothing(lab) -> None:
    with connect(lab, "readonly") as readonly:
        assert readonly.execute("SELECT count(*) FROM verify_items").fetchone() == (0,)
        assert readonly.execute("SELECT count(*) FROM verify_more.notes").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            readonly.execute("INSERT INTO verify_items (name) VALUES ('x')")
        # The setting is a help against mistakes; the privileges are what holds.
        readonly.execute("SET default_transaction_read_only = off")
        with refused("verify_items"):
            readonly.execute("INSERT INTO verify_items (name) VALUES ('x')")
        with refused("verify_items"):
            readonly.execute("DELETE FROM verify_items")
        with refused("schema public"):
            readonly.execute("CREATE TABLE sneaked (id int)")
        with refused("temporary"):
            readonly.execute("CREATE TEMPORARY TABLE mine (x int)")


@pytest.mark.usefixtures("shop")
def test_a_right_that_a_migration_withdrew_stays_withdrawn(lab, run_site) -> None:
    with connect(lab, "migrate") as migrate:
        migrate.execute(f"REVOKE UPDATE, DELETE ON verify_items FROM {lab.database}_app")
    run_site("postgres")
    with connect(lab, "app") as app:
        app.execute("INSERT INTO verify_items (name) VALUES ('kept')")
        with refused("verify_items"):
            app.execute("DELETE FROM verify_items")


@pytest.mark.usefixtures("shop")
def test_backup_may_replicate_and_the_application_may_not(lab) -> None:
    with connect(lab, "backup", replication="true") as backup:
        answer = backup.pgconn.exec_(b"IDENTIFY_SYSTEM")
        assert answer.ntuples == 1, backup.pgconn.error_message
    with connect(lab, "backup") as backup:
        assert backup.execute("SELECT count(*) FROM verify_items").fetchone() == (0,)
        with refused("verify_items"):
            backup.execute("DELETE FROM verify_items")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry for replication"):
        connect(lab, "app", replication="true")


def test_migrations_do_not_wait_for_ever(lab) -> None:
    with connect(lab, "migrate") as migrate:
        assert migrate.execute("SHOW lock_timeout").fetchone() == ("5s",)
        assert migrate.execute("SHOW statement_timeout").fetchone() == ("5min",)


def test_the_server_is_set_up_for_backups_and_bad_disks(lab) -> None:
    with connect(lab, "readonly") as readonly:
        shown = {
            name: readonly.execute(f"SHOW {name}").fetchone()[0]
            for name in ("wal_level", "data_checksums", "password_encryption", "server_encoding", "ssl")
        }
    assert shown == {
        "wal_level": "replica",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "ssl": "on",
    }


def test_no_password_is_kept_in_the_clear_or_logged(lab) -> None:
    (host,) = lab.groups["postgres"]
    kept = lab.ssh(host, "su postgres -c \"psql -Atc 'SELECT rolname, rolpassword FROM pg_authid'\"").stdout
    for use in ROLES:
        assert f"{lab.database}_{use}|SCRAM-SHA-256$" in kept
    logged = lab.ssh(host, "cat /var/log/postgresql/*.log; journalctl --no-pager -o cat").stdout
    assert len(logged) > 1000, "no log was looked at"
    for secret in lab.secrets:
        assert secret not in kept
        assert secret not in logged
    assert "SCRAM-SHA-256$" not in logged
