"""The values that a service file is made of, with units in their names.

Whatever may be a secret (environment values, credentials, headers and bodies of smoke tests) is kept out of
`repr` and out of `Service.public()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COLORS = ("blue", "green")


class Environment(Mapping[str, str]):
    """Environment variables. Its `repr` shows the names only: every value counts as a secret."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Return the names, never the values."""
        return f"Environment({', '.join(sorted(self._values))})"


@dataclass(frozen=True)
class S3Access:
    """How an S3 bucket is reached. A field that is None is left to boto3's own search (AWS_* variables, profile)."""

    endpoint: str | None = None
    region: str | None = None
    ca_file: Path | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class HttpAccess:
    """How an HTTPS store is reached: a certificate authority of one's own, headers such as Authorization."""

    ca_file: Path | None = None
    headers: Environment = field(default_factory=Environment)


@dataclass(frozen=True)
class Releases:
    """Where artifacts come from, whose signature counts, and how many releases a host keeps."""

    source: str
    allowed_signers: Path
    s3: S3Access = field(default_factory=S3Access)
    http: HttpAccess = field(default_factory=HttpAccess)
    keep: int = 5
    revoked_signers: Path | None = None


@dataclass(frozen=True)
class Health:
    """The question that tells whether an API process can serve."""

    path: str = "/"
    status: int = 200
    timeout_s: float = 2.0
    deadline_s: int = 60


@dataclass(frozen=True)
class Api:
    """The API process: `drain_s` is the longest request it is given time for when it stops."""

    command: str
    ports: Mapping[str, int]
    health: Health = field(default_factory=Health)
    metrics_path: str | None = None
    stop_signal: str = "SIGTERM"
    drain_s: int = 30


@dataclass(frozen=True)
class Worker:
    """The worker process, `instances` of it on every worker host."""

    command: str
    instances: int = 1
    quiesce_signal: str | None = None
    resume_signal: str | None = None
    stop_signal: str = "SIGTERM"
    drain_s: int = 30
    metrics_port: Mapping[str, int] | None = None
    metrics_path: str = "/metrics"

    def metrics_ports(self, color: str) -> tuple[int, ...]:
        """Return the metrics port of every instance of a color: instance k has the declared port + k - 1."""
        if self.metrics_port is None:
            return ()
        return tuple(self.metrics_port[color] + k for k in range(self.instances))


@dataclass(frozen=True)
class Scheduler:
    """The process that must run exactly once."""

    command: str
    stop_signal: str = "SIGTERM"
    drain_s: int = 10


@dataclass(frozen=True)
class Migrate:
    """The commands that move the schema, and what only they are given."""

    up: str
    version: str
    down: str | None = None
    timeout_s: int = 300
    environment: Environment = field(default_factory=Environment)
    user: str = ""
    """System user that they run as: never the service's, which could read their environment in /proc."""


@dataclass(frozen=True)
class Bucket:
    """What keeps a user on one color: a header, a cookie, or (neither) the source address."""

    header: str | None = None
    cookie: str | None = None


@dataclass(frozen=True)
class SmokeTest:
    """One request that a candidate must answer before any user's request reaches it."""

    path: str
    method: str = "GET"
    status: int = 200
    contains: str | None = None
    body: str | None = field(default=None, repr=False)
    headers: Environment = field(default_factory=Environment)


@dataclass(frozen=True)
class Step:
    """A share of traffic in basis points, and how long it is held before the next."""

    share_bp: int
    hold_s: float


@dataclass(frozen=True)
class Guard:
    """When HAProxy's own counters end a release: at least `min_5xx` and more than `max_5xx_ratio` in a step."""

    max_5xx_ratio: float = 0.02
    min_5xx: int = 3


@dataclass(frozen=True)
class Judge:
    """What decides over a release: the SLOs in the folder `slos`, read from `prometheus`, a URL.

    A step that neither promotes nor can be judged for `patience_s` ends as undecided. After 100 % the watch lasts
    `bake_s`, at least `fastest_window_s`, the shortest window of the alerts on these SLOs. `probes_per_s` synthetic
    requests a second go through every edge to each color, 0 for none.
    """

    prometheus: str
    slos: Path
    patience_s: float = 600.0
    bake_s: float = 300.0
    fastest_window_s: float = 300.0
    probes_per_s: float = 0.0


@dataclass(frozen=True)
class Watch:
    """What guards the release in service between deploys: with `rollback_on_page` a page on its SLOs takes it back."""

    rollback_on_page: bool = False


@dataclass(frozen=True)
class Service:
    """A whole service file, checked, with its defaults filled in."""

    name: str
    user: str
    releases: Releases
    api: Api
    packages: tuple[str, ...] = ()
    worker: Worker | None = None
    scheduler: Scheduler | None = None
    migrate: Migrate | None = None
    environment: Environment = field(default_factory=Environment)
    bucket: Bucket = field(default_factory=Bucket)
    smoke: tuple[SmokeTest, ...] = ()
    steps: tuple[Step, ...] = ()
    guard: Guard = field(default_factory=Guard)
    judge: Judge | None = None
    warm_s: int = 3600
    watch: Watch = field(default_factory=Watch)

    def processes(self) -> tuple[str, ...]:
        """Return the kinds of process that this service has, the API first."""
        optional = (("worker", self.worker), ("scheduler", self.scheduler))
        return ("api", *(name for name, value in optional if value is not None))

    def public(self) -> dict[str, object]:
        """Return the service without any secret: names of variables and headers instead of their values."""
        return _as_dict(self, secrets=False)

    def full(self) -> dict[str, object]:
        """Return the service with its secrets; only for parameters that Ansible never shows."""
        return _as_dict(self, secrets=True)


def _as_dict(service: Service, *, secrets: bool) -> dict[str, object]:
    def variables(values: Environment) -> object:
        return dict(values) if secrets else sorted(values)

    def fields(part: object | None, *names: str) -> dict[str, object] | None:
        return None if part is None else {name: getattr(part, name) for name in names}

    def path(value: Path | None) -> str | None:
        return None if value is None else str(value)

    releases, api, worker, migrate = service.releases, service.api, service.worker, service.migrate
    judge = service.judge
    s3: dict[str, object] = {
        "endpoint": releases.s3.endpoint,
        "region": releases.s3.region,
        "ca_file": path(releases.s3.ca_file),
    }
    if secrets:
        s3 |= {name: getattr(releases.s3, name) for name in ("access_key", "secret_key", "session_token")}
    worker_fields = fields(worker, "command", "instances", "quiesce_signal", "resume_signal", "stop_signal", "drain_s")
    if worker is not None and worker_fields is not None:
        worker_fields["metrics_path"] = worker.metrics_path
        worker_fields["metrics_port"] = None if worker.metrics_port is None else dict(worker.metrics_port)
    migrate_fields = fields(migrate, "up", "down", "version", "timeout_s", "user")
    if migrate is not None and migrate_fields is not None:
        migrate_fields["environment"] = variables(migrate.environment)
    return {
        "name": service.name,
        "user": service.user,
        "packages": list(service.packages),
        "releases": {
            "source": releases.source,
            "allowed_signers": str(releases.allowed_signers),
            "revoked_signers": path(releases.revoked_signers),
            "s3": s3,
            "http": {"ca_file": path(releases.http.ca_file), "headers": variables(releases.http.headers)},
            "keep": releases.keep,
        },
        "api": {
            "command": api.command,
            "ports": dict(api.ports),
            "health": fields(api.health, "path", "status", "timeout_s", "deadline_s"),
            "metrics_path": api.metrics_path,
            "stop_signal": api.stop_signal,
            "drain_s": api.drain_s,
        },
        "worker": worker_fields,
        "scheduler": fields(service.scheduler, "command", "stop_signal", "drain_s"),
        "migrate": migrate_fields,
        "environment": variables(service.environment),
        "bucket": {
            name: value
            for name, value in (("header", service.bucket.header), ("cookie", service.bucket.cookie))
            if value is not None
        },
        "smoke": [
            {
                "path": test.path,
                "method": test.method,
                "status": test.status,
                "contains": test.contains,
                "headers": variables(test.headers),
                **({"body": test.body} if secrets else {"has_body": test.body is not None}),
            }
            for test in service.smoke
        ],
        "steps": [{"share_bp": step.share_bp, "hold_s": step.hold_s} for step in service.steps],
        "guard": fields(service.guard, "max_5xx_ratio", "min_5xx"),
        "judge": None
        if judge is None
        else {
            "prometheus": judge.prometheus,
            "slos": str(judge.slos),
            "patience_s": judge.patience_s,
            "bake_s": judge.bake_s,
            "fastest_window_s": judge.fastest_window_s,
            "probes_per_s": judge.probes_per_s,
        },
        "warm_s": service.warm_s,
        "watch": fields(service.watch, "rollback_on_page"),
    }
