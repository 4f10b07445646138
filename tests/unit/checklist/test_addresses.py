"""Addresses as applications have them: PostgreSQL as libpq reads it, Redis as redis-py does; all else is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checklist_bed import SERVICE, read, situation
from turnout.checklist import addresses, plan
from turnout.checklist.model import Result, Verdict
from turnout.faults import FaultsError
from turnout.service import load

BASE = Path("/inventory")

PG = {"user": "u", "password": "p", "host": "h", "dbname": "d"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h/d", PG),
        ("postgres://u:p@h:6432/d", {**PG, "port": "6432"}),
        ("postgresql+asyncpg://u:p@h/d", PG),
        ("postgresql+psycopg2://u:p@h/d?sslmode=require", {**PG, "sslmode": "require"}),
        ("postgresql+asyncpg://u:p@h/d?ssl=verify-full", {**PG, "sslmode": "verify-full"}),
        ("postgres://u:p@h/d?ssl=true", {**PG, "sslmode": "require"}),
        ("postgres://u:p@h/d?sslmode=no-verify", {**PG, "sslmode": "require"}),
        ('postgres://u:p@h/d?ssl={"rejectUnauthorized":false}', {**PG, "sslmode": "require"}),
        ("jdbc:postgresql://h/d?user=u@srv&password=p", {**PG, "user": "u@srv"}),
        ("postgresql://u:p@h/d?schema=public&connection_limit=5&pgbouncer=true", PG),
        ("postgis://u:p@h/d", PG),
        ("pgsql://u:p@h/d", PG),
        ("pgx5://u:p@h/d", PG),
        ("jdbc:postgresql://h:5432/d?user=u&password=p&ssl=true", {**PG, "port": "5432", "sslmode": "require"}),
        ("pgsql:host=h;port=5432;dbname=d", {"host": "h", "port": "5432", "dbname": "d"}),
        ("postgresql://u:p@h1:5432,h2:5433/d?target_session_attrs=read-write",
         {**PG, "host": "h1,h2", "port": "5432,5433", "target_session_attrs": "read-write"}),
        ("postgresql+psycopg://u:p@/d?host=h1:5432&host=h2", {**PG, "host": "h1,h2", "port": "5432,5432"}),
        ("postgresql:///d", {"dbname": "d"}),
        ("postgresql:///d?host=/run/postgresql", {"dbname": "d", "host": "/run/postgresql"}),
        ("postgresql://u@%2Frun%2Fpostgresql/d", {"user": "u", "host": "/run/postgresql", "dbname": "d"}),
        ("postgresql://", {}),
        ("postgresql://u:p%40ss%2Fw@h/d", {**PG, "password": "p@ss/w"}),
        ("postgresql://u:100%@h/d", {**PG, "password": "100%"}),
        ("postgresql://u:p@[::1]:5432/d", {**PG, "host": "::1", "port": "5432"}),
        ("host=h dbname=d user=u password='p w'", {**PG, "password": "p w"}),
        ("host=h dbname=d user=u password=p binary_parameters=yes pool_max_conns=9", PG),
        ("service=shop", {"service": "shop"}),
        ("postgresql://?service=shop", {"service": "shop"}),
        ("dbname=d", {"dbname": "d"}),
    ],
)  # fmt: skip
def test_what_is_postgresql_is_read_as_libpq_does(text: str, expected: dict[str, str]) -> None:
    assert addresses.postgres(text) == expected


NO_POSTGRES = [
    *("mysql://u:p@h/d", "mysql+pymysql://u:p@h/d", "sqlite:///db.sqlite3", "sqlite:", "sqlite3:db", ":memory:", ""),
    *("mongodb+srv://h/d", "mssql+pyodbc://u:p@h/d", "oracle://h", "jdbc:mysql://h/d", "mysql:host=h;dbname=d"),
    *("/srv/db.sqlite3", "Server=h;Database=d;User Id=u", "file:db?mode=ro", "h:5432", "clickhouse://h"),
]


@pytest.mark.parametrize("text", NO_POSTGRES)
def test_what_is_no_postgresql_is_none(text: str) -> None:
    assert addresses.postgres(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("postgresql://u:hunter@2@h/d", "postgresql://u:hunter/2@h/d", "postgresql://u:hunter2@[::1/d", "host='x"),
        *("postgresql://u:2?hunter@h/d", "postgresql://u:2?hunter@h/d?sslmode=require"),
    ],
)
def test_an_address_whose_parts_cannot_be_told_apart_is_not_shown(text: str) -> None:
    with pytest.raises(addresses.UnreadableError) as caught:
        addresses.postgres(text)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:p@h:6379/1", "redis://:p@h:6379/1"),
        ("redis://h", "redis://h"),
        ("redis://", "redis://"),
        ("redis://u:p@h:6380/0?db=2&socket_timeout=5", "redis://u:p@h:6380/0?db=2"),
        ("rediss://u:p@h:6380/0?ssl_cert_reqs=none", "rediss://u:p@h:6380/0?ssl_cert_reqs=none"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix:///run/redis/redis.sock?db=3", "unix:///run/redis/redis.sock?db=3"),
        ("unix://u:p@/run/redis.sock", "unix://u:p@/run/redis.sock"),
        ("redis+socket:///run/redis.sock?virtual_host=1", "unix:///run/redis.sock?db=1"),
        ("/run/redis/redis.sock", "unix:///run/redis/redis.sock"),
        ("h:6379", "redis://h:6379"),
        ("10.0.0.1:6379/2", "redis://10.0.0.1:6379/2"),
        ("[::1]:6379", "redis://[::1]:6379"),
        (":6379", "redis://localhost:6379"),
        ("valkey://h:6379/0", "redis://h:6379/0"),
        ("valkeys://h", "rediss://h"),
        ("sentinel://:p@h1:26379;sentinel://h2:26379", "redis+sentinel://:p@h1:26379,h2:26379/"),
        ("redis-sentinel://u:p@h1,h2:5000/mymaster/2", "redis+sentinel://u:p@h1:26379,h2:5000/mymaster?db=2"),
        ("redis+sentinel://h1:26379/0?sentinel_service=main", "redis+sentinel://h1:26379/main?db=0"),
        ("rediss+sentinel://h1/main", "rediss+sentinel://h1:26379/main"),
    ],
)
def test_what_is_redis_is_read_as_redis_py_does(text: str, expected: str) -> None:
    assert addresses.redis(text) == expected
    assert addresses.redis(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "memory://",
            "amqp://u:p@h",
            "kafka:9092x",
            "memcached://h:11211",
            "sqs://",
            "dummy",
            "redis",
            "http://h:1",
        ),
        *("redis://h1:6379,h2:6379/0", "redis+cluster://h", "h:6379,password=p,ssl=True", "a b:1", "x-hunter:2@h:6379"),
        *("redis://:hunter#2@h:6379", "redis://:hunter/2@h:6379", "redis://:2/hunter@h:6379", "redis://:hunter?2@h"),
        *("redis://h:99999", "redis://[::1:6379", "rediss://u:2#hunter@h:6380/0", "redis://u:2?hunter@h"),
        *("redis+sentinel://:hunter#2@h1/main", "unix://u:hunter/2@/run/r.sock"),
    ],
)
def test_what_is_no_redis_is_none(text: str) -> None:
    assert addresses.redis(text) is None


def with_environment(**environment: str) -> dict[str, Any]:
    return {**SERVICE, "environment": environment}


def rows(checklist: dict[str, Any] | None, **environment: str) -> dict[str, list[Result]]:
    """Return the rows of PostgreSQL and Redis, where no host gave an answer."""
    service = with_environment(**environment)
    found = situation({}, service=load(service, base_dir=BASE))
    result: dict[str, list[Result]] = {}
    for row in plan.judge(read(checklist, service), found, []).results:
        result.setdefault(row.check, []).append(row)
    return result


@pytest.mark.parametrize("text", [*NO_POSTGRES, "postgresql://u:hunter@2@h/d"])
def test_what_cannot_be_looked_at_is_not_configured_and_stops_nothing(text: str) -> None:
    (row,) = rows(None, DATABASE_URL=text)["postgres"]
    assert row.verdict is Verdict.NOT_CONFIGURED
    assert not row.obstacle
    assert "DATABASE_URL" in row.evidence
    assert "hunter" not in row.evidence + row.remedy


def test_a_broker_that_is_no_redis_stops_nothing() -> None:
    found = rows({"redis": {"url_from": "BROKER_URL"}}, BROKER_URL="amqp://u:hunter2@h")
    assert {found[name][0].verdict for name in ("redis", "redis-memory", "redis-persistence")} == {
        Verdict.NOT_CONFIGURED
    }
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("name", ["postgres", "redis", "redis-memory", "redis-persistence", "environment"])
def test_a_check_is_switched_off_by_its_name(name: str) -> None:
    environment = SERVICE["environment"]
    assert rows(None, **environment)[name][0].verdict is not Verdict.NOT_CONFIGURED
    (row,) = rows({"skip": [name]}, **environment)[name]
    assert (row.verdict, row.evidence) == (Verdict.NOT_CONFIGURED, "switched off: checklist.skip")


def test_nobody_is_asked_what_is_switched_off() -> None:
    skip = {"skip": ["postgres", "redis", "redis-memory", "redis-persistence"]}
    asked = plan.probes(read(skip), situation(), "ab" * 32)
    assert not {"postgres", "redis"} & {probe.kind for probes in asked.values() for probe in probes}


def test_parts_in_variables_of_their_own_are_put_together() -> None:
    environment = {"DB_HOST": "h", "DB_PORT": "5433", "DB_NAME": "d", "DB_USER": "u", "DB_PASSWORD": "p@/:", "DB_X": ""}
    named = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "DB_USER", "password": "DB_PASSWORD"}
    config = read({"postgres": {"variables": {**named, "sslmode": "DB_X"}}}, with_environment(**environment))
    assert config.postgres.target == {"host": "h", "port": "5433", "dbname": "d", "user": "u", "password": "p@/:"}
    assert "p@/:" not in repr(config)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"host": "H", "port": "P", "password": "W", "db": "N"}, "redis://:p%40%2F@h:6380?db=2"),
        ({"host": "H", "username": "U", "password": "W", "tls": "T"}, "rediss://u:p%40%2F@h:6379"),
        ({"path": "S", "password": "W"}, "unix://:p%40%2F@/run/redis.sock"),
        ({"host": "SIX"}, "redis://[::1]:6379"),
    ],
)
def test_so_are_those_of_redis(variables: dict[str, str], expected: str) -> None:
    environment = {
        "H": "h",
        "P": "6380",
        "W": "p@/",
        "N": "2",
        "U": "u",
        "T": "True",
        "S": "/run/redis.sock",
        "SIX": "::1",
    }
    assert read({"redis": {"variables": variables}}, with_environment(**environment)).redis.url == expected


def test_a_variable_that_is_not_there_is_told_by_its_place() -> None:
    with pytest.raises(FaultsError) as caught:
        read({"postgres": {"variables": {"host": "DB_HOTS"}}}, with_environment(DB_HOST="h"))
    assert [fault.path for fault in caught.value.faults] == ["checklist.postgres.variables.host"]


def test_libpq_s_own_variables_are_an_address_too() -> None:
    service = with_environment(PGHOST="h", PGDATABASE="d", PGUSER="u", PGPASSWORD="hunter2", OTHER="x")
    config = read(None, service)
    found = situation({}, service=load(service, base_dir=BASE))
    asked = plan.probes(config, found, "ab" * 32)
    (login,) = (probe for probe in asked["app1"] if probe.kind == "postgres")
    assert login.arguments["address"] == {}
    assert login.arguments["environment"] == {"PGHOST": "h", "PGDATABASE": "d", "PGUSER": "u", "PGPASSWORD": "hunter2"}
    (server,) = (probe for probe in asked["db1"] if probe.kind == "postgres_server")
    assert (server.arguments["database"], server.arguments["role"]) == ("d", "u")


def test_redis_is_looked_at_by_the_user_for_that_in_every_form() -> None:
    login = {"user": "look", "password": "w@"}
    for given, expected in (
        ("h:6379", "redis://look:w%40@h:6379"),
        ("unix://u:p@/run/r.sock?db=1", "unix://look:w%40@/run/r.sock?db=1"),
        ("sentinel://:p@h1;sentinel://h2", "redis+sentinel://look:w%40@h1:26379,h2:26379/main"),
    ):
        config = read({"redis": {**login, "master": "main"}}, with_environment(REDIS_URL=given))
        assert config.redis.look_url == expected
