"""The variable `checklist` of an inventory: what is looked at, with which bounds. Every key is declared here."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, field, replace
from pathlib import Path
from typing import Any

from turnout.checklist import addresses, freeze, waivers
from turnout.checklist.catalog import NAMES
from turnout.checklist.model import Waiver
from turnout.drill.objectives import Objectives
from turnout.faults import Fault, FaultsError, nearest
from turnout.keys import At, Key, Part, Wrong, key, read
from turnout.places import placed
from turnout.service import values
from turnout.service.model import Environment, Service
from turnout.service.values import DAY_S, seconds

_YEAR_S = 366 * DAY_S
_MANY = 10**9
LAYOUTS = ("asynq", "rq", "sidekiq", "celery", "bullmq", "list", "stream", "prometheus")
FORGES = ("github", "gitea")
REQUIRED_CHECKS = ("lint", "test", "contract", "build", "vulnerability", "secrets")
_GITHUB = "https://api.github.com"


def _texts(means: str, default: tuple[str, ...] = (), example: str = "[one, two]") -> Any:
    item = Key(expected="a text", example="one")
    return key(means, default, expected="a list of texts", example=example, item=item)


def _percent(means: str, default: float, low: float = 0) -> Any:
    return key(means, default, low=low, high=100, unit="percent")


def _jobs(means: str, default: int | None = None, **options: Any) -> Any:
    return key(means, default, high=_MANY, unit="jobs", example="100", **options)


def _count(means: str, unit: str, default: int = 0) -> Any:
    return key(means, default, high=100_000, unit=unit)


def _url(means: str, example: str, default: str | None = None) -> Any:
    options: dict[str, Any] = {"pattern": r"https?://[^\s@]+", "expected": "an http(s) address without a user in it"}
    return key(means, default, example=example, hidden=True, check=_without_slash, **options)


def _without_slash(url: str | None) -> str | None:
    return url.rstrip("/") if url else url


def _address(means: str, example: str) -> Any:
    return key(means, None, pattern=r"[^\s:/]+:\d{1,5}", expected="HOST:PORT", example=example)


def _host_path(means: str, example: str) -> Any:
    return key(means, None, pattern=r"/\S+", expected="an absolute path on the hosts", example=example)


def _part(what: str, example: str) -> Any:
    return key(f"the variable with {what}", None, expected="a variable of service.environment", example=example)


def _variable(default: str, what: str) -> Any:
    means = f"the variable of `service.environment` with {what}"
    return key(means, default, expected="a variable of service.environment", example=default)


def _group(means: str, default: str) -> Any:
    return key(means, default, expected="a group of the inventory", example=default)


class Hosts(Part):
    """Bounds for every host."""

    paths: tuple[str, ...] = _texts(
        "file systems to look at; one that is missing on a host is passed over",
        ("/", "/var", "/opt", "/tmp"),  # noqa: S108 - looked at, not written to
    )
    disk_free_percent: float = _percent("free space of each, at least", 10)
    disk_free_mb: float = key("and at least this much", 500, high=1e9, unit="MB")
    inodes_free_percent: float = _percent("free inodes of each, at least", 5)
    memory_free_percent: float = _percent("available memory, at least", 5)
    clock_skew_s: float = seconds("seconds from the controller's clock; asking must take less than this", 2, 0.01, 3600)


class PostgresVariables(Part):
    """Variables of an application that has the parts of its database's address in one each, by libpq's names."""

    host: str | None = _part("the host", "DB_HOST")
    port: str | None = _part("the port", "DB_PORT")
    dbname: str | None = _part("the database", "DB_NAME")
    user: str | None = _part("the role", "DB_USER")
    password: str | None = _part("its password", "DB_PASSWORD")
    sslmode: str | None = _part("the TLS mode", "DB_SSLMODE")
    sslrootcert: str | None = _part("the certificate authority's file", "DB_SSLROOTCERT")


class RedisVariables(Part):
    """Variables of an application that has the parts of its Redis' address in one each."""

    host: str | None = _part("the host", "REDIS_HOST")
    port: str | None = _part("the port", "REDIS_PORT")
    path: str | None = _part("the socket, in place of host and port", "REDIS_SOCKET")
    db: str | None = _part("the number of the database", "REDIS_DB")
    username: str | None = _part("the user", "REDIS_USERNAME")
    password: str | None = _part("the password", "REDIS_PASSWORD")
    tls: str | None = _part("true for TLS", "REDIS_SSL")


def _named(variables: Part | None) -> dict[str, str]:
    return {} if variables is None else {part: name for part, name in vars(variables).items() if name is not None}


class Postgres(Part):
    """Where the application's database is, and its bounds. `url` is a secret, and so is `target`, libpq's parameters.

    `why` says why there is no target although a variable of that name is there.
    """

    url_from: str = _variable("DATABASE_URL", "the application's address, in any form that libpq or its driver reads")
    variables: PostgresVariables | None = key(
        "in place of `url_from`, where the application has host, database and so on in variables of their own",
        None,
        example="{host: DB_HOST, dbname: DB_NAME, user: DB_USER, password: DB_PASSWORD}",
    )
    pool: int = _count("connections of one process; 0: as many as it has now", "connections of a color")
    spare_connections: int = _count("connections that stay free beside both colors", "connections", 5)
    max_transaction_s: float = seconds("age of the oldest transaction", 30)
    max_lag_s: float = seconds("how far a standby may be behind", 30)
    max_lag_mb: float = key("the same in WAL that it has not replayed", 256, high=1e9, unit="MB")
    replicas: int = key("standbys that there must be", 0, high=100, unit="replicas")
    standbys: tuple[str, ...] = _texts("standbys that there must be, by `application_name`", example="[db2]")
    disk_free_percent: float = _percent("free space beside the data, at least", 15)
    data_directory: str | None = _host_path("where a host has several clusters", "/var/lib/postgresql/17/main")
    url: str | None = field(default=None, repr=False)
    target: Mapping[str, str] | None = field(default=None, repr=False)
    why: str = ""


class Redis(Part):
    """Where the application's Redis is, and its bounds. Both addresses are secrets.

    `look_url` is what the server and its queues are asked by: the same server, with a user that can only look.
    """

    url_from: str = _variable("REDIS_URL", "Redis's address, in any form that redis-py reads, host:port, or Sentinel's")
    variables: RedisVariables | None = key(
        "in place of `url_from`, where the application has host, port and so on in variables of their own",
        None,
        example="{host: REDIS_HOST, port: REDIS_PORT, password: REDIS_PASSWORD}",
    )
    master: str | None = key("Sentinel: the master, where its address names none", None, example="mymaster")
    user: str | None = key("the user that looks at figures and queues", None, example="checklist")
    password: str | None = values.vault("its password")
    max_memory_percent: float = _percent("of maxmemory", 80, 1)
    persistence: str = key(
        "how it must keep what is in memory", "any", choices=("aof", "rdb", "none", "any"), example="aof"
    )
    evictions: bool = key("true for a cache that may lose keys", False)
    max_rdb_age_s: float = seconds("age of the last snapshot", float(DAY_S), 1, _YEAR_S)
    ca_file: str | None = _host_path("for rediss://, on the hosts", "/etc/ssl/redis-ca.pem")
    url: str | None = field(default=None, repr=False)
    why: str = ""

    @property
    def look_url(self) -> str | None:
        """Return the address with the login of the one who looks."""
        if not self.url or not self.password:
            return self.url
        parts = urllib.parse.urlsplit(self.url)
        login = f"{urllib.parse.quote(self.user or '', safe='')}:{urllib.parse.quote(self.password, safe='')}"
        return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def _query(means: str, default: Any = None) -> Any:
    return key(means, default, expected="a query that returns one number", example='"sum(queue_depth)"')


class Queries(Part):
    """Queries of Prometheus that tell of a queue."""

    depth: str = _query("jobs that wait", MISSING)
    oldest_s: str | None = _query("age of the oldest")
    retry: str | None = _query("jobs that wait for another try")
    dead: str | None = _query("jobs that were given up")
    arrived_per_s: str | None = _query("jobs that come")
    served_per_s: str | None = _query("jobs that are done")


def _given(queries: Queries) -> dict[str, str]:
    return {name: query for name, query in vars(queries).items() if query is not None}


# The keys of a queue that belong to some layouts only.
_OF_LAYOUT = {
    "asynq": ("queues", "max_overdue_s", "max_lost", "min_workers"),
    "rq": ("queues", "max_overdue_s", "max_lost", "min_workers"),
    "sidekiq": ("queues", "prefix", "max_overdue_s", "max_lost", "min_workers"),
    "celery": ("queues", "prefix", "held_s", "max_lost"),
    "bullmq": ("queues", "prefix", "max_overdue_s", "max_lost"),
    "list": ("keys", "dead_keys", "retry_keys", "oldest", "time_field", "type_field", "error_field", "served_key"),
    "stream": ("keys", "dead_keys", "type_field", "error_field", "group", "held_s", "max_lost"),
    "prometheus": ("queries",),
}
# What those of them are that nobody wrote: bounds on what Redis shows of a layout, without which a fault would pass.
_WHERE_SHOWN = {"max_overdue_s": 300.0, "max_lost": 0, "min_workers": 1}
_HELD_S = {"celery": 3600.0, "stream": 600.0}


class Queue(Part):
    """One queue, how it lies in Redis or which queries tell of it, and its bounds (None: not looked at)."""

    name: str = key("what it is called", expected="what the queue is called", example="jobs")
    layout: str = key("how it lies in Redis", choices=LAYOUTS, example="asynq")
    queues: tuple[str, ...] = _texts("asynq, rq, sidekiq, celery, bullmq: its queues, by default all")
    prefix: str | None = key(
        "sidekiq, celery: what every key begins with; bullmq: its prefix, `bull` by default", None, example="shop:"
    )
    keys: tuple[str, ...] = _texts("list, stream: Redis keys", example="[jobs]")
    dead_keys: tuple[str, ...] = _texts("list, stream: keys of jobs that were given up")
    retry_keys: tuple[str, ...] = _texts("list: keys of jobs that wait for another try")
    oldest: str | None = key(
        "list: the end with the oldest job", None, choices=("right", "left"), by_default="`right`", example="right"
    )
    time_field: str | None = key("list: a number in each entry's JSON, in s, ms, µs or ns", None, example="enqueued_at")
    type_field: str | None = key("list, stream: the type of job in an entry, for dead letters", None, example="kind")
    error_field: str | None = key(
        "list, stream: why it failed, in an entry of dead letters", None, example="error.message"
    )
    redact: tuple[str, ...] = _texts(
        "keys of payloads whose values `turnout dead-letters show` hides, beside those that name a secret; `[0]` is the"
        " first of a list",
        (),
        '[email, "[0]"]',
    )
    served_key: str | None = key("list: a counter of jobs that were done", None, example="jobs:done")
    group: str | None = key("stream: its consumer group", None, example="workers")
    held_s: float | None = seconds(
        "celery: its `visibility_timeout`; stream: the longest job. What a worker holds for longer is lost",
        None,
        high=_YEAR_S,
        by_default="`3600` (celery), `600` (stream)",
    )
    queries: Mapping[str, str] = key("prometheus: queries that return one number", dict, form=Queries, read=_given)
    workers: tuple[str, ...] = _texts(
        "the kinds of `service.workers` that serve it, by default all: once the old of these are quiesced, jobs must be"
        " taken",
        (),
        "[mails]",
    )
    max_depth: int = _jobs("jobs that wait", 1000)
    max_oldest_s: float | None = seconds("age of the oldest", None, high=_YEAR_S)
    max_retry: int | None = _jobs("jobs that wait for another try")
    max_dead: int | None = _jobs("jobs that were given up")
    max_drain_s: float | None = seconds("time until it is empty", None, high=_YEAR_S)
    max_overdue_s: float | None = seconds(
        "asynq, rq, sidekiq, bullmq: how long scheduled jobs and retries may be due; asynq: groups too",
        None,
        high=_YEAR_S,
        by_default="`300`",
    )
    max_lost: int | None = _jobs("jobs that no live worker holds any more, see below", by_default="`0`")
    min_workers: int | None = key(
        "asynq, rq, sidekiq: live workers on each queue",
        None,
        high=10_000,
        unit="workers",
        example="1",
        by_default="`1`",
    )
    sample_s: float = seconds("seconds between the two looks that tell rates", 1, 0.2, 60)

    @property
    def arguments(self) -> dict[str, object]:
        """Return what the layout needs, as the probe on a host takes it."""
        values = {name: getattr(self, name) for name in _OF_LAYOUT[self.layout] if name != "queries"}
        values |= {name: self.bound(name) for name in _WHERE_SHOWN if name in values}
        if "held_s" in values:
            values["held_s"] = _HELD_S[self.layout] if self.held_s is None else self.held_s
        if self.layout == "list":
            values["oldest"] = self.oldest or "right"
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def bound(self, name: str) -> float | None:
        """Return a bound; None where nothing is to be held to it."""
        value: float | None = getattr(self, name)
        shown = name in _WHERE_SHOWN and name in _OF_LAYOUT[self.layout]
        return _WHERE_SHOWN[name] if value is None and shown else value

    def disagreements(self) -> Iterator[At]:
        """Each layout has its own keys."""
        own = _OF_LAYOUT[self.layout]
        for name in sorted({name for names in _OF_LAYOUT.values() for name in names} - set(own)):
            if getattr(self, name) not in (None, (), {}):
                yield At(
                    f".{name}", f"a key of another layout than {self.layout}", f"one of: {', '.join(own)}", "remove it"
                )
        if "keys" in own and not self.keys:
            yield At(".keys", "no such key", "a list of Redis keys", "add `keys: [jobs]`")
        if "queries" in own and not self.queries:
            example = '{depth: "sum(queue_depth)"}'
            yield At(".queries", "no such key", "a mapping of keys to values", f"add `queries: {example}`")


class Outgoing(Part):
    """A service that ours calls: a health address (HTTP) or a port that must answer."""

    name: str = key("what it is called", expected="what the service is called", example="push")
    url: str | None = _url("its health address", "https://push/health")
    address: str | None = _address("or its port", "mail:587")
    status: int = values.status("the status that is wanted")
    headers: Environment = values.headers()
    banner: str | None = key(
        "how the server's first line begins", None, expected="how the server's first line begins", example='"220"'
    )

    def disagreements(self) -> Iterator[At]:
        """It is asked in one way."""
        if (self.url is None) == (self.address is None):
            yield At("", "neither or both of url and address", "one of them", "write url: https://.../health")


class Certificate(Part):
    """A certificate, as a server shows it or as a file holds it, looked at from the hosts of a group."""

    address: str | None = _address("the server that shows it", "www.example.com:443")
    file: str | None = _host_path("or the file that holds it", "/etc/x.pem")
    name: str = key("what it is called", "", by_default="address or file", expected="a name", example="www")
    server_name: str | None = key("the name to ask for", None, example="www.example.com")
    group: str = _group("the hosts that look", "edge")
    days: float = key("days that must be left", 14, high=3650, unit="days")

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return the certificate with a name."""
        name = value.get("address") or value.get("file")
        return {"name": name, **value} if isinstance(name, str) else value

    def disagreements(self) -> Iterator[At]:
        """It is looked at in one place."""
        if (self.address is None) == (self.file is None):
            yield At("", "neither or both of address and file", "one of them", "write address: HOST:443")


class S3(Part):
    """A bucket that the application writes to. The probe's object is deleted again."""

    bucket: str = key("its name", expected="a bucket's name", example="uploads")
    prefix: str = key("below which the probe's object is", "turnout-checklist/")
    endpoint: str | None = _url("address of the server; without one it is Amazon's", "https://s3:8333")
    region: str | None = key("the bucket's region", None, example="eu-central-1")
    ca_file: Path | None = values.file("certificate authority of the server", "ca.pem")
    access_key: str | None = values.vault("the access key")
    secret_key: str | None = values.vault("the secret key")


class Prometheus(Part):
    """Where Prometheus answers, asked from the first host of a group."""

    url: str = _url("its address, as that host sees it", "http://127.0.0.1:9090", "http://127.0.0.1:9090")
    group: str = _group("whose first host asks", "monitoring")


class Slos(Part):
    """The SLO files, and the part of the error budget that must be left."""

    folder: Path = values.file("folder of the SLO files", "slos", Path("slos"), "a folder of SLO files")
    min_budget_percent: float = _percent("error budget left on each, at least", 10)


class Restore(Part):
    """The objectives of recovery; usually the variable `recovery` as a whole, which drills are held to too."""

    max_age_s: float = seconds("age of the last drill that passed", 8.0 * DAY_S, 1, _YEAR_S)
    rpo_s: float = seconds("what may be lost", 300, high=_YEAR_S)
    rto_s: float = seconds("how long until the service answers again", 3600, high=_YEAR_S)
    detect_s: float = seconds("declared: until somebody has noticed", 120, high=_YEAR_S)
    decide_s: float = seconds("declared: until somebody has decided", 600, high=_YEAR_S)


class Acceptance(Part):
    """What the outcome of a release's acceptance packs must be."""

    max_age_s: float = seconds("age of the outcome", 7.0 * DAY_S, 1, _YEAR_S)
    max_backup_age_s: float = seconds("age of the backup that it was on", 8.0 * DAY_S, 1, _YEAR_S)


class Forge(Part):
    """Where the code and its CI live. `token` is a secret."""

    kind: str = key("gitea (Forgejo too) or github", choices=FORGES, example="github")
    repository: str = key("where the code is", pattern=r"[^/\s]+/[^/\s]+", expected="OWNER/NAME", example="team/shop")
    url: str = _url("its address; gitea has none by default", "https://git.example.com", _GITHUB)
    token: str | None = values.vault("an access token")
    required: tuple[str, ...] = _texts("checks that must have passed for the release's commit", REQUIRED_CHECKS)
    branches: tuple[str, ...] = _texts("branches that must be protected", ("main", "develop"))
    ca_file: Path | None = values.file("certificate authority of the forge", "ca.pem")

    def disagreements(self) -> Iterator[At]:
        """Only GitHub is where everybody knows."""
        if self.kind == "gitea" and self.url == _GITHUB:
            yield At(".url", "no such key", "the forge's address", "add `url: https://git.example.com`")


class Migrations(Part):
    """What the review and the rehearsal of migrations must be."""

    folder: str = key("in the repository", "migrations", expected="their folder in the repository")
    reviewers: Path | None = values.file("allowed-signers file, beside the inventory", "migration_reviewers")
    revoked_reviewers: Path | None = values.file(
        "keys that no longer count (ssh-keygen -k), beside it too", "revoked_reviewers"
    )
    statements: Path | None = values.file("folder of signed statements", "migration-reviews")
    allowed: tuple[str, ...] = _texts("rules of squawk that may be broken")
    max_rehearsal_age_s: float = seconds("age of the rehearsal", 7.0 * DAY_S, 1, _YEAR_S)
    max_backup_age_s: float = seconds("age of the backup that it was on", 2.0 * DAY_S, 1, _YEAR_S)
    copy: bool = key("want a rehearsal on a copy restored from a backup", True)


class Extra(Part):
    """What is known of the service's variables."""

    extra: tuple[str, ...] = _texts("variables that a release need not ask for", example="[LOG_LEVEL]")


class Alerts(Part):
    """Which alerts of Prometheus stand in the way."""

    severities: tuple[str, ...] = _texts("severities that do", ("page",), "[page]")
    ignore: tuple[str, ...] = _texts("names or patterns that do not; those that fire are told all the same")


class AlertDrill(Part):
    """How long an alert may not have been seen to arrive. Asked of the host that asks Prometheus."""

    max_age_s: float = seconds("age of the last drill that saw it at its receiver", 30.0 * DAY_S, 1, _YEAR_S)
    ignore: tuple[str, ...] = _texts("names or patterns of alerts that need not be drilled", example="[Info*]")


def _check_name(name: object) -> str:
    if name not in NAMES:
        likely = nearest(str(name), NAMES)
        remedy = f"rename it to `{likely}`, or remove it" if likely else "remove it"
        raise Wrong("a check that Turnout does not know", f"one of: {', '.join(sorted(NAMES))}", remedy)
    return str(name)


class Checklist(Part):
    """The whole variable, checked, with its defaults. A part that is None is not configured."""

    limit_s: float = seconds("seconds that a check may take", 10, 0.5, 600)
    limits: Mapping[str, float] = key(
        "the same for one check",
        dict,
        names=Key(read=_check_name, json={"enum": list(NAMES)}),
        item=Key(low=0.5, high=600, unit="seconds", example="10"),
        example="{ci: 20}",
    )
    skip: tuple[str, ...] = key(
        "checks that are not to be made, by their names",
        (),
        expected="a list of checks",
        example="[redis-persistence]",
        item=Key(read=_check_name, expected="the name of a check", json={"enum": list(NAMES)}),
    )
    hosts: Hosts = key("bounds for every host", Hosts)
    environment: Extra = key("the service's variables", Extra)
    postgres: Postgres = key("the application's database", Postgres)
    redis: Redis = key("the application's Redis", Redis)
    queues: tuple[Queue, ...] = key("queues to look at", (), expected="a list", example="[]")
    outgoing: tuple[Outgoing, ...] = key(
        "services that ours calls, asked from every application host", (), expected="a list", example="[]"
    )
    certificates: tuple[Certificate, ...] = key(
        "certificates that must not expire", (), expected="a list", example="[]"
    )
    s3: S3 | None = key("a bucket that the application writes to", None)
    prometheus: Prometheus | None = key("where alerts and figures are", None)
    alerts: Alerts = key("alerts that stand in the way", Alerts)
    alert_drill: AlertDrill | None = key("drills that alerts must have passed", None)
    slos: Slos | None = key("error budgets that must be left", None)
    restore: Objectives | None = key(
        "what the drills are held to, usually `{{ recovery }}`",
        None,
        form=Restore,
        read=lambda one: Objectives(**vars(one)),
    )
    acceptance: Acceptance | None = key("what a release's acceptance packs must have come to", None)
    freeze: tuple[freeze.Window, ...] = key(
        "times in which nothing is released", (), expected="a list", example="[]", item=freeze.WINDOW
    )
    forge: Forge | None = key("where the code and its CI live", None)
    migrations: Migrations | None = key("reviews and rehearsals of migrations", None)
    waivers: tuple[Waiver, ...] = key(
        "checks that one release may pass over", (), expected="a list", example="[]", item=waivers.WAIVER
    )

    def limit_of(self, check: str) -> float:
        """Return the seconds that a check may take."""
        return self.limits.get(check, self.limit_s)


def load(value: object, *, service: Service, base_dir: Path) -> Checklist:
    """Return the checked configuration; relative files are taken from `base_dir`.

    `value` may be empty: then everything that needs no configuration is looked at. Raises `FaultsError` (code
    `checklist-invalid`) with every fault; no message holds a credential or an address with a password.
    """
    faults: list[Fault] = []
    config = read(Checklist, value or {}, "checklist", faults, base_dir=base_dir)
    if config is not None:
        faults += _unknown_variables(value, config, service)
        faults += [
            Fault(
                f"checklist.queues[{index}].workers[{number}]",
                f"{name}, no kind of worker of the service",
                f"one of: {', '.join(service.workers) or '(the service has no worker)'}",
                f"write workers: [{', '.join(service.workers)}], or remove the key",
            )
            for index, queue in enumerate(config.queues)
            for number, name in enumerate(queue.workers)
            if name not in service.workers
        ]
    if faults or config is None:
        raise FaultsError("checklist-invalid", "the variable `checklist`", placed(faults, base_dir))
    return replace(config, postgres=_postgres(config.postgres, service), redis=_redis(config.redis, service))


def _postgres(part: Postgres, service: Service) -> Postgres:
    """Return the part with the address that the service's variables hold; libpq's own (PGHOST ...) are one too."""
    given, url = service.environment, service.environment.get(part.url_from)
    if part.variables is not None:
        named = _named(part.variables)
        return replace(part, target={one: given[name] for one, name in named.items() if given[name]})
    if url is None:
        own = any(given.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"))
        return replace(part, target={} if own else None)
    try:
        target = addresses.postgres(url)
    except addresses.UnreadableError as error:
        return replace(part, url=url, why=f"{part.url_from} holds an address of PostgreSQL, and {error}")
    why = "" if target is not None else f"{part.url_from} holds no address of PostgreSQL"
    return replace(part, url=url, target=target, why=why)


def _redis(part: Redis, service: Service) -> Redis:
    given, url = service.environment, service.environment.get(part.url_from)
    if part.variables is not None:
        named = _named(part.variables)
        return replace(part, url=addresses.redis_of({one: given[name] for one, name in named.items()}))
    found = addresses.redis(url, part.master) if url is not None else None
    why = f"{part.url_from} holds no address of Redis that redis-py reads" if url is not None and found is None else ""
    return replace(part, url=found, why=why)


def _unknown_variables(value: object, config: Checklist, service: Service) -> Iterator[Fault]:
    """Yield a fault where an address is to be in a variable that the service has not; the default may be missing."""
    known = ", ".join(sorted(service.environment)) or "none"
    for part, held in (("postgres", config.postgres), ("redis", config.redis)):
        section = value.get(part) if isinstance(value, Mapping) else None
        asked = _named(held.variables)
        places = {f"variables.{one}": name for one, name in asked.items()}
        if isinstance(section, Mapping) and section.get("url_from") == held.url_from:
            places["url_from"] = held.url_from
        for where, name in places.items():
            if name not in service.environment:
                observed = f"service.environment has no {name}"
                yield Fault(f"checklist.{part}.{where}", observed, f"one of: {known}", "correct the name")
