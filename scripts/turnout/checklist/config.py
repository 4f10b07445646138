"""The variable `checklist` of an inventory: what is looked at, with which bounds. All mistakes are told at once."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turnout.checklist import freeze, waivers
from turnout.checklist.catalog import NAMES
from turnout.checklist.model import Waiver
from turnout.drill.objectives import Objectives
from turnout.faults import Fault, FaultsError, Reader, reader_of
from turnout.service.model import Environment, Service

DAY_S = 86_400.0
_YEAR_S = 366 * DAY_S
LAYOUTS = ("asynq", "list", "stream", "prometheus")
FORGES = ("github", "gitea")
_URL = r"https?://[^\s@]+"
_ADDRESS = r"[^\s:/]+:\d{1,5}"


@dataclass(frozen=True)
class Hosts:
    """Bounds for every host."""

    paths: tuple[str, ...]
    disk_free_percent: float
    disk_free_mb: float
    inodes_free_percent: float
    memory_free_percent: float
    clock_skew_s: float


@dataclass(frozen=True)
class Postgres:
    """Where the application's database is, and its bounds. `url` is a secret."""

    url: str | None = field(repr=False)
    url_from: str
    pool: int
    spare_connections: int
    max_transaction_s: float
    max_lag_s: float
    replicas: int
    disk_free_percent: float
    data_directory: str | None


@dataclass(frozen=True)
class Redis:
    """Where the application's Redis is, and its bounds. Both addresses are secrets.

    `look_url` is what the server and its queues are asked by: the same server, with a user that can only look.
    """

    url: str | None = field(repr=False)
    look_url: str | None = field(repr=False)
    url_from: str
    max_memory_percent: float
    persistence: str
    evictions: bool
    max_rdb_age_s: float
    ca_file: str | None


@dataclass(frozen=True)
class Queue:
    """One queue, how it lies in Redis or which queries tell of it, and its bounds (None: not looked at)."""

    name: str
    layout: str
    arguments: Mapping[str, object]
    queries: Mapping[str, str]
    max_depth: int
    max_oldest_s: float | None
    max_retry: int | None
    max_dead: int | None
    max_drain_s: float | None
    sample_s: float


@dataclass(frozen=True)
class Outgoing:
    """A service that ours calls: a health address (HTTP) or a port that must answer."""

    name: str
    url: str | None
    address: str | None
    status: int
    headers: Environment
    banner: str | None


@dataclass(frozen=True)
class Certificate:
    """A certificate, as a server shows it or as a file holds it, looked at from the hosts of a group."""

    name: str
    address: str | None
    server_name: str | None
    file: str | None
    group: str
    days: float


@dataclass(frozen=True)
class S3:
    """A bucket that the application writes to. The probe's object is deleted again."""

    endpoint: str | None
    region: str | None
    ca_file: Path | None
    bucket: str
    prefix: str
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)


@dataclass(frozen=True)
class Prometheus:
    """Where Prometheus answers, asked from the first host of a group."""

    url: str
    group: str


@dataclass(frozen=True)
class Slos:
    """The SLO files, and the part of the error budget that must be left."""

    folder: Path
    min_budget_percent: float


@dataclass(frozen=True)
class Forge:
    """Where the code and its CI live. `token` is a secret."""

    kind: str
    url: str
    repository: str
    token: str | None = field(repr=False)
    required: tuple[str, ...]
    branches: tuple[str, ...]
    ca_file: Path | None


@dataclass(frozen=True)
class Migrations:
    """What the review and the rehearsal of migrations must be."""

    folder: str
    reviewers: Path | None
    revoked_reviewers: Path | None
    statements: Path | None
    allowed: tuple[str, ...]
    max_rehearsal_age_s: float
    max_backup_age_s: float
    copy: bool


@dataclass(frozen=True)
class Checklist:
    """The whole variable, checked, with its defaults. A part that is None is not configured."""

    limit_s: float
    limits: Mapping[str, float]
    hosts: Hosts
    postgres: Postgres
    redis: Redis
    environment_extra: tuple[str, ...]
    queues: tuple[Queue, ...]
    outgoing: tuple[Outgoing, ...]
    certificates: tuple[Certificate, ...]
    s3: S3 | None
    prometheus: Prometheus | None
    slos: Slos | None
    alert_severities: tuple[str, ...]
    alert_ignore: tuple[str, ...]
    restore: Objectives | None
    freeze: tuple[freeze.Window, ...]
    forge: Forge | None
    migrations: Migrations | None
    waivers: tuple[Waiver, ...]

    def limit_of(self, check: str) -> float:
        """Return the seconds that a check may take."""
        return self.limits.get(check, self.limit_s)


def load(value: object, *, service: Service, base_dir: Path, path: str = "checklist") -> Checklist:
    """Return the checked configuration; relative files are taken from `base_dir`.

    `value` may be empty: then everything that needs no configuration is looked at. Raises `FaultsError` (code
    `checklist-invalid`) with every fault; no message holds a credential or an address with a password.
    """
    faults: list[Fault] = []
    reader = reader_of(value or {}, path, faults)
    config = _checklist(reader, service, base_dir)
    reader.done()
    if faults:
        raise FaultsError("checklist-invalid", f"the variable `{path}`", faults)
    return config


def _checklist(reader: Reader, service: Service, base_dir: Path) -> Checklist:
    windows, window_faults = freeze.read(_items(reader, "freeze"), f"{reader.path}.freeze")
    waived, waiver_faults = waivers.read(_items(reader, "waivers"), known=NAMES, path=f"{reader.path}.waivers")
    reader.faults.extend([*window_faults, *waiver_faults])
    alerts = reader.mapping("alerts")
    severities, ignored = _texts(alerts, "severities", ("page",)), _texts(alerts, "ignore", ())
    alerts.done()
    environment = reader.mapping("environment")
    extra = _texts(environment, "extra", ())
    environment.done()
    return Checklist(
        limit_s=reader.number("limit_s", 0.5, 600, unit="seconds", default=10),
        limits=_limits(reader.mapping("limits")),
        hosts=_hosts(reader.mapping("hosts")),
        postgres=_postgres(reader.mapping("postgres"), service),
        redis=_redis(reader.mapping("redis"), service),
        environment_extra=extra,
        queues=tuple(
            _queue(reader_of(item, f"{reader.path}.queues[{i}]", reader.faults))
            for i, item in enumerate(_items(reader, "queues"))
        ),
        outgoing=tuple(
            _outgoing(reader_of(item, f"{reader.path}.outgoing[{i}]", reader.faults))
            for i, item in enumerate(_items(reader, "outgoing"))
        ),
        certificates=tuple(
            _certificate(reader_of(item, f"{reader.path}.certificates[{i}]", reader.faults))
            for i, item in enumerate(_items(reader, "certificates"))
        ),
        s3=_s3(reader.mapping("s3"), base_dir) if reader.has("s3") else None,
        prometheus=_prometheus(reader.mapping("prometheus")) if reader.has("prometheus") else None,
        slos=_slos(reader.mapping("slos"), base_dir) if reader.has("slos") else None,
        alert_severities=severities,
        alert_ignore=ignored,
        restore=_restore(reader.mapping("restore")) if reader.has("restore") else None,
        freeze=tuple(windows),
        forge=_forge(reader.mapping("forge"), base_dir) if reader.has("forge") else None,
        migrations=_migrations(reader.mapping("migrations"), base_dir) if reader.has("migrations") else None,
        waivers=tuple(waived),
    )


def _items(reader: Reader, key: str) -> list[object]:
    return reader.items(key, expected="a list", example="[]")


def _texts(reader: Reader, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if not reader.has(key):
        return default
    items = reader.items(key, expected="a list of texts", example="[one, two]")
    if not all(isinstance(item, str) for item in items):
        reader.fault(key, "an item that is no text", "a list of texts", f"write {key}: [one, two]")
    return tuple(str(item) for item in items)


def _limits(reader: Reader) -> dict[str, float]:
    limits = {
        str(name): reader.number(str(name), 0.5, 600, unit="seconds", default=10)
        for name in reader.value
        if name in NAMES
    }
    reader.asked.update(NAMES)
    reader.done()
    return limits


def _hosts(reader: Reader) -> Hosts:
    hosts = Hosts(
        paths=_texts(reader, "paths", ("/", "/var", "/opt", "/tmp")),  # noqa: S108 - looked at, not written to
        disk_free_percent=reader.number("disk_free_percent", 0, 100, unit="percent", default=10),
        disk_free_mb=reader.number("disk_free_mb", 0, 1e9, unit="MB", default=500),
        inodes_free_percent=reader.number("inodes_free_percent", 0, 100, unit="percent", default=5),
        memory_free_percent=reader.number("memory_free_percent", 0, 100, unit="percent", default=5),
        clock_skew_s=reader.number("clock_skew_s", 0.01, 3600, unit="seconds", default=2),
    )
    reader.done()
    return hosts


def _postgres(reader: Reader, service: Service) -> Postgres:
    name, url = _url_from(reader, "DATABASE_URL", service)
    postgres = Postgres(
        url=url,
        url_from=name,
        pool=reader.whole("pool", 0, 100_000, unit="connections of a color", default=0),
        spare_connections=reader.whole("spare_connections", 0, 100_000, unit="connections", default=5),
        max_transaction_s=reader.number("max_transaction_s", 0, DAY_S, unit="seconds", default=30),
        max_lag_s=reader.number("max_lag_s", 0, DAY_S, unit="seconds", default=30),
        replicas=reader.whole("replicas", 0, 100, unit="replicas", default=0),
        disk_free_percent=reader.number("disk_free_percent", 0, 100, unit="percent", default=15),
        data_directory=reader.optional_text("data_directory", pattern=r"/\S+", example="/var/lib/postgresql/17/main"),
    )
    reader.done()
    return postgres


def _redis(reader: Reader, service: Service) -> Redis:
    name, url = _url_from(reader, "REDIS_URL", service)
    user = reader.optional_text("user", example="checklist")
    reader.secret = True
    password = reader.optional_text("password", example='"{{ vault_... }}"')
    reader.secret = False
    redis = Redis(
        url=url,
        look_url=_as_user(url, user, password) if url and password else url,
        url_from=name,
        max_memory_percent=reader.number("max_memory_percent", 1, 100, unit="percent", default=80),
        persistence=_choice(reader, "persistence", ("aof", "rdb", "none", "any"), "any"),
        evictions=_flag(reader, "evictions", default=False),
        max_rdb_age_s=reader.number("max_rdb_age_s", 1, _YEAR_S, unit="seconds", default=DAY_S),
        ca_file=reader.optional_text("ca_file", pattern=r"/\S+", example="/etc/ssl/redis-ca.pem"),
    )
    reader.done()
    return redis


def _as_user(url: str, user: str | None, password: str) -> str:
    """Return an address with another login."""
    parts = urllib.parse.urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    login = f"{urllib.parse.quote(user or '', safe='')}:{urllib.parse.quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{place}").geturl()


def _url_from(reader: Reader, default: str, service: Service) -> tuple[str, str | None]:
    """Return the name of the variable that holds an address, and the address where the service has it."""
    declared = reader.has("url_from")
    name = reader.text("url_from", default=default, expected="a variable of service.environment", example=default)
    url = service.environment.get(name)
    if url is None and declared:
        known = ", ".join(sorted(service.environment)) or "none"
        reader.fault("url_from", f"service.environment has no {name}", f"one of: {known}", "correct the name")
    return name, url


def _choice(reader: Reader, key: str, choices: tuple[str, ...], default: str | None) -> str:
    value = reader.text(
        key,
        default=default,
        required=default is None,
        pattern="|".join(choices),
        expected=f"one of: {', '.join(choices)}",
        example=choices[0],
    )
    return value or choices[0]


def _flag(reader: Reader, key: str, *, default: bool) -> bool:
    if not reader.has(key):
        return default
    value = reader.raw(key)
    if not isinstance(value, bool):
        reader.fault(key, reader.show(value), "true or false", f"write {key}: {str(default).lower()}")
        return default
    return value


def _limit(reader: Reader, key: str, high: float, unit: str) -> float | None:
    return reader.number(key, 0, high, unit=unit, default=0) if reader.has(key) else None


def _queue(reader: Reader) -> Queue:
    name = reader.text("name", required=True, expected="what the queue is called", example="jobs")
    layout = _choice(reader, "layout", LAYOUTS, None)
    arguments: dict[str, object] = {}
    queries: Mapping[str, str] = {}
    if layout == "asynq":
        arguments["queues"] = list(_texts(reader, "queues", ()))
    elif layout == "prometheus":
        asked = reader.mapping("queries", required=True, example='{depth: "sum(queue_depth)"}')
        names = ("depth", "oldest_s", "retry", "dead", "arrived_per_s", "served_per_s")
        queries = {key: asked.text(key) for key in names if asked.has(key)}
        asked.need("depth", "a query that returns one number", '"sum(queue_depth)"')
        asked.done()
    else:
        if reader.need("keys", "a list of Redis keys", "[jobs]"):
            arguments["keys"] = list(_texts(reader, "keys", ()))
        arguments["dead_keys"] = list(_texts(reader, "dead_keys", ()))
    if layout == "list":
        arguments["retry_keys"] = list(_texts(reader, "retry_keys", ()))
        arguments["oldest"] = _choice(reader, "oldest", ("right", "left"), "right")
        arguments["time_field"] = reader.optional_text("time_field", example="enqueued_at")
        arguments["served_key"] = reader.optional_text("served_key", example="jobs:done")
    if layout == "stream":
        arguments["group"] = reader.optional_text("group", example="workers")
    queue = Queue(
        name=name,
        layout=layout,
        arguments=arguments,
        queries=queries,
        max_depth=reader.whole("max_depth", 0, 10**9, unit="jobs", default=1000),
        max_oldest_s=_limit(reader, "max_oldest_s", _YEAR_S, "seconds"),
        max_retry=_optional_whole(reader, "max_retry"),
        max_dead=_optional_whole(reader, "max_dead"),
        max_drain_s=_limit(reader, "max_drain_s", _YEAR_S, "seconds"),
        sample_s=reader.number("sample_s", 0.2, 60, unit="seconds", default=1),
    )
    reader.done()
    return queue


def _address(reader: Reader, key: str, **options: Any) -> str | None:
    """Read an http(s) address. What stands there is never shown: it may hold a password."""
    was, reader.secret = reader.secret, True
    address = reader.optional_text(key, pattern=_URL, expected="an http(s) address without a user in it", **options)
    reader.secret = was
    return address


def _optional_whole(reader: Reader, key: str) -> int | None:
    return reader.whole(key, 0, 10**9, unit="jobs", default=0) if reader.has(key) else None


def _outgoing(reader: Reader) -> Outgoing:
    outgoing = Outgoing(
        name=reader.text("name", required=True, expected="what the service is called", example="push"),
        url=_address(reader, "url", example="https://push/health"),
        address=reader.optional_text("address", pattern=_ADDRESS, expected="HOST:PORT", example="mail:587"),
        status=reader.whole("status", 100, 599, unit="HTTP status", default=200),
        headers=Environment({str(k): str(v) for k, v in reader.mapping("headers", secret=True).value.items()}),
        banner=reader.optional_text("banner", expected="how the server's first line begins", example='"220"'),
    )
    if (outgoing.url is None) == (outgoing.address is None) and not reader.broken:
        reader.fault(None, "neither or both of url and address", "one of them", "write url: https://.../health")
    reader.done()
    return outgoing


def _certificate(reader: Reader) -> Certificate:
    address = reader.optional_text("address", pattern=_ADDRESS, expected="HOST:PORT", example="www.example.com:443")
    file = reader.optional_text("file", pattern=r"/\S+", expected="an absolute path on the host", example="/etc/x.pem")
    certificate = Certificate(
        name=reader.text("name", default=address or file or "", expected="a name", example="www"),
        address=address,
        server_name=reader.optional_text("server_name", example="www.example.com"),
        file=file,
        group=reader.text("group", default="edge", expected="a group of the inventory", example="edge"),
        days=reader.number("days", 0, 3650, unit="days", default=14),
    )
    if (address is None) == (file is None) and not reader.broken:
        reader.fault(None, "neither or both of address and file", "one of them", "write address: HOST:443")
    reader.done()
    return certificate


def _s3(reader: Reader, base_dir: Path) -> S3:
    bucket = reader.text("bucket", required=True, expected="a bucket's name", example="uploads")
    prefix = reader.text("prefix", default="turnout-checklist/", example="turnout-checklist/")
    endpoint = _address(reader, "endpoint", example="https://s3:8333")
    region = reader.optional_text("region", example="eu-central-1")
    ca_file = reader.optional_text("ca_file", example="ca.pem")
    reader.secret = True
    access_key = reader.optional_text("access_key", example='"{{ vault_... }}"')
    secret_key = reader.optional_text("secret_key", example='"{{ vault_... }}"')
    reader.done()
    return S3(endpoint, region, base_dir / ca_file if ca_file else None, bucket, prefix, access_key, secret_key)


def _prometheus(reader: Reader) -> Prometheus:
    prometheus = Prometheus(
        url=(_address(reader, "url", example="http://127.0.0.1:9090") or "http://127.0.0.1:9090").rstrip("/"),
        group=reader.text("group", default="monitoring", expected="a group of the inventory", example="monitoring"),
    )
    reader.done()
    return prometheus


def _slos(reader: Reader, base_dir: Path) -> Slos:
    folder = reader.text("folder", default="slos", expected="a folder of SLO files", example="slos")
    slos = Slos(base_dir / folder, reader.number("min_budget_percent", 0, 100, unit="percent", default=10))
    reader.done()
    return slos


def _restore(reader: Reader) -> Objectives:
    """Read the objectives of recovery; usually the variable `recovery` as a whole, which drills are held to too."""
    restore = Objectives(
        max_age_s=reader.number("max_age_s", 1, _YEAR_S, unit="seconds", default=8 * DAY_S),
        rpo_s=reader.number("rpo_s", 0, _YEAR_S, unit="seconds", default=300),
        rto_s=reader.number("rto_s", 0, _YEAR_S, unit="seconds", default=3600),
        detect_s=reader.number("detect_s", 0, _YEAR_S, unit="seconds", default=120),
        decide_s=reader.number("decide_s", 0, _YEAR_S, unit="seconds", default=600),
    )
    reader.done()
    return restore


REQUIRED_CHECKS = ("lint", "test", "contract", "build", "vulnerability", "secrets")


def _forge(reader: Reader, base_dir: Path) -> Forge:
    kind = _choice(reader, "kind", FORGES, None)
    if kind == "gitea":
        reader.need("url", "the forge's address", "https://git.example.com")
    url = _address(reader, "url", example="https://git.example.com") or "https://api.github.com"
    repository = reader.text(
        "repository", required=True, pattern=r"[^/\s]+/[^/\s]+", expected="OWNER/NAME", example="team/shop"
    )
    required = _texts(reader, "required", REQUIRED_CHECKS)
    branches = _texts(reader, "branches", ("main", "develop"))
    ca_file = reader.optional_text("ca_file", example="ca.pem")
    reader.secret = True
    token = reader.optional_text("token", expected="an access token, best from Vault", example='"{{ vault_... }}"')
    reader.done()
    return Forge(kind, url.rstrip("/"), repository, token, required, branches, base_dir / ca_file if ca_file else None)


def _migrations(reader: Reader, base_dir: Path) -> Migrations:
    reviewers = reader.optional_text("reviewers", example="migration_reviewers")
    revoked = reader.optional_text("revoked_reviewers", example="revoked_reviewers")
    statements = reader.optional_text("statements", example="migration-reviews")
    migrations = Migrations(
        folder=reader.text("folder", default="migrations", expected="their folder in the repository"),
        reviewers=base_dir / reviewers if reviewers else None,
        revoked_reviewers=base_dir / revoked if revoked else None,
        statements=base_dir / statements if statements else None,
        allowed=_texts(reader, "allowed", ()),
        max_rehearsal_age_s=reader.number("max_rehearsal_age_s", 1, _YEAR_S, unit="seconds", default=7 * DAY_S),
        max_backup_age_s=reader.number("max_backup_age_s", 1, _YEAR_S, unit="seconds", default=2 * DAY_S),
        copy=_flag(reader, "copy", default=True),
    )
    reader.done()
    return migrations
