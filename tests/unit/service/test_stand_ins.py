"""Which addresses of a service lead to stand-ins: each form that a driver reads, and nothing that is none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from turnout.service.stand_ins import databases, redis_addresses, root_certificates


def target(**changes: Any) -> dict[str, Any]:
    return {"user": "shop", "password": "p@ss", "dbname": "db", "hosts": ["h"], "port": 5432, **changes}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"A": "postgresql://shop:p%40ss@h/db"}, target()),
        ({"A": "postgres://shop:p%40ss@h:6543/db?sslmode=verify-full&sslrootcert=/x"}, target(port=6543)),
        ({"A": "postgresql+asyncpg://shop:p%40ss@h/db?ssl=require&prepared_statement_cache_size=0"}, target()),
        ({"A": "postgresql://shop:p%40ss@h/db?schema=public&connection_limit=5"}, target()),
        ({"A": "postgresql://shop:p%40ss@h1:5433,h2:5434/db"}, target(hosts=["h1", "h2"], port=5433)),
        ({"A": "postgresql://shop:p%40ss@[fd00::1]:5433/db"}, target(hosts=["fd00::1"], port=5433)),
        ({"A": "postgresql:///db?host=/run/postgresql&user=shop&password=p%40ss"}, target(hosts=["/run/postgresql"])),
        ({"A": "postgresql:///db"}, target(user="me", password="", hosts=[])),
        ({"A": "host=h dbname=db user=shop password='p@ss' sslmode=require"}, target()),
        ({"A": "postgresql://shop:p%40ss@h"}, target(dbname="shop")),
        ({"PGHOST": "h", "PGUSER": "shop", "PGPASSWORD": "p@ss", "PGDATABASE": "db", "PGPORT": "5440"},
         target(port=5440)),
        ({"FLYWAY_URL": "jdbc:postgresql://h/db", "FLYWAY_USER": "shop", "FLYWAY_PASSWORD": "p@ss"}, target()),
        ({"SPRING_DATASOURCE_URL": "jdbc:postgresql://h/db?ssl=true", "SPRING_DATASOURCE_USERNAME": "shop",
          "SPRING_DATASOURCE_PASSWORD": "p@ss"}, target()),
        ({"A": "jdbc:postgresql://h/db?user=shop&password=p%40ss"}, target()),
        ({"A": "pgsql://shop:p%40ss@h/db"}, target()),
        ({"A": "postgis://shop:p%40ss@h/db"}, target()),
        ({"A": "pgsql:host=h;dbname=db;user=shop;password=p@ss"}, target()),
        ({"A": "postgresql://shop:p%40ss@/db?host=h1:5433&host=h2:5434"}, target(hosts=["h1", "h2"], port=5433)),
    ],
)  # fmt: skip
def test_every_form_of_an_address_names_its_database(values: dict[str, str], expected: dict[str, Any]) -> None:
    assert databases(values, "me") == [expected]


@pytest.mark.parametrize(
    "text",
    ["mysql://shop:x@h/db", "sqlite:///x.db", "redis://h/0", "https://h/?host=a", "", "PGHOST", "host=mail",
     "postgresql://[broken/db", "see postgresql://h/db", "postgres"],
)  # fmt: skip
def test_what_is_no_postgresql_is_none(text: str) -> None:
    assert databases({"A": text}, "me") == []


def test_no_driver_is_loaded_before_an_address_is_read() -> None:
    """Every playbook loads this, a rollback too, and psycopg takes longer than all else of it."""
    program = "import sys, turnout.service.stand_ins; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_redis_is_found_with_and_without_tls() -> None:
    values = {"A": "rediss://:x@h:6380/0", "B": "redis://h", "C": "rediss://:x@h:6380/0", "D": "redis", "E": "amqp://h"}
    assert redis_addresses(values) == ["rediss://:x@h:6380/0", "redis://h"]


@pytest.mark.parametrize(
    "text", ["redis://:hunter#2@h", "redis://h:port", "redis://[h", "redis://h1,h2", "redis://h:99999"]
)
def test_what_no_redis_client_reads_is_none(text: str) -> None:
    assert redis_addresses({"A": text}) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("DATABASE_URL", "postgresql://u@h/db?sslmode=verify-full&sslrootcert=/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("DATABASE_URL", "postgresql://u@h/db?sslrootcert=%2Fetc%2Fx%2Fca.crt", ["/etc/x/ca.crt"]),
        ("DSN", "host=h dbname=db sslrootcert=/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("REDIS_URL", "rediss://h/0?ssl_ca_certs=/etc/x/ca.pem", ["/etc/x/ca.pem"]),
        ("PGSSLROOTCERT", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("SSL_CERT_FILE", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("NODE_EXTRA_CA_CERTS", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("DB_SSLROOTCERT", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("DB_SSL_CA", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("REDIS_CA_CERT_PATH", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("REDIS_CA_FILE", "/etc/x/ca.crt", ["/etc/x/ca.crt"]),
        ("DATABASE_URL", "postgresql://u@h/db?sslrootcert=system", []),
        ("JWT_PUBLIC_KEY_FILE", "/etc/x/jwt.pem", []),
        ("SSL_CERT", "/etc/x/client.crt", []),
        ("LOCALE_PATH", "/etc/x", []),
        ("AMERICA_PATH", "/srv/america", []),
    ],
)
def test_root_certificates_are_those_that_a_name_says_are_some(name: str, text: str, expected: list[str]) -> None:
    assert root_certificates({name: text}) == expected
