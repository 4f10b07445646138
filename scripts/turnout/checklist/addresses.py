"""Addresses of PostgreSQL and Redis as applications have them: what their drivers understand is understood here.

PostgreSQL: all that libpq reads (PostgreSQL manual, "Connection Strings"), and the forms of SQLAlchemy, JDBC, PHP
and golang-migrate for the same server; what only a driver knows of the options (a pool's size, Prisma's schema) is left
out. Redis: what redis-py's `from_url` documents, `host:port`, and addresses of Sentinel as kombu and others write them.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

# postgres and postgresql are libpq's; +driver is SQLAlchemy's; the others are dj-database-url's, django-environ's and
# golang-migrate's.
POSTGRES = re.compile(
    r"(?:jdbc:)?(?:postgres|postgresql|pgsql|psql|postgis|timescale|timescalegis|pgx|pgx[45])(?:\+\w+)?://",
    re.IGNORECASE,
)
_PDO = re.compile(r"pgsql:(?!//)")
_CONNINFO = re.compile(r"(?:^|\s)(?:host|hostaddr|dbname|service)\s*=")
_UNKNOWN_OPTION = re.compile(r'invalid connection option "([^"]+)"')
_SSL = {"true": "require", "1": "require", "false": "disable", "0": "disable", "no-verify": "require"}
_MOST_OPTIONS = 50

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
    "redis-socket": "unix",
    "redis+unix": "unix",
    "sentinel": "redis+sentinel",
    "redis+sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
    "rediss+sentinel": "rediss+sentinel",
    "rediss-sentinel": "rediss+sentinel",
}
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):\d{1,5}(?:/\d+)?")
_ONE_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:,#\[\]]*)(?::(?P<port>\d{1,5}))?")
_LAST_PORT = 65_535
_MASTER_OPTIONS = ("sentinel_service", "service_name", "master_name", "sentinelMasterId", "master")
_REDIS_OPTIONS = ("username", "password", "db", "ssl_cert_reqs", "ssl_ca_certs", "ssl_check_hostname")


class UnreadableError(ValueError):
    """An address of the right kind that its library cannot read; the text holds nothing of it."""


# PostgreSQL ----------------------------------------------------------------------------------------------------------


def postgres(text: str) -> dict[str, str] | None:
    """Return libpq's parameters of an address of PostgreSQL, None of anything else. Raises `UnreadableError`."""
    found = POSTGRES.match(text)
    if found:
        return _checked(_of_url("postgresql://" + text[found.end() :]))
    text = _PDO.sub("", text).replace(";", " ") if _PDO.match(text) else text
    return _checked(_parsed(text)) if _CONNINFO.search(text) else None


def _of_url(url: str) -> dict[str, str]:
    base, _, query = url.partition("?")
    if _spilled(query):
        raise UnreadableError("its parts cannot be told apart")
    # A % that begins no escape is taken for itself, as most drivers do.
    result = _parsed(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", base))
    hosts: list[str] = []
    for name, value in urllib.parse.parse_qsl(query):
        if name == "host":
            hosts.append(value)
        elif name == "ssl" or (name == "sslmode" and value in _SSL):
            result["sslmode"] = "require" if value.startswith("{") else _SSL.get(value.lower(), value)
        elif name in _keywords() and name != "connect_timeout":
            result[name] = value
    if hosts:
        _add_hosts(result, hosts)
    return result


def _add_hosts(result: dict[str, str], hosts: list[str]) -> None:
    """Add the hosts of ?host=...: one as libpq has it, or several with their ports, as SQLAlchemy writes them."""
    pairs = [(one, "") if one.startswith("/") else one.partition(":")[::2] for one in ",".join(hosts).split(",")]
    result["host"] = ",".join(host for host, _ in pairs)
    if any(port for _, port in pairs):
        result["port"] = ",".join(port or "5432" for _, port in pairs)


def _parsed(text: str) -> dict[str, str]:
    """Return what libpq reads, without the options that it does not know."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - a rollback reads no address, and does not wait for it
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    for _ in range(_MOST_OPTIONS):
        try:
            return {name: str(value) for name, value in conninfo_to_dict(text).items() if value is not None}
        except ProgrammingError as error:
            unknown = _UNKNOWN_OPTION.search(str(error))
        shorter = unknown and re.sub(
            rf"(^|\s){re.escape(unknown[1])}\s*=\s*('(?:[^'\\]|\\.)*'|\S*)", " ", text, count=1
        )
        if not shorter or shorter == text:
            break
        text = shorter
    raise UnreadableError("libpq cannot read it")


def _keywords() -> set[str]:
    from psycopg import pq  # noqa: PLC0415

    return {one.keyword.decode() for one in pq.Conninfo.get_defaults()}


def _spilled(query: str) -> bool:
    """Tell whether an unescaped ? of a password has begun what looks like the options."""
    return any("@" in one.partition("=")[0] for one in query.split("&"))


def _checked(found: dict[str, str]) -> dict[str, str]:
    """Return the parameters, unless a password with an unescaped @, / or : has spilled into what messages show."""
    ports = found.get("port", "").split(",")
    if any("@" in found.get(name, "") for name in ("host", "dbname")) or not all(p.isdigit() or not p for p in ports):
        raise UnreadableError("its parts cannot be told apart")
    return found


# Redis ---------------------------------------------------------------------------------------------------------------


def redis(text: str, master: str | None = None) -> str | None:
    """Return an address of Redis as redis-py has it, None of anything else.

    One of Sentinel becomes `redis+sentinel://LOGIN@HOST:PORT,.../MASTER?db=N`; `master` counts where it names none.
    """
    if _HOST_PORT.fullmatch(text):
        return f"redis://{'localhost' if text.startswith(':') else ''}{text}"
    if text.startswith("/") and text.endswith(".sock"):
        return f"unix://{text}"
    scheme, found, rest = text.partition("://")
    kind = _SCHEMES.get(scheme.lower())
    if not found or kind is None:
        return None
    rest = re.sub(rf"[;,]{re.escape(scheme)}://", ",", rest)  # kombu separates whole addresses by semicolons
    head, _, query = rest.partition("?")
    login, at, place = head.rpartition("@")
    hosts, slash, path = place.partition("/")
    if re.search("[/#]", login) or _spilled(query):
        return None  # redis-py takes a piece of the password for the port, and shows it
    options = dict(urllib.parse.parse_qsl(query))
    if kind == "unix":
        options.setdefault("db", options.pop("virtual_host", "").strip("/"))
        hosts, path = "", f"/{path}"
    elif kind.endswith("sentinel"):
        logins, hosts = _sentinels(hosts)
        login, at = (login, at) if at else logins
        names, path = [one for one in path.split("/") if one], ""
        numbers = [one for one in names if one.isdigit()]
        options.setdefault("db", numbers[-1] if numbers else "")
        named = next((options[one] for one in _MASTER_OPTIONS if options.get(one)), None)
        path = "/" + urllib.parse.quote(
            named or next((one for one in names if not one.isdigit()), None) or master or ""
        )
    elif not (one := _ONE_HOST.fullmatch(hosts)) or int(one["port"] or 0) > _LAST_PORT:
        return None  # several, as some cluster clients have them
    else:
        path = f"{slash}{path}"
    kept = {name: options[name] for name in _REDIS_OPTIONS if options.get(name)}
    asked = f"?{urllib.parse.urlencode(kept)}" if kept else ""
    return f"{kind}://{login}{at}{hosts}{path}{asked}"


def _sentinels(hosts: str) -> tuple[tuple[str, str], str]:
    """Return (login, @) and the hosts of Sentinels with their ports, from a list in which each may have a login."""
    logins, places = [], []
    for one in hosts.split(","):
        login, at, place = one.rpartition("@")
        logins.append((login, at))
        places.append(place if re.search(r":\d+$", place) else f"{place}:26379")
    return next((one for one in logins if one[1]), ("", "")), ",".join(places)


def redis_of(parts: Mapping[str, str]) -> str:
    """Return the address of Redis whose parts stand in variables of their own."""

    def quoted(name: str) -> str:
        return urllib.parse.quote(parts.get(name, ""), safe="")

    login = f"{quoted('username')}:{quoted('password')}@" if parts.get("password") else ""
    database = f"?db={quoted('db')}" if parts.get("db") else ""
    if parts.get("path"):
        return f"unix://{login}{parts['path']}{database}"
    host = parts.get("host") or "localhost"
    host = f"[{host}]" if ":" in host else host
    tls = "s" if parts.get("tls", "").lower() in ("1", "on", "true", "yes") else ""
    return f"redis{tls}://{login}{host}:{parts.get('port') or 6379}{database}"
