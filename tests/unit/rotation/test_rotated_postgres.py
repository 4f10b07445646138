"""Rotations at a real PostgreSQL: who comes by what is in service is let in, and the old login is not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql
from ansible_collections.turnout.ops.plugins.module_utils.rotated_postgres import close_login, look, open_login
from rotation_servers import Clients, Credential, postgres

PAIR = ["shop_a", "shop_b"]
PREPARED = """
CREATE ROLE shop NOLOGIN;
CREATE TABLE t (n int);
GRANT SELECT, INSERT ON t TO shop;
CREATE ROLE shop_a LOGIN IN ROLE shop;
CREATE ROLE shop_b LOGIN IN ROLE shop;
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Path, int]]:
    with postgres() as made:
        yield made


@pytest.fixture
def server(cluster: tuple[Path, int]) -> Iterator[tuple[Psql, int]]:
    psql = Psql(str(cluster[0]))
    psql.run(PREPARED)
    yield psql, cluster[1]
    psql.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'shop%';"
        "DROP TABLE IF EXISTS t, mine; DROP ROLE IF EXISTS shop_a, shop_b, shop, admins;"
    )


def connect(port: int, user: str, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user=user, password=password, dbname="postgres", autocommit=True
    )


def file(user: str, password: str, following: tuple[str, str] | None = None) -> dict[str, Any]:
    more = {"next": {"user": following[0], "password": following[1]}} if following else {}
    return {"current": {"user": user, "password": password}, **more}


def test_twenty_rotations_refuse_nobody_who_comes_by_what_is_in_service(
    server: tuple[Psql, int], cluster: tuple[Path, int]
) -> None:
    psql, port = server
    open_login(psql, "shop_a", "password-0")
    serving = [("shop_a", "password-0")]

    def once(login: Credential) -> None:
        with connect(port, *login) as connection:
            connection.execute("INSERT INTO t VALUES (1)")

    with Clients(serving, once, rate=60) as clients:
        for number in range(1, 21):
            old, new = serving[0], (PAIR[number % 2], f"password-{number}")
            assert look(psql, PAIR, file(*old, new))["logins"][new[0]]["takes_next"] is False
            open_login(psql, *new)
            seen = look(psql, PAIR, file(*old, new))
            assert seen["logins"][new[0]]["takes_next"]
            assert seen["logins"][old[0]]["takes"]
            assert seen["faults"] == []
            serving[0] = new
            assert close_login(psql, old[0], 10, end_sessions=False) == []
            seen = look(psql, PAIR, file(*new))
            assert [seen["logins"][name]["opened"] for name in (old[0], new[0])] == [False, True]
            with pytest.raises(psycopg.OperationalError, match=r"not permitted to log in|authentication failed"):
                connect(port, *old)
    assert clients.failed == []
    assert clients.done > 100
    log = (cluster[0].parent / "log").read_text()
    assert "password-" not in log
    assert "SCRAM-SHA-256" not in log


def test_a_login_with_sessions_is_not_closed_and_its_sessions_are_told(server: tuple[Psql, int]) -> None:
    psql, port = server
    open_login(psql, "shop_a", "password-1")
    with connect(port, "shop_a", "password-1") as connection:
        connection.execute("SET application_name = 'shop-api'")
        (told,) = close_login(psql, "shop_a", 0.3, end_sessions=False)
        assert told.startswith("pid ")
        assert ", shop-api from 127.0.0.1, idle since 20" in told
        assert look(psql, PAIR, file("shop_a", "password-1"))["logins"]["shop_a"]["opened"]
        threading.Timer(0.5, connection.close).start()
        assert close_login(psql, "shop_a", 10, end_sessions=False) == [], "it ended within the drain"


def test_sessions_are_ended_on_a_persons_word(server: tuple[Psql, int]) -> None:
    psql, port = server
    open_login(psql, "shop_a", "password-1")
    connection = connect(port, "shop_a", "password-1")
    began = time.monotonic()
    assert close_login(psql, "shop_a", 0.5, end_sessions=True) == []
    assert 0.4 < time.monotonic() - began < 5
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    assert look(psql, PAIR, file("shop_a", "password-1"))["logins"]["shop_a"]["sessions"] == []


@pytest.mark.parametrize(
    ("sql", "observed", "remedy"),
    [
        ("DROP ROLE shop_b", "there is no role shop_b", 'CREATE ROLE "shop_b" LOGIN IN ROLE "shop";'),
        ("REVOKE shop FROM shop_b", "shop_a is a member of shop, and shop_b is not", 'GRANT "shop" TO "shop_b";'),
        (
            "ALTER ROLE shop_a SET statement_timeout = '5s'",
            "shop_a begins its sessions with statement_timeout=5s, and shop_b does not",
            "ALTER ROLE \"shop_b\" SET statement_timeout = '5s';",
        ),
        ("CREATE TABLE mine (); ALTER TABLE mine OWNER TO shop_a", "shop_a owns objects in postgres", "REASSIGN OWNED"),
        ("GRANT DELETE ON t TO shop_b", "shop_b itself has rights on objects in postgres", "DROP OWNED BY"),
        ("ALTER ROLE shop_b SUPERUSER", "shop_a is INHERIT, shop_b SUPER INHERIT", "ALTER ROLE"),
        ("ALTER ROLE shop_b VALID UNTIL '2020-01-01'", "shop_b has expired (VALID UNTIL)", "VALID UNTIL 'infinity'"),
    ],
)
def test_two_roles_that_are_not_alike_are_told_with_the_sql_that_mends_it(
    server: tuple[Psql, int], sql: str, observed: str, remedy: str
) -> None:
    psql, _ = server
    open_login(psql, "shop_a", "password-1")
    assert look(psql, PAIR, file("shop_a", "password-1"))["faults"] == []
    psql.run(sql)
    told = look(psql, PAIR, file("shop_a", "password-1"))["faults"]
    assert [one["observed"] for one in told] == [observed]
    assert remedy in told[0]["remedy"]
    if remedy.startswith(("CREATE", "GRANT", 'ALTER ROLE "shop_b" SET')):
        psql.run(told[0]["remedy"])
        assert look(psql, PAIR, file("shop_a", "password-1"))["faults"] == [], "the SQL mends it"


def test_a_login_of_before_the_pair_becomes_its_group(server: tuple[Psql, int]) -> None:
    psql, _ = server
    psql.run("ALTER ROLE shop LOGIN")
    open_login(psql, "shop", "password-0")
    seen = look(psql, PAIR, file("shop", "password-0"))
    assert seen["faults"] == []
    assert seen["logins"]["shop"]["takes"]
    with contextlib.suppress(Exception):
        psql.run("REVOKE shop FROM shop_b")
    observed = [one["observed"] for one in look(psql, PAIR, file("shop", "password-0"))["faults"]]
    assert "shop_b is no member of shop, which is in service" in observed


def test_members_of_the_applications_role_are_let_in_as_the_role_writes_pg_hba(
    server: tuple[Psql, int], cluster: tuple[Path, int]
) -> None:
    """`+"shop"` in pg_hba.conf means the role and its members, and nobody else."""
    psql, port = server
    psql.run("ALTER ROLE shop LOGIN; CREATE ROLE admins LOGIN;")
    for name in ("shop", "shop_a", "admins"):
        open_login(psql, name, "password-1")
    hba = cluster[0] / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text('local all all peer\nhost "postgres" +"shop" 127.0.0.1/32 scram-sha-256\n')
    try:
        psql.run("SELECT pg_reload_conf();")
        time.sleep(0.5)
        for name in ("shop", "shop_a"):
            connect(port, name, "password-1").close()
        with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
            connect(port, "admins", "password-1")
    finally:
        hba.write_text(before)
        psql.run("SELECT pg_reload_conf();")
