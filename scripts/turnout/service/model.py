"""The service file: every key, what it means and what may stand there. All else is made from these declarations.

Whatever may be a secret (environment values, credentials, headers and bodies of smoke tests) is kept out of
`repr` and out of `Service.public()`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from turnout.due import cron
from turnout.faults import shown
from turnout.keys import At, Key, Part, Wrong, key, plain
from turnout.migrations.tools import TOOLS
from turnout.service import directories, values
from turnout.service.environment import KEY, METRICS_PORT, RESERVED
from turnout.service.limits import Limits
from turnout.service.logs import Logs
from turnout.service.values import COLORS, DAY_S, NAME, Environment

__all__ = ["COLORS", "Environment", "Service"]

_WHOLE_TRAFFIC_BP = 10_000
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_STEPS = "[{share_bp: 1000, hold_s: 5}, {share_bp: 10000, hold_s: 5}]"
_NAMES = Key(
    check=values.process_name,
    json={"type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 31},
)
_TAKEOVER_S = 45  # seconds to miss an answer of the edges or two, to see it, and to ask for their leases
_MIGRATE_USER_STEM = 24  # characters of the service's name: users' names have 32 at most


class S3Access(Part):
    """How an S3 bucket is reached. A field that is None is left to boto3's own search (AWS_* variables, profile)."""

    endpoint: str | None = key(
        "address of the server; without one it is Amazon's",
        None,
        pattern=values.ENDPOINT,
        expected="the address of an S3 server, without a user, ? or # in it",
        example="https://s3.example.com:8333",
        hidden=True,  # an address may hold a password
    )
    region: str | None = key("the bucket's region", None, expected="a region's name", example="eu-central-1")
    ca_file: Path | None = values.file("certificate authority of the server", "ca.pem")
    access_key: str | None = values.vault("the access key")
    secret_key: str | None = values.vault("the secret key")
    session_token: str | None = values.vault("the token of a temporary login")

    def disagreements(self) -> Iterator[At]:
        """A key without its partner opens nothing."""
        if (self.access_key is None) != (self.secret_key is None):
            missing = "access_key" if self.access_key is None else "secret_key"
            yield At(f".{missing}", "absent, and its partner is there", "both keys or none", f"add {missing}")


class HttpAccess(Part):
    """How an HTTPS store is reached: a certificate authority of one's own, headers such as Authorization."""

    ca_file: Path | None = values.file("certificate authority of the server", "ca.pem")
    headers: Environment = values.headers()


class Releases(Part):
    """Where artifacts come from, whose signature counts, and how many releases a host keeps."""

    source: str = values.source()
    allowed_signers: Path = key(
        "file of the keys whose signature counts (`turnout release keygen` makes a key)",
        expected="the path of an allowed-signers file",
        example="allowed_signers",
    )
    s3: S3Access = key("access to `s3://`; what is left out comes from boto3's usual places", S3Access, example="{}")
    http: HttpAccess = key("access to `https://`", HttpAccess, example="{}")
    keep: int = key(
        "releases kept on a host beside the current and the previous one", 5, low=1, high=100, unit="releases"
    )
    revoked_signers: Path | None = values.file(
        "keys whose signatures no longer count: a list made by `ssh-keygen -k`, or public keys, one a line",
        "revoked_signers",
        expected="a text",
    )


class Health(Part):
    """The question that tells whether an API process can serve."""

    path: str = values.url_path("a path of the API that answers once it can serve", "/", released=True)
    status: int = values.status("the status of that answer", released=True)
    timeout_s: float = values.seconds("seconds for one answer", 2.0, 0.1, 60, released=False)
    deadline_s: int = values.seconds("seconds from start to the first such answer", 60, 1, 3600, released=False)
    host: str = key(
        "the Host header of the question, wherever it is asked: on the host, by HAProxy, in drills and rehearsals; also"
        " of smoke tests that have none of their own",
        "localhost",
        pattern=r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?",
        expected="a host's name, with or without a port",
        example="shop.example.com",
        released=True,
    )
    headers: Environment = values.headers(released=True)

    @property
    def sent(self) -> dict[str, str]:
        """The headers of the question, Host among them. HOLDS SECRETS."""
        return {"Host": self.host, **self.headers}

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return it with a Host header that stands among the others as `host`."""
        headers = value.get("headers")
        hosts = [name for name in headers or () if str(name).lower() == "host"]
        if not isinstance(headers, dict) or "host" in value or len(hosts) != 1:
            return value
        return {**value, "host": headers[hosts[0]], "headers": {k: v for k, v in headers.items() if k != hosts[0]}}

    def plain(self, *, secrets: bool) -> dict[str, Any]:
        """Return the question with all headers that are sent, or only their names."""
        headers = self.sent if secrets else sorted(self.sent)
        return {**{one: value for one, value in vars(self).items() if one != "host"}, "headers": headers}

    def disagreements(self) -> Iterator[At]:
        """One question may not last longer than all of them, and goes to one host."""
        for name in self.headers:
            if name.lower() == "host":
                yield At(f".headers.{name}", "a Host header beside host", "one host", "leave one of the two out")
        if self.timeout_s > self.deadline_s:
            observed = f"{self.timeout_s:g} s, longer than deadline_s ({self.deadline_s} s)"
            yield At(".timeout_s", observed, "at most deadline_s", "lower timeout_s or raise deadline_s")


class Ports(Part):
    """One port for each color."""

    blue: int = values.port("8001")
    green: int = values.port("8002")


class MetricsPorts(Part):
    """The same for metrics."""

    blue: int = values.port("9101")
    green: int = values.port("9102")


class Api(Part):
    """The API process: `drain_s` is the longest request it is given time for when it stops."""

    command: str = values.command(
        "bin/api --port ${PORT}",
        "as in systemd's `ExecStart`: no shell; `${PORT}` and other variables are replaced; a first word with a"
        " slash that is not absolute lies inside the release (of an image: in its `WORKDIR`)",
        released=True,
    )
    ports: Mapping[str, int] = key(
        "one port for each color, on every `api` host",
        form=Ports,
        read=asdict,
        example="{blue: 8001, green: 8002}",
        released=True,
    )
    health: Health = key(
        "what tells that the API can serve; asked on the host before release, and by HAProxy all the time", Health
    )
    metrics_path: str | None = values.url_path(
        "where Prometheus finds metrics; leave it out when there are none",
        None,
        "/metrics",
        released=False,
    )
    stop_signal: str = values.signal("how the API is told to finish", "SIGTERM", released=True)
    drain_s: int = values.seconds("seconds that it may take to finish: at least your longest answer", 30, released=True)


class Route(Part):
    """Which requests go to a web process: those for a host, those below a path, or both at once."""

    host: str | None = key(
        "the name in the requests' Host header, without a port",
        None,
        pattern=r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*",
        expected="a host's name in small letters, without a port",
        example="admin.example.com",
        released=False,
    )
    path: str | None = key(
        "this path and all below it (`/admin` is not `/administrator`); the process is asked for the whole path",
        None,
        pattern=r"(/[A-Za-z0-9._~-]+)+",
        expected="a path such as /admin, without / at its end; without path a route takes a host's every path",
        example="/admin",
        released=False,
    )

    def disagreements(self) -> Iterator[At]:
        """What no route takes is the API's."""
        if self.host is None and self.path is None:
            yield At("", "neither host nor path", "host, path or both", "write {path: /admin}")

    @property
    def takes(self) -> str:
        """What it takes, as a person reads it."""
        return f"{self.host or ''}{self.path or '/'}"


class Long(Part):
    """Connections that stay open, such as server-sent events and websockets: how they end once users have moved."""

    end: str = key(
        "`keep`: they go on until one side ends them. `close`: `quiesce_signal` has the process end them, as their"
        " protocol does, and clients that connect anew reach the other color",
        choices=("keep", "close"),
        example="close",
        released=False,
    )
    within_s: int = values.seconds(
        "seconds that they have for it, in which the process is not stopped: for `keep` since their color was left, for"
        " `close` since the signal. What is open after that ends when the process stops, by `stop_signal`",
        300,
        1,
        released=False,
    )


class Web(Part):
    """A process beside the API that answers HTTP, on the same hosts; its users are on one color with the API's."""

    command: str = values.command("bin/admin --port ${PORT}", "as `api.command`", released=True)
    ports: Mapping[str, int] = key(
        "one port for each color, on every `api` host",
        form=Ports,
        read=asdict,
        example="{blue: 8003, green: 8004}",
        released=True,
    )
    route: Route = key(
        "which requests go to it. One with a host comes before one without, then the longer path; what no route takes"
        " is the API's",
        example="{path: /admin}",
        released=False,
    )
    health: Health = key("as `api.health`, of this process", Health)
    metrics_path: str | None = values.url_path("as `api.metrics_path`", None, "/metrics", released=False)
    quiesce_signal: str | None = values.signal(
        "has it end its long connections (`long.end: close`); it goes on answering requests", released=True
    )
    stop_signal: str = values.signal("how it is told to finish", "SIGTERM", released=True)
    drain_s: int = values.seconds("seconds that it may take to finish", 30, released=True)
    long: Long | None = key(
        "for connections that stay open; leave it out when there are none",
        None,
        example="{end: close}",
        released=False,
    )

    def disagreements(self) -> Iterator[At]:
        """A signal that ends connections is not the one that ends the process."""
        closes = self.long is not None and self.long.end == "close"
        if closes and self.quiesce_signal is None:
            expected = "a signal after which the process ends its long connections and goes on answering"
            yield At(".quiesce_signal", "absent, and long.end is close", expected, "write quiesce_signal: SIGUSR1")
        if self.quiesce_signal is not None and not closes:
            observed = f"{self.quiesce_signal}, and long.end is not close: it would never be sent"
            yield At(".quiesce_signal", observed, "long: {end: close} beside it", "add long, or remove quiesce_signal")
        if self.quiesce_signal is not None and self.quiesce_signal == self.stop_signal:
            observed = f"{self.stop_signal}, which is also stop_signal"
            remedy = "write another signal, or long: {end: keep}: stop_signal then ends what is open"
            yield At(".quiesce_signal", observed, "a signal after which it goes on running", remedy)


class Ready(Part):
    """How a worker says that it is ready; a release waits for it before any user's request reaches the candidate."""

    command: str | None = values.command(
        "bin/worker-ready", "asked every second as the worker's user, with its files and environment: 0 is ready", None
    )
    file: str | None = key(
        "a file that it writes, as an absolute path in the worker's own view: `/tmp` is each process's own. It must be"
        " newer than the process",
        None,
        pattern=r"/[^\n]*[^/\n]",
        expected="the absolute path of a file",
        example="/tmp/ready",  # noqa: S108 - a process's own
    )
    notify: bool = key("with true it sends `READY=1`, as `sd_notify` does", False)
    timeout_s: int = values.seconds("seconds from its start in which it must say so", 60, 1, 3600)

    def disagreements(self) -> Iterator[At]:
        """It is said in one way."""
        ways = [name for name in ("command", "file", "notify") if getattr(self, name)]
        if len(ways) != 1:
            yield At(
                "", " and ".join(ways) or "neither command, file nor notify", "one of them", "write {notify: true}"
            )


class Worker(Part):
    """One kind of worker, `instances` of it on each of its hosts; quiesced, drained and put back by itself."""

    command: str = values.command("bin/worker", "as `api.command`", released=True)
    group: str | None = key(
        "inventory group below `worker` whose hosts run it, and run no kind that names no group; `worker` for all of"
        " them",
        None,
        pattern=r"[A-Za-z_][A-Za-z0-9_]*",
        expected="the name of an inventory group",
        example="mailers",
        by_default="`worker`, without hosts of other kinds' groups",
        released=True,
    )
    instances: int = key(
        "processes of it on each of its hosts", 1, low=1, high=64, unit="processes on each host", released=True
    )
    quiesce_signal: str | None = values.signal(
        "tells a worker to take no new jobs and finish what it holds (asynq: `SIGTSTP`)",
        released=True,
    )
    resume_signal: str | None = values.signal(
        "tells a quiesced worker to go on; without it the worker is restarted", released=True
    )
    stop_signal: str = values.signal("how it is told to finish and exit", "SIGTERM", released=True)
    drain_s: int = values.seconds("seconds that it may take to finish", 30, released=True)
    ready: Ready | None = key(
        "how it says that it is ready; leave it out, and running is ready",
        None,
        example="{notify: true}",
        released=True,
    )
    idle_s: int = values.seconds(
        "seconds for which jobs may wait in a queue of `checklist.queues` while the new workers take none of them, and"
        " the old ones are quiesced; then the release is put back",
        60,
        1,
        released=False,
    )
    metrics_port: Mapping[str, int] | None = key(
        "a port for each color where Prometheus finds metrics, as `METRICS_PORT` in the environment; instance 2 has"
        " the next one, and so on; no two kinds share one",
        None,
        form=MetricsPorts,
        read=asdict,
        example="{blue: 9101, green: 9102}",
        released=True,
    )
    metrics_path: str = values.url_path("where on that port", "/metrics", "/metrics", released=False)

    def metrics_ports(self, color: str) -> tuple[int, ...]:
        """Return the metrics port of every instance of a color: instance k has the declared port + k - 1."""
        if self.metrics_port is None:
            return ()
        return tuple(self.metrics_port[color] + k for k in range(self.instances))

    def disagreements(self) -> Iterator[At]:
        """Signals that undo each other, and ports beyond the last one."""
        if self.quiesce_signal == self.stop_signal:
            observed = f"{self.stop_signal}, which is also stop_signal"
            remedy = "remove quiesce_signal when the worker has none: stop_signal then does both"
            yield At(".quiesce_signal", observed, "a signal after which the worker goes on running", remedy)
        if self.resume_signal is not None and self.quiesce_signal in (None, self.resume_signal):
            observed = "there is no quiesce_signal, or it is the same one"
            remedy = "remove resume_signal, or give quiesce_signal one of its own"
            yield At(".resume_signal", observed, "a signal that undoes quiesce_signal", remedy)
        highest = 65536 - self.instances
        for color, port in (self.metrics_port or {}).items():
            if port > highest:
                expected = f"a whole number of port from 1024 to {highest}: every instance has one of its own"
                yield At(f".metrics_port.{color}", f"the number {port}", expected, f"write {color}: 9101")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise Wrong("no time zone", "a name such as Europe/Berlin", "write zone: UTC") from None
    return name


class Scheduler(Part):
    """The process that must run exactly once."""

    command: str = values.command("bin/scheduler", "as `api.command`", released=True)
    stop_signal: str = values.signal("how it is told to finish and exit", "SIGTERM", released=True)
    drain_s: int = values.seconds("seconds that it may take to finish", 10, released=True)
    due: tuple[str, ...] = key(
        "when its entries are due, as in crontab(5), for a scheduler that does not catch up: it changes color in a gap",
        (),
        expected="a list of cron expressions",
        example='["0 9 * * *"]',
        item=Key(read=cron, expected="a cron expression", example='"0 9 * * *"', json={"type": "string"}),
        released=False,
    )
    zone: str = key(
        "the time zone of `due`", "UTC", expected="a time zone", example="Europe/Berlin", check=_zone, released=False
    )
    shown_by: str | None = key(
        "the library that shows its entries in Redis, where they are read instead of `due` or as well",
        None,
        choices=("asynq",),
        example="asynq",
        released=False,
    )
    redis_from: str = key(
        "the variable of `environment` with the address of that Redis",
        "REDIS_URL",
        expected="a variable of environment",
        example="REDIS_URL",
        released=False,
    )
    gap_s: float = values.seconds(
        "seconds for which nothing may be due when it changes color", 15, 1, 3600, released=False
    )
    wait_s: float = values.seconds(
        "seconds that a release waits for such a gap; a rollback never does", 120, 0, 3600, released=False
    )


def _calendar(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise Wrong("no time", "a time as in systemd.time(7), or a list of them", "write on_calendar: daily")
    for one in texts:
        if "\n" in one or "%" in one or not one.isprintable():
            raise Wrong(f"{one!r:.60}", "a time of one line, without %", "write on_calendar: daily")
    return tuple(one.strip() for one in texts)


class Timer(Part):
    """A command that systemd starts at given times, in exactly one color on one host."""

    command: str = values.command("bin/manage clearsessions", "as `api.command`; it runs and ends", released=True)
    on_calendar: tuple[str, ...] = key(
        "when it starts, as in systemd.time(7), a time or a list of them; a release asks `systemd-analyze calendar` on"
        " its hosts",
        expected="a time as in systemd.time(7)",
        example='"Mon..Fri 09:00 Europe/Berlin"',
        read=_calendar,
        json={"type": ["string", "array"], "items": {"type": "string"}},
        released=True,
    )
    persistent: bool = key(
        "with true it is started once for what was due while no timer ran, as at a switch", False, released=True
    )
    timeout_s: int = values.seconds(
        "seconds after which it is ended and counts as failed", 3600, 1, 30 * DAY_S, released=True
    )
    random_delay_s: int = values.seconds(
        "seconds by which each start may be put off, so that not all come at once", 0, released=True
    )
    stop_signal: str = values.signal("how it is told to end", "SIGTERM", released=True)
    drain_s: int = values.seconds(
        "seconds that one which runs at a switch is waited for, before it is told to end", 10, released=True
    )


@dataclass(frozen=True)
class Process:
    """One process of a service: its kind (`api`, `worker`, …), its name where its kind has several, how it runs."""

    kind: str
    part: Api | Web | Worker | Scheduler | Timer
    name: str = ""

    @property
    def label(self) -> str:
        """What stands in the names of its units: `worker-mails`, or the kind alone."""
        return f"{self.kind}-{self.name}" if self.name else self.kind

    @property
    def key(self) -> str:
        """Where it stands in the service file."""
        return f"{'web' if self.kind == 'web' else f'{self.kind}s'}.{self.name}" if self.name else self.kind

    @property
    def instances(self) -> int:
        """How many of it run on each of its hosts."""
        return getattr(self.part, "instances", 1)

    @property
    def group(self) -> str | None:
        """The inventory group that its declaration names."""
        return getattr(self.part, "group", None)


class Migrate(Part):
    """The commands that move the schema, and what only they are given."""

    instead = "tool", "command"

    up: str = values.command("bin/migrate up", "applies all that is pending", released=True)
    version: str = values.command(
        "bin/migrate version",
        "prints the last migration that is applied: a number, a timestamp, a hash or its name; nothing or 0 for none."
        " With `tool`: what that tool prints",
        released=True,
    )
    down: str | None = values.command(
        "bin/migrate down", "takes the last migration back; only rehearsals use it", None, released=False
    )
    timeout_s: int = values.seconds("seconds that one of these commands may take", 300, 1, released=False)
    ignore_tables: tuple[str, ...] = key(
        "tables that a framework fills by itself, such as Django's `django_content_type` and `auth_permission`: "
        "rehearsals compare no rows of theirs",
        (),
        example="[django_content_type, auth_permission]",
        expected="a list of tables, with the schema where it is not public",
        item=Key(pattern=r"[^\s,]{1,127}", expected="the name of a table", example="auth_permission"),
        released=False,
    )
    environment: Environment = values.variables(
        "variables that only migrations get, such as the address with the role that may change the schema",
        reserved=False,
        released=True,
    )
    environment_file: str | None = values.environment_file("the same from a file")
    environment_syntax: str | None = values.environment_syntax()
    user: str = values.user(
        "system user that migrations run as: not the service's, which could read the owner's password in `/proc`",
        "`<name>-migrate`",
        "shop-migrate",
        released=True,
    )
    tool: str | None = key(
        "your migration tool, whose output and way out of a half-failed migration are then known; with `command` its"
        " `up`, `version` and `down` need not be written ([tools](#migration-tools))",
        None,
        choices=tuple(TOOLS),
        example="alembic",
        released=False,
    )
    command: str | None = values.command(
        "bin/alembic",
        "how the tool is called; what it is to do is added at the end",
        None,
        released=False,
    )

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return it with the tool's own commands where none are written."""
        tool, command = value.get("tool"), value.get("command")
        if not isinstance(command, str) or not isinstance(tool, str):
            return value
        return {name: f"{command.strip()} {words}" for name, words in TOOLS.get(tool, {}).items()} | value

    def disagreements(self) -> Iterator[At]:
        """Only a known tool has commands that are known."""
        if self.command and not self.tool:
            expected = f"tool as well, one of {', '.join(TOOLS)}"
            yield At(".command", "a command of no tool", expected, "add tool:, or write up: and version: in full")


class Bucket(Part):
    """What keeps a user on one color: a header, a cookie, or (neither) the source address."""

    header: str | None = values.header("a header that tells users apart", "a header's name", "Authorization")
    cookie: str | None = values.header("a cookie that tells users apart", "a cookie's name", "session")

    def disagreements(self) -> Iterator[At]:
        """Users are told apart in one way."""
        if self.header and self.cookie:
            yield At("", "both header and cookie", "one of them, or {}", "remove one")

    def plain(self, *, secrets: bool) -> dict[str, str]:  # noqa: ARG002 - there is none here
        """Return what is set."""
        return {name: value for name, value in vars(self).items() if value is not None}


class SmokeTest(Part):
    """One request that a candidate must answer before any user's request reaches it."""

    path: str = values.url_path("where it goes")
    method: str = key("HTTP method", "GET", choices=_METHODS, expected=f"one of {', '.join(_METHODS)}", example="GET")
    status: int = values.status("the status that is wanted")
    contains: str | None = key(
        "a text that the answer must hold", None, expected="a text that the answer holds", example='"ok"'
    )
    body: str | None = key(
        "a text, or a mapping or list that is sent as JSON",
        None,
        secret=True,
        pattern=r"[\s\S]*",
        expected="a text, or a mapping sent as JSON",
        remedy="write it as a text in quotes",
        json={"type": ["string", "object", "array", "number", "boolean"]},
    )
    headers: Environment = values.headers()

    def to(self, host: str) -> SmokeTest:
        """Return the same request with that Host, where it has none of its own."""
        if any(name.lower() == "host" for name in self.headers):
            return self
        return replace(self, headers=Environment({"Host": host, **self.headers}))

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return the body as text; one that was written as values is sent as JSON, and says so."""
        if isinstance(value.get("body"), str | None):
            return value
        try:
            value = {**value, "body": json.dumps(value["body"])}
        except (TypeError, ValueError):
            return value
        headers = value.get("headers", {})
        if isinstance(headers, dict) and not any(str(name).lower() == "content-type" for name in headers):
            value["headers"] = {**headers, "Content-Type": "application/json"}
        return value


class Step(Part):
    """A share of traffic in basis points, and how long it is held before the next."""

    share_bp: int = key(
        "the candidate's share in basis points: growing, the last one 10000",
        low=1,
        high=_WHOLE_TRAFFIC_BP,
        unit="basis points",
        example="500",
    )
    hold_s: float = values.seconds("seconds until the next one; counts where no judge decides", 5)


class Guard(Part):
    """When HAProxy's own counters end a release: at least `min_5xx` and more than `max_5xx_ratio` in a step."""

    max_5xx_ratio: float = key("5xx per request above which it is", 0.02, low=0, high=1, unit="5xx per request")
    min_5xx: int = key("5xx below which it is not", 3, low=1, high=1_000_000, unit="answers")


class Judge(Part):
    """What decides over a release: the SLOs in the folder `slos`, read from `prometheus`, a URL.

    A step that neither promotes nor can be judged for `patience_s` ends as undecided. After 100 % the watch lasts
    `bake_s`, at least `fastest_window_s`, the shortest window of the alerts on these SLOs. `probes_per_s` synthetic
    requests a second go through every edge to each color, 0 for none.
    """

    prometheus: str = key(
        "address of the Prometheus that judges the releases",
        pattern=r"https?://[^@\s?#]+",
        expected="the address of a Prometheus, without a user in it",
        example="http://10.0.0.41:9090",
        hidden=True,  # an address may hold a password
    )
    slos: Path = values.file(
        "folder of the SLO files, from the inventory's folder; `examples/slos/` has one for an application without"
        " metrics",
        "slos",
        Path("slos"),
        "the path of a folder of SLO files",
    )
    patience_s: float = values.seconds(
        "seconds in one step without a decision, or without sight, after which everything is put back", 600, 1
    )
    bake_s: float = values.seconds(
        "seconds of watching at 100 % before the release is confirmed; at least `fastest_window_s`",
        300,
        1,
        7 * DAY_S,
    )
    fastest_window_s: float = values.seconds(
        "shortest window of the alerts on these SLOs; 300 for those of `turnout slo rules`", 300, 1
    )
    probes_per_s: float = key(
        "synthetic requests a second through every edge to each color while a release is judged: the requests of"
        " `smoke`, in turn",
        0,
        high=100,
        unit="requests a second",
    )


class Command(Part):
    """A command of the application that is a step of a release, with the environment, user and isolation of the API."""

    name: str = key(
        "how it is called in output, journal and reports",
        pattern=r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*",
        expected="a text of one line, another one for each command",
        example="collect static files",
        released=False,
    )
    run: str = values.command("bin/manage collectstatic --noinput", "as `api.command`", released=True)
    when: str = key(
        "`before_start`: before the candidate's API starts. `before_traffic`: once it answers on every host, before any"
        " user's request. `after_promotion`: once the release is in service; a failure is told, and the release stands",
        choices=("before_start", "before_traffic", "after_promotion"),
        example="before_start",
        released=True,
    )
    hosts: str = key(
        "`one`: on the first host of the group `api`; `every`: on each host of `api` and `worker`",
        "one",
        choices=("one", "every"),
        released=True,
    )
    timeout_s: int = values.seconds(
        "seconds after which it, or what undoes it, is ended, and has failed", 300, 1, released=False
    )
    undo: str | None = values.command(
        "bin/manage forget",
        "undoes it where it ran and the release goes back: in a put-back, the last first, and in a rollback",
        None,
        released=True,
    )
    may_fail: bool = key("with true a failure is only told", False, released=False)


class Directory(Part):
    """A directory that both colors share on a host, below `/var/lib/NAME`; never removed by Turnout."""

    path: str = key(
        "inside the release's folder (of an image: in its `WORKDIR`), or absolute: below `/var/lib/NAME`, or another"
        " place of an image. It lies in `/var/lib/NAME`, and every process, migration and command sees it at its path",
        check=directories.usable,
        pattern=r"[A-Za-z0-9._@+/-]+",
        expected="a path inside the release, or an absolute one of an image or below /var/lib/NAME, without . and ..",
        example="media",
        released=True,
    )
    hosts: str | None = key(
        "where the service has several hosts, what holds for it: `shared_file_system`, one that the team has mounted"
        " there on each; `each`: each host has its own, which may differ (a cache)",
        None,
        choices=("each", "shared_file_system"),
        example="shared_file_system",
        released=False,
    )


class Watch(Part):
    """What guards the release in service between deploys: with `rollback_on_page` a page on its SLOs takes it back."""

    rollback_on_page: bool = key(
        "with true, `turnout watch` lays a guard of the release between deploys: a page on its SLOs takes it back"
        " while the one before it is warm",
        False,
    )


_LOGINS = Key(
    pattern=r"[a-z][a-z0-9_-]{0,62}",
    expected="the name of a login: small letters, digits, _ and -, a letter first",
    example="shop_a",
)


class Rotation(Part):
    """A credential that `turnout rotate` rotates: two logins of one server, of which one is in service."""

    environment: tuple[str, ...] = key(
        "variables of `service.environment` in which the login stands, by `{{ rotated.NAME.user }}` and"
        " `{{ rotated.NAME.password }}`",
        expected="a list of variables",
        example="[DATABASE_URL]",
        item=Key(pattern=KEY.pattern, expected="the name of a variable", example="DATABASE_URL"),
    )
    postgres: tuple[str, ...] | None = key(
        "two login roles of PostgreSQL, members of the same roles, that own nothing and have no rights of their own",
        None,
        expected="a list of two login roles",
        example="[shop_a, shop_b]",
        item=_LOGINS,
    )
    redis: tuple[str, ...] | None = key(
        "two users of Redis, which the rotation makes with `rules`",
        None,
        expected="a list of two users",
        example="[shop_a, shop_b]",
        item=_LOGINS,
    )
    rules: str | None = key(
        "what these users may do, in words of Redis's `ACL SETUSER`, without passwords",
        None,
        pattern=r"[~%&+@a-zA-Z0-9*:|_ -]*[^ ][~%&+@a-zA-Z0-9*:|_ -]*",
        expected="rules of ACL SETUSER such as ~* &* +@all -@dangerous, without > < # and nopass",
        example='"~* &* +@all -@admin -@dangerous +info"',
    )

    @property
    def pair(self) -> tuple[str, ...]:
        """The two logins."""
        return self.postgres or self.redis or ()

    def disagreements(self) -> Iterator[At]:
        """Two logins of one server, and rules for those that the rotation makes."""
        kinds = [name for name in ("postgres", "redis") if getattr(self, name) is not None]
        if len(kinds) != 1:
            observed = " and ".join(kinds) or "neither postgres nor redis"
            yield At("", observed, "one of them", "write postgres: [shop_a, shop_b]")
            return
        if len(set(self.pair)) != 2 or len(self.pair) != 2:
            remedy = f"write {kinds[0]}: [shop_a, shop_b]"
            yield At(f".{kinds[0]}", f"{len(set(self.pair))} names", "two different ones", remedy)
        if (self.rules is None) != (self.redis is None):
            observed = "none, and the users are to be made" if self.redis else "rules of Redis for roles of PostgreSQL"
            remedy = 'write rules: "~* &* +@all -@admin -@dangerous +info"' if self.redis else "remove it"
            yield At(".rules", observed, "rules with redis, none with postgres", remedy)
        words = (self.rules or "").split()
        if any(word in ("nopass", "resetpass", "on", "off", "reset") for word in words):
            yield At(".rules", "a word about passwords", "what the users may do", "remove it: the rotation sets those")
        if not self.environment:
            yield At(".environment", "no variable", "those in which the login stands", "write [DATABASE_URL]")


class Acceptance(Part):
    """What of a release's acceptance packs is asked in a deploy."""

    reading: bool = key(
        "with true what only reads is asked through every edge, after the smoke tests and before the first user; what"
        " is found ends the release",
        False,
        released=False,
    )
    reading_s: int = values.seconds("seconds that it may ask", 20, 1, 300, released=False)


class Service(Part):
    """A whole service file, checked, with its defaults filled in."""

    name: str = key(
        "lower-case letters, digits and dashes; user, folders and units are named after it",
        pattern=NAME,
        expected="a name of 1 to 31 lower-case letters, digits and inner hyphens, a letter first",
        example="shop",
        released=True,
    )
    releases: Releases = key("where releases come from", example="{source: ...}", released=False)
    api: Api = key("the API, blue and green", example='{command: "bin/api", ports: {...}}')
    web: Mapping[str, Web] = key(
        "processes beside the API that answer HTTP, each under a name ([more](#other-web-processes)); leave it out when"
        " there is none",
        dict,
        names=_NAMES,
        item=Key(expected="a mapping", example='{command: "bin/admin", ports: {...}, route: {path: /admin}}'),
        example='{admin: {command: "bin/admin", ports: {blue: 8003, green: 8004}, route: {path: /admin}}}',
    )
    user: str = values.user("system user that the processes run as", "`name`", "shop", released=True)
    packages: tuple[str, ...] = key(
        "Debian packages that your release needs on its hosts (an interpreter, a library)",
        (),
        expected="a list of Debian packages",
        example="[libpq5]",
        item=Key(pattern=r"[a-z0-9][a-z0-9+.-]+", expected="the name of a Debian package", example="libpq5"),
        released=False,
    )
    workers: Mapping[str, Worker] = key(
        "your kinds of worker, each under a name; leave it out when there is none",
        dict,
        example="{jobs: {command: bin/worker}}",
        names=_NAMES,
    )
    scheduler: Scheduler | None = key("for a process that must run exactly once; leave it out when there is none", None)
    timers: Mapping[str, Timer] = key(
        "commands that are started at given times, by name: in the color in service, on one host, the scheduler's",
        dict,
        names=_NAMES,
        item=Key(expected="a mapping", example='{command: "bin/report", on_calendar: daily}'),
        example='{nightly: {command: "bin/report", on_calendar: daily}}',
    )
    takeover_s: int | None = values.seconds(
        "seconds from the last word of the host that runs scheduler and timers until another `worker` host takes them"
        " over by itself; at least their `drain_s` and 45. Without it a person says that the host is gone",
        None,
        45,
        released=False,
    )
    migrate: Migrate | None = key("commands of your migration tool; leave it out when there is none", None)
    environment: Environment = values.variables(
        "variables of every process. Values are secrets: use Ansible Vault, they are never shown",
        released=True,
    )
    environment_file: str | None = values.environment_file(
        "an environment file, such as `.env`, beside the inventory; `environment` adds what it has not"
    )
    environment_syntax: str | None = values.environment_syntax()
    commands: tuple[Command, ...] = key(
        "commands that are steps of a release ([commands](commands.md#commands-of-a-release))",
        (),
        expected="a list of commands",
        example="[{name: collect static files, run: bin/manage collectstatic --noinput, when: before_start}]",
    )
    directories: tuple[Directory, ...] = key(
        "directories that stay: both colors share them ([files that stay](files.md))",
        (),
        expected="a list of directories",
        example="[{path: media}]",
    )
    bucket: Bucket = key(
        "what keeps one user on one color while the share grows: `{header: Authorization}` or `{cookie: session}`",
        Bucket,
        by_default="source address",
        released=False,
    )
    limits: Limits | None = key(
        "what the edge lets pass of each client, by route ([limits](limits.md)); leave it out, and there is no limit",
        None,
        example="{routes: [{name: login, path: /api/login, by_address: {requests: 10, per_s: 60}}]}",
        released=False,
    )
    logs: Logs = key("what must not stand in its logs, and where they lie ([logs](logs.md))", Logs, released=False)
    smoke: tuple[SmokeTest, ...] = key(
        "requests that must succeed through every edge before any user's request reaches the candidate",
        (),
        expected="a list of requests",
        example="[{path: /api/health/, status: 200}]",
        by_default="the health check",
        released=False,
    )
    acceptance: Acceptance = key(
        "what of a release's acceptance packs is asked in a deploy ([acceptance](acceptance.md))",
        Acceptance,
        released=False,
    )
    steps: tuple[Step, ...] = key(
        "shares of traffic that the candidate gets, one after the other",
        (Step(500, 5), Step(2500, 5), Step(_WHOLE_TRAFFIC_BP, 5)),
        expected="a list of steps",
        example=_STEPS,
        by_default="5 %, 25 %, 100 %, 5 s each",
        released=False,
    )
    steady_s: int = values.seconds(
        "seconds that every process of a new version must have run on end before it is confirmed and an old worker is"
        " stopped; a worker or scheduler that was restarted meanwhile ends the release",
        45,
        1,
        3600,
        released=False,
    )
    guard: Guard = key("when HAProxy's own count of the candidate's 5xx sends an edge back", Guard, released=False)
    judge: Judge | None = key(
        "leave it out, and steps go by the clock, guarded by HAProxy's own counts alone ([judge.md](judge.md))",
        None,
        example="{prometheus: ...}",
        released=False,
    )
    rotation: Mapping[str, Rotation] = key(
        "credentials that `turnout rotate` rotates, by name ([rotation](rotation.md)); the login itself stands in"
        " `environment`, and is released as a configuration is",
        dict,
        names=_NAMES,
        item=Key(expected="a mapping", example="{postgres: [shop_a, shop_b], environment: [DATABASE_URL]}"),
        example="{database: {postgres: [shop_a, shop_b], environment: [DATABASE_URL]}}",
        released=False,
    )
    warm_s: int = values.seconds(
        "seconds after a release was confirmed in which the one before it is warm: `watch` may go back to it",
        3600,
        high=30 * DAY_S,
        released=False,
    )
    watch: Watch = key("what guards the release in service", Watch, released=False)

    def processes(self) -> tuple[Process, ...]:
        """Return the processes that this service has, the API first."""
        return (
            Process("api", self.api),
            *(Process("web", part, name) for name, part in self.web.items()),
            *(Process("worker", part, name) for name, part in self.workers.items()),
            *([Process("scheduler", self.scheduler)] if self.scheduler is not None else []),
            *(Process("timer", part, name) for name, part in self.timers.items()),
        )

    @classmethod
    def gone(cls, name: str, value: object) -> str:
        """Return what stands for `worker`, of which there was one."""
        if name != "worker":
            return ""
        lines = yaml.safe_dump({"workers": {"jobs": value}}, default_flow_style=True, sort_keys=False, width=10_000)
        return f"write in its place (jobs is a name of your choice): {lines.strip()[1:-1]}"

    @classmethod
    def written(cls, value: dict[Any, Any]) -> dict[Any, Any]:
        """Return it without a `worker` that holds nothing."""
        return {name: one for name, one in value.items() if name != "worker" or one is not None}

    def public(self) -> dict[str, Any]:
        """Return the service without any secret: names of variables and headers instead of their values."""
        return dict(plain(self, secrets=False))

    def full(self) -> dict[str, Any]:
        """Return the service with its secrets; only for parameters that Ansible never shows."""
        return dict(plain(self, secrets=True))

    def completed(self, *, smoke: bool) -> Service:
        """Return the service with the defaults that follow from other keys; with `smoke` the health check is one."""
        user = self.user or self.name
        migrate = self.migrate
        if migrate is not None and not migrate.user:
            migrate = replace(migrate, user=f"{self.name[:_MIGRATE_USER_STEM]}-migrate")
        health = self.api.health
        tests = tuple(one.to(health.host) for one in self.smoke)
        if smoke:
            tests = (SmokeTest(health.path, status=health.status, headers=Environment(health.sent)),)
        return replace(self, user=user, migrate=migrate, smoke=tests)

    def disagreements(self) -> Iterator[At]:
        """Users, ports and variables that do not go together."""
        user = self.user or self.name
        if user == "root":
            yield At(".user", "root", "a user of the service's own", f"write user: {self.name}, or remove the key")
        if self.migrate is not None and self.migrate.user in ("root", user):
            yield At(
                ".migrate.user",
                self.migrate.user,
                "a user of the migrations' own: the service's user could read the owner's password in /proc",
                f"write user: {self.name[:_MIGRATE_USER_STEM]}-migrate, or remove the key",
            )
        yield from self._growing()
        yield from self._port_clashes()
        yield from self._route_clashes()
        single: list[Scheduler | Timer] = [*self.timers.values(), *filter(None, [self.scheduler])]
        least_s = _TAKEOVER_S + max((one.drain_s for one in single), default=0)
        if self.takeover_s is not None and self.takeover_s < least_s:
            expected = f"at least {least_s} s: {_TAKEOVER_S} s, and what a process has to stop in (drain_s)"
            yield At(".takeover_s", f"{self.takeover_s} s", expected, f"write takeover_s: {least_s}, or lower drain_s")
        measured = any(worker.metrics_port is not None for worker in self.workers.values())
        for name in self.environment:
            if name in (*RESERVED, *([METRICS_PORT] if measured else ())):
                yield At(f".environment.{name}", *values.set_by_turnout(name, "service.environment"))
        yield from self._unset_variables()
        for credential, rotated in self.rotation.items():
            for at, name in enumerate(rotated.environment):
                if name not in self.environment:
                    where = f".rotation.{credential}.environment[{at}]"
                    remedy = f"add {name} to service.environment, or remove it here"
                    yield At(where, f"{name}, which service.environment has not", "variables that are set", remedy)
        names = [command.name for command in self.commands]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield At(f".commands[{index}].name", shown(name), "another name for each command", "rename one of them")
        yield from directories.faults(self.name, [one.path for one in self.directories])

    def _growing(self) -> Iterator[At]:
        steps = self.steps
        if not steps or steps[-1].share_bp != _WHOLE_TRAFFIC_BP:
            last = f"the last share is {steps[-1].share_bp} bp" if steps else "no step"
            yield At(".steps", last, "a last step of 10000 bp, which is all traffic", f"write steps: {_STEPS}")
        for index, (one, two) in enumerate(itertools.pairwise(steps), start=1):
            if two.share_bp <= one.share_bp:
                observed = f"{two.share_bp} bp after {one.share_bp} bp"
                remedy = "put the steps in growing order, each share once"
                yield At(f".steps[{index}].share_bp", observed, "shares that grow from step to step", remedy)

    def _port_clashes(self) -> Iterator[At]:
        taken: dict[int, str] = {}
        uses = [(f"api.ports.{color}", port) for color, port in self.api.ports.items()]
        for name, web in self.web.items():
            uses += [(f"web.{name}.ports.{color}", port) for color, port in web.ports.items()]
        uses += [
            (f"workers.{name}.metrics_port.{color}", port)
            for name, worker in self.workers.items()
            for color in COLORS
            for port in worker.metrics_ports(color)
        ]
        for where, port in uses:
            other = taken.setdefault(port, where)
            if other != where:
                expected = "a port of its own for every process in every color"
                observed = f"port {port}, which service.{other} has too"
                yield At(f".{where}", observed, expected, f"change {where} or {other}")

    def _route_clashes(self) -> Iterator[At]:
        """Tell routes that two processes have, and those that hide what the API is asked for itself."""
        taken: dict[str, str] = {}
        health = self.api.health
        asked = health.path.partition("?")[0]
        for name, web in self.web.items():
            route = web.route
            if route.host is None and route.path is None:
                continue
            other = taken.setdefault(route.takes, name)
            if other != name:
                observed = f"{route.takes}, which service.web.{other}.route takes too"
                yield At(f".web.{name}.route", observed, "another host or path for each", f"change {name} or {other}")
            hosts = (None, health.host.rpartition(":")[0] or health.host)
            if route.host in hosts and f"{asked}/".startswith(f"{route.path or ''}/"):
                observed = f"{route.takes}, which hides the API's health check ({health.path})"
                expected = "a route that leaves api.health.path to the API: smoke tests ask for it through every edge"
                yield At(f".web.{name}.route", observed, expected, "write another path, or a host of its own")

    def _unset_variables(self) -> Iterator[At]:
        """Tell variables that nobody sets (systemd would put nothing there) and those that look like secrets."""
        common = {*values.GIVEN_VARIABLES, *self.environment, *(name for name in RESERVED if name != "PORT")}
        rows = [("api.command", self.api.command, {*common, "PORT"})]
        rows += [(f"web.{name}.command", web.command, {*common, "PORT"}) for name, web in self.web.items()]
        for index, one in enumerate(self.commands):
            texts = {"run": one.run, "undo": one.undo}
            rows += [(f"commands[{index}].{name}", text, {*common, "PORT"}) for name, text in texts.items() if text]
        for kind, worker in self.workers.items():
            known = common | ({METRICS_PORT} if worker.metrics_port is not None else set())
            rows.append((f"workers.{kind}.command", worker.command, known))
            if worker.ready is not None and worker.ready.command is not None:
                rows.append((f"workers.{kind}.ready.command", worker.ready.command, known))
        if self.scheduler is not None:
            rows.append(("scheduler.command", self.scheduler.command, common))
        rows += [(f"timers.{name}.command", timer.command, common) for name, timer in self.timers.items()]
        if self.migrate is not None:
            known = common | set(self.migrate.environment)
            migrations = (("up", self.migrate.up), ("down", self.migrate.down), ("version", self.migrate.version))
            rows += [(f"migrate.{name}", text, known) for name, text in migrations if text is not None]
        for name, command, known in rows:
            yield from values.unset_variables(f".{name}", command, known)
