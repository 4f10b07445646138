"""Reads the `service:` variable: every type, range, name and clash is checked, and all faults are told at once."""

from __future__ import annotations

import itertools
import json
import re
import signal
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, Reader, kind_of, nearest, reader_of, shown, shown_key
from turnout.service import commands
from turnout.service.environment import KEY, METRICS_PORT, RESERVED, value_fault
from turnout.service.model import (
    COLORS,
    Api,
    Bucket,
    Environment,
    Guard,
    Health,
    HttpAccess,
    Judge,
    Migrate,
    Releases,
    S3Access,
    Scheduler,
    Service,
    SmokeTest,
    Step,
    Watch,
    Worker,
)

NAME = r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?"
_USER = r"[a-z_][a-z0-9_-]{0,30}"
_PACKAGE = r"[a-z0-9][a-z0-9+.-]+"
_URL_PATH = r"/[^\s]*"
_HEADER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}"  # a header's or cookie's name, RFC 9110
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_WHOLE_TRAFFIC_BP = 10_000
_DAY_S = 86_400
_DEFAULT_STEPS = (Step(500, 5), Step(2500, 5), Step(_WHOLE_TRAFFIC_BP, 5))

_SIGNALS = sorted(s.name for s in signal.Signals if s.name not in ("SIGKILL", "SIGSTOP"))

# Variables that systemd or the login sets; a command may use them without declaring them.
_GIVEN_VARIABLES = frozenset(
    [
        "CACHE_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "HOME",
        "INVOCATION_ID",
        "LANG",
        "LOGNAME",
        "LOGS_DIRECTORY",
        "MAINPID",
        "PATH",
        "RUNTIME_DIRECTORY",
        "SHELL",
        "STATE_DIRECTORY",
        "USER",
    ]
)
_MIGRATE_USER_STEM = 24  # characters of the service's name: users' names have 32 at most
# A command line is visible to every user of a host, so what is called like this must not be put into one.
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|DSN|DATABASE_URL|REDIS_URL"
)


def read_json(text: str) -> object:
    """Return what the variable `service` holds, from the JSON text that a task passes; raises TurnoutError."""
    try:
        value: object = json.loads(text)
    except ValueError:
        raise TurnoutError(
            "service-not-json",
            observed="the parameter `service` is no JSON",
            expected='service: "{{ service | to_json }}"',
            remedy="pass the variable through the filter to_json",
        ) from None
    return value


def load(value: object, *, base_dir: Path, path: str = "service") -> Service:
    """Return the checked service; relative paths of files in it are taken from `base_dir` (the inventory's folder).

    Raises `FaultsError` (code `service-invalid`) with every fault. No message holds a value of an environment, a
    credential, a header or a body.
    """
    faults: list[Fault] = []
    service = _service(reader_of(value, path, faults), base_dir)
    if faults:
        raise FaultsError("service-invalid", f"the variable `{path}`", faults)
    return service


def _service(reader: Reader, base_dir: Path) -> Service:
    name = reader.text(
        "name",
        pattern=NAME,
        required=True,
        expected="a name of 1 to 31 lower-case letters, digits and inner hyphens, a letter first",
        example="shop",
    )
    environment = _environment(reader, "environment", ())
    api = _api(reader.mapping("api", required=True, example='{command: "bin/api", ports: {...}}'))
    worker = _worker(reader.mapping("worker")) if reader.has("worker") else None
    scheduler = _scheduler(reader.mapping("scheduler")) if reader.has("scheduler") else None
    user = _user(reader, name)
    migrate = _migrate(reader.mapping("migrate"), name, user) if reader.has("migrate") else None
    _check_port_clashes(reader, api, worker)
    _check_reserved(reader, environment, worker)
    _check_command_variables(reader, environment, worker, scheduler, migrate)
    service = Service(
        name=name,
        user=user,
        packages=_packages(reader),
        releases=_releases(reader.mapping("releases", required=True, example="{source: ...}"), base_dir),
        api=api,
        worker=worker,
        scheduler=scheduler,
        migrate=migrate,
        environment=environment,
        bucket=_bucket(reader.mapping("bucket")),
        smoke=_smoke(reader, api.health),
        steps=_steps(reader),
        guard=_guard(reader.mapping("guard")),
        judge=_judge(reader.mapping("judge", example="{prometheus: ...}"), base_dir) if reader.has("judge") else None,
        warm_s=reader.whole("warm_s", 0, 30 * _DAY_S, unit="seconds", default=3600),
        watch=_watch(reader.mapping("watch")),
    )
    reader.done()
    return service


def _user(reader: Reader, name: str) -> str:
    user = reader.text(
        "user", default=name, pattern=_USER, expected="the name of a system user", example=name or "shop"
    )
    if user == "root":
        reader.fault("user", "root", "a user of the service's own", f"write user: {name}, or remove the key")
    return user


def _packages(reader: Reader) -> tuple[str, ...]:
    packages: list[str] = []
    items = reader.items("packages", expected="a list of Debian packages", example="[libpq5]")
    for index, item in enumerate(items):
        if isinstance(item, str) and re.fullmatch(_PACKAGE, item):
            packages.append(str(item))
        else:
            reader.fault(f"packages[{index}]", shown(item), "the name of a Debian package", "write e.g. libpq5")
    return tuple(packages)


# Where releases come from ---------------------------------------------------------------------------------------


def _releases(reader: Reader, base_dir: Path) -> Releases:
    signers = reader.text(
        "allowed_signers",
        required=True,
        expected="the path of an allowed-signers file",
        example="allowed_signers",
    )
    revoked = reader.optional_text("revoked_signers", example="revoked_signers")
    releases = Releases(
        source=_source(reader),
        allowed_signers=base_dir / signers,
        s3=_s3(reader.mapping("s3"), base_dir),
        http=_http(reader.mapping("http"), base_dir),
        keep=reader.whole("keep", 1, 100, unit="releases", default=5),
        revoked_signers=base_dir / revoked if revoked else None,
    )
    reader.done()
    return releases


def _source(reader: Reader) -> str:
    expected = "s3://bucket/prefix, https://host/path, or an absolute folder"
    source = reader.text("source", required=True, expected=expected, example="s3://releases/shop")
    if not source:
        return ""
    # Only the scheme is shown from here on: the rest of an address may hold a password.
    url = urllib.parse.urlsplit(source)
    fault: tuple[str, str] | None = None
    if source.startswith("/"):
        return source
    if url.scheme not in ("s3", "http", "https"):
        fault = (f"a text that begins with {source[:8]!r}", "write source: s3://releases/shop")
    elif "@" in url.netloc:
        fault = (
            "an address with a user or password in it",
            "put them into releases.s3 or releases.http.headers",
        )
    elif not url.netloc:
        fault = (f"a {url.scheme} address without a bucket or host", "write source: s3://releases/shop")
    elif url.query or url.fragment:
        fault = ("an address with ? or #", "remove what follows the path")
    if fault is not None:
        reader.fault("source", fault[0], expected, fault[1])
    return source


def _s3(reader: Reader, base_dir: Path) -> S3Access:
    endpoint = reader.optional_text(
        "endpoint",
        pattern=r"https?://[^@\s]+",
        expected="the address of an S3 server, without a user in it",
        example="https://s3.example.com:8333",
    )
    region = reader.optional_text("region", expected="a region's name", example="eu-central-1")
    ca_file = _file(reader, "ca_file", base_dir)
    reader.secret = True
    secrets = {
        key: reader.optional_text(key, expected="a text, best from Ansible Vault", example='"{{ vault_... }}"')
        for key in ("access_key", "secret_key", "session_token")
    }
    if (secrets["access_key"] is None) != (secrets["secret_key"] is None):
        missing = "access_key" if secrets["access_key"] is None else "secret_key"
        reader.fault(missing, "absent, and its partner is there", "both keys or none", f"add {missing}")
    reader.done()
    return S3Access(endpoint=endpoint, region=region, ca_file=ca_file, **secrets)


def _http(reader: Reader, base_dir: Path) -> HttpAccess:
    access = HttpAccess(ca_file=_file(reader, "ca_file", base_dir), headers=_headers(reader))
    reader.done()
    return access


def _file(reader: Reader, key: str, base_dir: Path) -> Path | None:
    name = reader.optional_text(key, expected="the path of a file", example="ca.pem")
    return None if name is None else base_dir / name


# Processes ------------------------------------------------------------------------------------------------------


def _api(reader: Reader) -> Api:
    api = Api(
        command=_command(reader, "command", "bin/api --port ${PORT}"),
        ports=_ports(reader.mapping("ports", required=True, example="{blue: 8001, green: 8002}"), 8001, 1),
        health=_health(reader.mapping("health")),
        metrics_path=_metrics_path(reader),
        stop_signal=_stop_signal(reader),
        drain_s=_drain(reader, 30),
    )
    reader.done()
    return api


def _health(reader: Reader) -> Health:
    health = Health(
        path=_url_path(reader, default="/"),
        status=reader.whole("status", 100, 599, unit="HTTP status", default=200),
        timeout_s=reader.number("timeout_s", 0.1, 60, unit="seconds", default=2.0),
        deadline_s=reader.whole("deadline_s", 1, 3600, unit="seconds", default=60),
    )
    if health.timeout_s > health.deadline_s:
        reader.fault(
            "timeout_s",
            f"{health.timeout_s:g} s, longer than deadline_s ({health.deadline_s} s)",
            "at most deadline_s",
            "lower timeout_s or raise deadline_s",
        )
    reader.done()
    return health


def _url_path(reader: Reader, *, default: str | None = None) -> str:
    return reader.text(
        "path",
        default=default,
        required=default is None,
        pattern=_URL_PATH,
        expected="a path that begins with / and has no blank",
        example="/api/health/",
    )


def _metrics_path(reader: Reader) -> str | None:
    return reader.optional_text(
        "metrics_path",
        pattern=_URL_PATH,
        expected="a path that begins with / and has no blank",
        example="/metrics",
    )


def _worker(reader: Reader) -> Worker:
    command = _command(reader, "command", "bin/worker")
    instances = reader.whole("instances", 1, 64, unit="processes on each host", default=1)
    ports: Mapping[str, int] | None = None
    if reader.has("metrics_port"):
        ports = _ports(reader.mapping("metrics_port", example="{blue: 9101, green: 9102}"), 9101, instances)
    worker = Worker(
        command=command,
        instances=instances,
        quiesce_signal=_signal(reader, "quiesce_signal"),
        resume_signal=_signal(reader, "resume_signal"),
        stop_signal=_stop_signal(reader),
        drain_s=_drain(reader, 30),
        metrics_port=ports,
        metrics_path=_metrics_path(reader) or "/metrics",
    )
    if worker.quiesce_signal == worker.stop_signal:
        reader.fault(
            "quiesce_signal",
            f"{worker.stop_signal}, which is also stop_signal",
            "a signal after which the worker goes on running",
            "remove quiesce_signal when the worker has none: stop_signal then does both",
        )
    if worker.resume_signal is not None and worker.quiesce_signal in (None, worker.resume_signal):
        reader.fault(
            "resume_signal",
            "there is no quiesce_signal, or it is the same one",
            "a signal that undoes quiesce_signal",
            "remove resume_signal, or give quiesce_signal one of its own",
        )
    reader.done()
    return worker


def _scheduler(reader: Reader) -> Scheduler:
    scheduler = Scheduler(
        command=_command(reader, "command", "bin/scheduler"),
        stop_signal=_stop_signal(reader),
        drain_s=_drain(reader, 10),
    )
    reader.done()
    return scheduler


def _migrate(reader: Reader, name: str, service_user: str) -> Migrate:
    default = f"{name[:_MIGRATE_USER_STEM]}-migrate"
    user = reader.text("user", default=default, pattern=_USER, expected="the name of a system user", example=default)
    if user in ("root", service_user):
        reader.fault(
            "user", user, "a user of the migrations' own: the service's user could read the owner's password in /proc",
            f"write user: {default}, or remove the key",
        )  # fmt: skip
    migrate = Migrate(
        up=_command(reader, "up", "bin/migrate up"),
        version=_command(reader, "version", "bin/migrate version"),
        down=_command(reader, "down", "bin/migrate down") if reader.has("down") else None,
        timeout_s=reader.whole("timeout_s", 1, _DAY_S, unit="seconds", default=300),
        environment=_environment(reader, "environment", RESERVED),
        user=user,
    )
    reader.done()
    return migrate


def _command(reader: Reader, key: str, example: str) -> str:
    expected = "a command in systemd's ExecStart syntax"
    command = reader.text(key, required=True, expected=expected, example=f'"{example}"')
    if not command:
        return ""
    if "\n" in command.strip("\n"):
        reader.fault(key, "a text of several lines", expected, f'write it on one line, as `{key}: "{example}"`')
        return ""
    command = command.strip()
    try:
        commands.check_program(command)
    except commands.CommandError as error:
        reader.fault(key, str(error), expected, f'write {key}: "{example}"')
        return ""
    strange = [letter for letter in commands.specifiers(command) if not letter.isalpha()]
    if strange:
        remedy = f"write %% where the program is to get one %: {key}: ... %%{strange[0]}"
        reader.fault(key, f"%{strange[0]}, which systemd cannot resolve", "%% or a specifier of systemd", remedy)
    return command


def _stop_signal(reader: Reader) -> str:
    return _signal(reader, "stop_signal") or "SIGTERM"


def _signal(reader: Reader, key: str) -> str | None:
    if not reader.has(key):
        return None
    value = reader.raw(key)
    if isinstance(value, str) and (value in _SIGNALS or re.fullmatch(r"SIGRTMIN(\+([1-9]|[12]\d|30))?", value)):
        return str(value)
    likely = None
    if isinstance(value, str):
        likely = nearest(f"SIG{value.upper().removeprefix('SIG')}", _SIGNALS)
    expected = "the name of a signal that a process can catch, such as SIGTERM or SIGUSR1"
    reader.fault(key, shown(value), expected, f"write {key}: {likely or 'SIGTERM'}")
    return None


def _drain(reader: Reader, default: int) -> int:
    return reader.whole("drain_s", 0, _DAY_S, unit="seconds", default=default)


def _ports(reader: Reader, example: int, count: int) -> dict[str, int]:
    ports = {
        color: reader.whole(color, 1024, 65536 - count, unit="port", example=str(example + index))
        for index, color in enumerate(COLORS)
        if color in reader.value or reader.need(color, "a port", str(example + index))
    }
    reader.asked.update(COLORS)
    reader.done()
    return ports


# Environment ----------------------------------------------------------------------------------------------------


def _environment(parent: Reader, key: str, reserved: Iterable[str]) -> Environment:
    reader = parent.mapping(key, example="{KEY: value}", secret=True)
    values: dict[str, str] = {}
    for name, value in reader.value.items():
        if not isinstance(name, str) or not KEY.fullmatch(name):
            reader.fault(
                shown_key(name),
                "a name that is no variable of systemd and Turnout",
                "capital letters, digits and _, no digit first",
                "rename it, e.g. DATABASE_URL",
            )
        elif name in reserved:
            _reserved_fault(reader, name)
        else:
            values[str(name)] = _variable(reader, name, value)
    return Environment(values)


def _variable(reader: Reader, name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        remedy = 'write "" for an empty value' if value is None else "write it as one text, in quotes"
        reader.fault(name, kind_of(value), "a text, a number or a boolean", remedy)
        return ""
    text = str(value)
    fault = value_fault(text)
    if fault is not None:
        remedy = "encode it (base64, or \\n written as two characters) and decode it in the program"
        reader.fault(name, fault, "a text of one line", remedy)
        return ""
    return text


def _reserved_fault(reader: Reader, name: str) -> None:
    reader.fault(name, "a variable that Turnout sets itself", "another name", f"remove {name} from {reader.path}")


def _check_reserved(reader: Reader, environment: Environment, worker: Worker | None) -> None:
    reserved = {*RESERVED, METRICS_PORT} if worker is not None and worker.metrics_port is not None else RESERVED
    inside = Reader({}, f"{reader.path}.environment", reader.faults)
    for name in environment:
        if name in reserved:
            _reserved_fault(inside, name)


def _check_command_variables(
    reader: Reader,
    environment: Environment,
    worker: Worker | None,
    scheduler: Scheduler | None,
    migrate: Migrate | None,
) -> None:
    """Refuse variables that nobody sets (systemd would put nothing there) and those that look like secrets."""
    api = reader.value.get("api")
    common = {*_GIVEN_VARIABLES, *environment, *(name for name in RESERVED if name != "PORT")}
    metrics = {METRICS_PORT} if worker is not None and worker.metrics_port is not None else set()
    rows: list[tuple[str, object, set[str]]] = [
        ("api.command", api.get("command") if isinstance(api, Mapping) else None, {*common, "PORT"})
    ]
    if worker is not None:
        rows.append(("worker.command", worker.command, common | metrics))
    if scheduler is not None:
        rows.append(("scheduler.command", scheduler.command, common))
    if migrate is not None:
        known = common | set(migrate.environment)
        rows += [(f"migrate.{key}", getattr(migrate, key), known) for key in ("up", "down", "version")]
    for key, command, known in rows:
        if isinstance(command, str):
            _check_variables_of(reader, key, command, known)


def _check_variables_of(reader: Reader, key: str, command: str, known: set[str]) -> None:
    try:
        names = commands.variables(command)
    except commands.CommandError:
        return  # told already, where the command was read
    for name in names:
        if name not in known:
            likely = nearest(name, known)
            remedy = f"write ${{{likely}}}" if likely else f"add {name} to {reader.path}.environment"
            reader.fault(key, f"${{{name}}}, which nobody sets", "variables that are set", f"{remedy}; $$ is one $")
        elif _SECRET_NAME.search(name):
            reader.fault(
                key,
                f"${{{name}}}, by its name a secret, on a command line, which every user of the host can read",
                "secrets in the environment only",
                f"let the program read {name} from its environment",
            )


# Traffic --------------------------------------------------------------------------------------------------------


def _bucket(reader: Reader) -> Bucket:
    bucket = Bucket(
        header=reader.optional_text("header", pattern=_HEADER, expected="a header's name", example="Authorization"),
        cookie=reader.optional_text("cookie", pattern=_HEADER, expected="a cookie's name", example="session"),
    )
    if bucket.header and bucket.cookie:
        reader.fault(None, "both header and cookie", "one of them, or {}", "remove one")
    reader.done()
    return bucket


def _smoke(parent: Reader, health: Health) -> tuple[SmokeTest, ...]:
    items = parent.items("smoke", expected="a list of requests", example="[{path: /api/health/, status: 200}]")
    if not parent.has("smoke"):
        return (SmokeTest(path=health.path, status=health.status),)
    return tuple(
        _smoke_test(reader_of(item, f"{parent.path}.smoke[{index}]", parent.faults)) for index, item in enumerate(items)
    )


def _smoke_test(reader: Reader) -> SmokeTest:
    method = reader.text("method", default="GET", expected="an HTTP method", example="GET")
    if method not in _METHODS:
        likely = nearest(method.upper(), _METHODS) or "GET"
        reader.fault("method", shown(method), f"one of {', '.join(_METHODS)}", f"write method: {likely}")
    path = _url_path(reader)
    status = reader.whole("status", 100, 599, unit="HTTP status", default=200)
    contains = reader.optional_text("contains", expected="a text that the answer holds", example='"ok"')
    body, is_json = _body(reader)
    headers = dict(_headers(reader))
    if is_json and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    reader.done()
    return SmokeTest(path, method, status, contains, body, Environment(headers))


def _body(reader: Reader) -> tuple[str | None, bool]:
    """Return the body as text, and whether it was written as a mapping or list, to be sent as JSON."""
    value = reader.raw("body")
    if value is None:
        return None, False
    if isinstance(value, str):
        return str(value), False
    try:
        return json.dumps(value), True
    except (TypeError, ValueError):
        reader.fault("body", kind_of(value), "a text, or a mapping sent as JSON", "write it as a text in quotes")
        return None, False


def _headers(parent: Reader) -> Environment:
    reader = parent.mapping("headers", example="{Accept: text/html}", secret=True)
    headers: dict[str, str] = {}
    for name, value in reader.value.items():
        if not isinstance(name, str) or not re.fullmatch(_HEADER, name):
            reader.fault(shown_key(name), "a name that no header can have", "a header's name", "rename it")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            reader.fault(name, kind_of(value), "a text", "write it in quotes")
        elif not str(value).isprintable():
            reader.fault(name, "a text with line ends or control characters", "a text of one line", "remove them")
        else:
            headers[str(name)] = str(value)
    return Environment(headers)


def _steps(parent: Reader) -> tuple[Step, ...]:
    if not parent.has("steps"):
        parent.asked.add("steps")
        return _DEFAULT_STEPS
    example = "[{share_bp: 1000, hold_s: 5}, {share_bp: 10000, hold_s: 5}]"
    items = parent.items("steps", expected="a list of steps", example=example)
    before = len(parent.faults)
    steps = tuple(
        _step(reader_of(item, f"{parent.path}.steps[{index}]", parent.faults)) for index, item in enumerate(items)
    )
    if len(parent.faults) > before:
        return steps
    if not steps or steps[-1].share_bp != _WHOLE_TRAFFIC_BP:
        last = f"the last share is {steps[-1].share_bp} bp" if steps else "no step"
        parent.fault("steps", last, "a last step of 10000 bp, which is all traffic", f"write steps: {example}")
    for index, (one, two) in enumerate(itertools.pairwise(steps), start=1):
        if two.share_bp <= one.share_bp:
            parent.fault(
                f"steps[{index}].share_bp",
                f"{two.share_bp} bp after {one.share_bp} bp",
                "shares that grow from step to step",
                "put the steps in growing order, each share once",
            )
    return steps


def _step(reader: Reader) -> Step:
    step = Step(
        share_bp=reader.whole("share_bp", 1, _WHOLE_TRAFFIC_BP, unit="basis points", example="500"),
        hold_s=reader.number("hold_s", 0, _DAY_S, unit="seconds", default=5),
    )
    reader.done()
    return step


def _guard(reader: Reader) -> Guard:
    guard = Guard(
        max_5xx_ratio=reader.number("max_5xx_ratio", 0, 1, unit="5xx per request", default=0.02),
        min_5xx=reader.whole("min_5xx", 1, 1_000_000, unit="answers", default=3),
    )
    reader.done()
    return guard


def _judge(reader: Reader, base_dir: Path) -> Judge:
    reader.secret = True  # an address may hold a password
    prometheus = reader.text(
        "prometheus",
        required=True,
        pattern=r"https?://[^@\s?#]+",
        expected="the address of a Prometheus, without a user in it",
        example="http://10.0.0.41:9090",
    )
    reader.secret = False
    slos = reader.text("slos", default="slos", expected="the path of a folder of SLO files", example="slos")
    judge = Judge(
        prometheus=prometheus,
        slos=base_dir / slos,
        patience_s=reader.number("patience_s", 1, _DAY_S, unit="seconds", default=600),
        bake_s=reader.number("bake_s", 1, 7 * _DAY_S, unit="seconds", default=300),
        fastest_window_s=reader.number("fastest_window_s", 1, _DAY_S, unit="seconds", default=300),
        probes_per_s=reader.number("probes_per_s", 0, 100, unit="requests a second", default=0),
    )
    reader.done()
    return judge


def _watch(reader: Reader) -> Watch:
    watch = Watch(rollback_on_page=reader.flag("rollback_on_page", default=False))
    reader.done()
    return watch


def _check_port_clashes(reader: Reader, api: Api, worker: Worker | None) -> None:
    taken: dict[int, str] = {}
    uses = [(f"api.ports.{color}", port) for color, port in api.ports.items()]
    if worker is not None and worker.metrics_port is not None:
        uses += [
            (f"worker.metrics_port.{color}", port)
            for color in worker.metrics_port
            for port in worker.metrics_ports(color)
        ]
    for where, port in uses:
        other = taken.setdefault(port, where)
        if other != where:
            reader.fault(
                where,
                f"port {port}, which {reader.path}.{other} has too",
                "a port of its own for every process in every color",
                f"change {where} or {other}",
            )
