"""What of a service's environment must lead to stand-ins where a release is tried: databases, Redis, root certificates.

Addresses of PostgreSQL are read as the checklist reads them (`turnout.checklist.addresses`), and libpq's own variables
beside them.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from turnout.checklist import addresses

_SCHEME = re.compile(r"[\w+:]+://")
_WHERE = ("host", "hostaddr", "port", "user", "password", "dbname")
# libpq's documentation, "Environment Variables".
VARIABLES = {"PGHOST": "host", "PGHOSTADDR": "hostaddr", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password",
              "PGDATABASE": "dbname"}  # fmt: skip
_REDIS = re.compile(r"rediss?://\S+")
# libpq's parameter and redis-py's, which other clients have taken over.
_CERTIFICATE_PARAMETERS = ("sslrootcert", "ssl_ca_certs")
_CERTIFICATE_VARIABLE = re.compile(
    r"SSL_CERT_FILE|NODE_EXTRA_CA_CERTS|PGSSLROOTCERT"
    r"|(.*_)?(SSL_?ROOT_?CERT|ROOT_?CERT|ROOT_?CA|CA_?CERTS?|CA_?BUNDLE|CA|(SSL|TLS)_?CA)(_?(FILE|PATH))?"
)


def databases(values: Mapping[str, str], user: str) -> list[dict[str, Any]]:
    """Return user, password, dbname, hosts and port of each PostgreSQL that the variables name. HOLDS SECRETS.

    `user` is the system user that asks, which libpq takes where none is named. A text that is no address is none.
    """
    found = [_target(parts, user) for name, text in values.items() if (parts := _parts(name, text, values))]
    own = {word: values[name] for name, word in VARIABLES.items() if values.get(name)}
    if "host" in own or "hostaddr" in own:
        found.append(_target(own, user))
    return [one for at, one in enumerate(found) if one not in found[:at]]


def _read(text: str) -> dict[str, str]:
    """Return libpq's parameters of an address of PostgreSQL, nothing of a text that is none."""
    try:
        return addresses.postgres(text) or {}
    except addresses.UnreadableError:
        return {}


def _parts(name: str, text: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return what one variable says of where a database is; nothing where it is no address."""
    parts = {key: one for key, one in _read(text).items() if key in _WHERE and one}
    if not _SCHEME.match(text):
        # A host alone (host=mail) may be anybody's.
        whole = ("host" in parts or "hostaddr" in parts) and ("dbname" in parts or "user" in parts)
        return parts if whole else {}
    if parts and "user" not in parts:
        # JDBC's addresses have their user beside them: FLYWAY_USER, SPRING_DATASOURCE_USERNAME.
        stem = re.sub(r"_?(JDBC_)?UR[LI]$", "", name)
        for end, key in (("USER", "user"), ("USERNAME", "user"), ("PASSWORD", "password")):
            if values.get(f"{stem}_{end}"):
                parts[key] = values[f"{stem}_{end}"]
    return parts


def _target(parts: Mapping[str, str], user: str) -> dict[str, Any]:
    name = parts.get("user") or user
    hosts = [host for key in ("host", "hostaddr") for host in parts.get(key, "").split(",") if host]
    ports = [port for port in parts.get("port", "").split(",") if port.isdecimal()]
    return {
        "user": name,
        "password": parts.get("password", ""),
        "dbname": parts.get("dbname") or name,
        "hosts": hosts,
        "port": int(ports[0]) if ports else 5432,
    }


def redis_addresses(values: Mapping[str, str]) -> list[str]:
    """Return each address of a Redis that the variables hold. HOLDS SECRETS."""
    return list(dict.fromkeys(text for text in values.values() if _REDIS.fullmatch(text) and addresses.redis(text)))


def root_certificates(values: Mapping[str, str]) -> list[str]:
    """Return the files that hold the authorities which the service trusts, as its addresses and variables name them."""
    return sorted({path for name, text in values.items() for path in _named(name, text) if path.startswith("/")})


def _named(name: str, text: str) -> Iterator[str]:
    if _CERTIFICATE_VARIABLE.fullmatch(name):
        yield text
    query = urllib.parse.parse_qs(text.partition("?")[2]) if "://" in text else {}
    for parameter in _CERTIFICATE_PARAMETERS:
        yield from query.get(parameter, [])
    if not _SCHEME.match(text):
        yield _read(text).get("sslrootcert", "")
