"""What tests, benches and the demo do on a running lab: build and publish releases, run playbooks, ask the edges.

Everything here goes the way that a person goes (the `turnout` command, `ansible-playbook`, ssh), and looks at the
result from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from turnout.lab import bring_up
from turnout.lab.hosts import Hosts
from turnout.lab.topology import Lab, host_named

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SAMPLE = ROOT / "examples" / "sample_service"
EDGES = ("edge1", "edge2")
APPS = ("app1", "app2")
OTHER = {"blue": "green", "green": "blue"}
IN_TESTS = "tests"  # the run that tests act as on an edge
SERVICE_FILE = ROOT / "inventories" / "lab" / "group_vars" / "all" / "service.yml"
# One connection a host for all that a test asks; it ends soon after a host that was killed under it.
SHARED = (
    "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", "ControlPath=/tmp/turnout-test-%C",
    "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
# For releases that never get healthy: what is found after 7 s is what would be found later.
SOON = {"health": {"path": "/api/health/", "status": 200, "timeout_s": 2, "deadline_s": 7}}
PLAYBOOK_LIMIT_S = 300  # no playbook on the lab takes longer; one that does is a failure, not a wait


def sample_digest() -> str:
    """Return a short digest of the sample's sources: releases built from other sources get another place."""
    digest = hashlib.sha256()
    for path in sorted(SAMPLE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(SAMPLE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


@dataclass
class Run:
    """One finished execution of a playbook."""

    rc: int
    out: str
    seconds: float

    @property
    def tail(self) -> str:
        """Return the last lines, for messages of assertions."""
        return "\n".join(self.out.splitlines()[-40:])


@dataclass
class Turnout:
    """The lab as a test drives it. `source` is where releases are published: a folder, or s3://bucket/prefix."""

    source: str
    lab: Lab = field(default_factory=Lab.from_environment)
    work: Path = ROOT / ".cache" / "lab"
    controller_apart: bool = False
    """Whether playbooks leave the processors to the hosts, as a controller does that is a machine of its own."""

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.s3 = json.loads((self.lab.state_dir / "s3.json").read_text())

    # Releases ------------------------------------------------------------------------------------------------------

    @property
    def signing_key(self) -> Path:
        """Return the key that signs the lab's releases, made on first use."""
        folder = self.lab.state_dir / "release"
        key = folder / "key"
        if not key.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.turnout(
                "release", "keygen", "--key", str(key), "--principal", "lab@example.org",
                "--allowed-signers", str(folder / "allowed_signers"),
            )  # fmt: skip
        return key

    def turnout(self, *words: str, check: bool = True) -> str:
        """Run the turnout command; return what it printed."""
        done = subprocess.run(
            [str(BIN / "turnout"), *words], capture_output=True, text=True, env=self.env(), cwd=ROOT, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"turnout {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def env(self) -> dict[str, str]:
        """Return the environment of commands: the store, and the right to publish into it."""
        admin = self.s3["identities"]["admin"]
        return {
            **os.environ,
            "TURNOUT_LAB": self.lab.name,
            "TURNOUT_LAB_SUBNET": self.lab.subnet,
            "TURNOUT_LAB_RELEASES": self.source,
            "AWS_ACCESS_KEY_ID": admin["access_key"],
            "AWS_SECRET_ACCESS_KEY": admin["secret_key"],
        }

    def published(self) -> list[str]:
        """Return the versions in the store."""
        where = ["--from", self.source, *self._s3_options()]
        out = self.turnout("release", "list", "sample", *where, "--json", check=False)
        try:
            return list(json.loads(out)["versions"])
        except (ValueError, KeyError):
            return []

    def _s3_options(self) -> list[str]:
        if not self.source.startswith("s3://"):
            return []
        return ["--endpoint", self.s3["endpoint"], "--region", self.s3["region"], "--ca-file", self.s3["ca_file"]]

    def source_of(self, version: str, *faults: str, armed: bool = False) -> tuple[Path, dict[str, Any]]:
        """Make the files of a release of the sample; return their folder, and what `release build` must know."""
        source = self.work / "source" / version
        done = subprocess.run(
            [
                sys.executable, str(SAMPLE / "build.py"), "--version", version, "--out", str(source),
                *(word for fault in faults for word in ("--fault", fault)), *(["--armed"] if armed else []),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return source, json.loads(done.stdout)

    def build(self, version: str, *faults: str, armed: bool = False, options: Sequence[str] = ()) -> Path:
        """Build and sign a release of the sample; return its manifest's path."""
        source, inputs = self.source_of(version, *faults, armed=armed)
        out = self.work / "dist"
        self.turnout(
            "release", "build", str(source), "--name", "sample", "--version", version,
            "--migrations", "migrations", *(word for key in inputs["environment"] for word in ("--env-key", key)),
            "--key", str(self.signing_key), "--out", str(out), *options,
        )  # fmt: skip
        return out / f"sample-{version}.release.yml"

    def publish(self, version: str, *faults: str, armed: bool = False, options: Sequence[str] = ()) -> None:
        """Build and publish a release of the sample, unless the store has that version."""
        if version not in self.published():
            manifest = self.build(version, *faults, armed=armed, options=options)
            self.turnout("release", "publish", str(manifest), "--to", self.source, *self._s3_options())

    # Playbooks -----------------------------------------------------------------------------------------------------

    def command(self, name: str, *options: str) -> list[str]:
        """Return the command line of a playbook, as a person types it.

        A deploy is not judged unless an option says `canary=on`: the judge's own tests do, with the traffic that it
        needs; all others have little of it, and are about something else. So is the time that processes have to run.
        """
        if name == "deploy" and not any(option.startswith("canary=") for option in options):
            options = (*options, "-e", "canary=off")
        if name == "deploy" and not any(option.startswith("lab_steady_s=") for option in options):
            options = (*options, "-e", "lab_steady_s=3")
        return [str(BIN / "ansible-playbook"), f"playbooks/{name}.yml", *options]

    def playbook(self, name: str, *options: str, show: bool = False, env: dict[str, str] | None = None) -> Run:
        """Run a playbook to its end. With `show` its output goes to this terminal too, as it comes."""
        started = time.monotonic()
        process = self.start(name, *options, env=env)
        lines = []
        assert process.stdout is not None
        watchdog = time.monotonic() + PLAYBOOK_LIMIT_S
        for line in process.stdout:
            lines.append(line)
            if show:
                sys.stdout.write("    " + line)
                sys.stdout.flush()
            if time.monotonic() > watchdog:
                process.kill()
        return Run(process.wait(), "".join(lines), time.monotonic() - started)

    def start(self, name: str, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a playbook in a session of its own, as a terminal does."""
        process = subprocess.Popen(
            self.command(name, *options), cwd=ROOT, env={**self.env(), **(env or {})}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        if self.controller_apart:
            weigh(process, 12)
        return process

    def module(self, host: str, name: str, options: str) -> str:
        """Run a module on a host, as a task of a playbook would; return what it printed."""
        done = subprocess.run(
            [str(BIN / "ansible"), host, "-m", name, "-a", options],
            capture_output=True, text=True, env=self.env(), cwd=ROOT, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def deploy(self, version: str, *options: str, show: bool = False) -> Run:
        """Deploy a version."""
        return self.playbook("deploy", "-e", f"release={version}", *options, show=show)

    def judged(
        self, version: str, at: Sequence[tuple[str, Callable[[], object]]] = (), *options: str, show: bool = False
    ) -> Run:
        """Deploy a version with the judge. `at` is what to do, in this order, when a text is first seen in the output.

        Whatever happens, the arming key of the version is gone afterwards.
        """
        started = time.monotonic()
        process = self.start("deploy", "-e", f"release={version}", "-e", "canary=on", *options)
        lines, left = [], list(at)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if show:
                    print("    " + line, end="", flush=True)
                if left and left[0][0] in line:
                    left.pop(0)[1]()
                if time.monotonic() - started > PLAYBOOK_LIMIT_S:
                    process.kill()
        finally:
            self.disarm(version)
        return Run(process.wait(), "".join(lines), time.monotonic() - started)

    def folder(self, run: Run) -> Path:
        """Return the run's folder on the controller, from the line that ends its output."""
        return Path(run.out.rpartition("events: ")[2].split()[0]).parent

    def run_folder(self, process: subprocess.Popen[str]) -> Path:
        """Return the folder of a playbook that runs; its name ends with the process's id."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "turnout" / "runs"
        return max(home.glob(f"*-{process.pid}"), key=lambda path: path.stat().st_mtime)

    def until_scraped(self) -> None:
        """Wait until Prometheus finds every API and worker of the release in service up, and has some history."""
        color = self.edge(EDGES[0])["stable"]
        query = f'min_over_time(up{{job=~"sample-.*",color="{color}"}}[4s]) == 1'
        self.until_found(query, 2 * len(APPS), 60)

    def until_nothing_pages(self, limit_s: float = 150) -> None:
        """Wait until no alert pages of those that the lab's checklist counts: a deploy is refused while one does."""
        checklist = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/checklist.yml").read_text())["checklist"]
        ignored = "|".join(pattern.replace("*", ".*") for pattern in checklist["alerts"]["ignore"])
        self.until_found(f'ALERTS{{severity="page", alertstate="firing", alertname!~"{ignored}"}}', 0, limit_s)

    def until_found(self, query: str, count: int, limit_s: float) -> None:
        """Wait until Prometheus has so many series for a query."""
        prometheus = PrometheusConnect(url=f"http://{self.address('mon1')}:9090", timeout=5)
        deadline = time.monotonic() + limit_s
        found = None
        while True:
            with contextlib.suppress(requests.RequestException, PrometheusApiClientException):
                found = prometheus.custom_query(query)
                if len(found) == count:
                    return
            assert time.monotonic() < deadline, f"{query}: expected {count} series, Prometheus has {found}"
            time.sleep(0.5)

    def with_service(self, **changes: object) -> tuple[str, str]:
        """Return the options of a playbook that change keys of the lab's service file, mappings key by key."""
        service = yaml.safe_load(SERVICE_FILE.read_text())["service"]
        for key, value in changes.items():
            service[key] = {**service.get(key, {}), **value} if isinstance(value, dict) else value
        file = self.work / f"service-{time.monotonic_ns()}.json"
        file.write_text(json.dumps({"service": service}))
        return "-e", f"@{file}"

    def rollback(self, *options: str, show: bool = False) -> Run:
        """Roll back."""
        return self.playbook("rollback", *options, show=show)

    def in_service(self) -> str | None:
        """Return the version that every edge serves; fails when they differ or one is not at rest."""
        seen = {name: self.edge(name) for name in EDGES}
        serving = set()
        for name, edge in seen.items():
            assert edge["agree"], (name, edge["live"], edge["disk"], edge["green_bp"])
            assert edge["candidate"] is None, (name, edge["candidate"])
            stable = edge["stable"]
            assert edge["serving"][stable or "blue"] == 10_000, (name, edge["serving"])
            serving.add(edge["releases"][stable]["release"] if stable else None)
        assert len(serving) == 1, serving
        return serving.pop()

    def ensure(self, version: str) -> None:
        """Bring a version into service if it is not, by the shortest way: a rollback where it was the last replaced;
        the edges' own commands where it is laid in the other color still; a deploy otherwise.
        """
        self.publish(version)
        self.rest()
        if self.in_service() == version and self._as_published(version):
            return
        edges = [self.edge(name) for name in EDGES]
        if self._was_replaced(version, edges):
            run = self.rollback()
            assert run.rc == 0, run.tail
        elif self._is_laid(version, edges):
            self._serve_again(version, edges)
        if self.in_service() != version or not self._as_published(version):
            run = self.deploy(version)
            assert run.rc == 0, run.tail

    def rest(self) -> None:
        """Bring the edges to rest: a test that failed or was killed may have left a lock or a candidate."""
        if any(edge["candidate"] or edge["lock"]["held"] for edge in map(self.edge, EDGES)):
            self.playbook("unlock", "-e", "break_glass=tests")
            self.rollback()

    @staticmethod
    def _was_replaced(version: str, edges: Sequence[dict[str, Any]]) -> bool:
        """Tell whether rollback.yml would go back to this version on every edge."""
        return all(
            edge["previous"] and not edge["undone"] and edge["releases"][edge["previous"]]["release"] == version
            for edge in edges
        )

    def _is_laid(self, version: str, edges: Sequence[dict[str, Any]]) -> bool:
        """Tell whether the color that serves nobody holds this version, whole and as published, everywhere."""
        if len({edge["stable"] for edge in edges}) != 1 or not edges[0]["stable"]:
            return False
        idle = OTHER[edges[0]["stable"]]
        records = [edge["releases"][idle] for edge in edges]
        if not all(record and record["release"] == version and record["complete"] for record in records):
            return False
        slots = [self.ssh(host, f"readlink /opt/sample/{idle}", check=False) for host in APPS]
        return all(record["release_id"] in slot for record in records for slot in slots) and self._published(
            version, records[0]["sha256"]
        )

    def _serve_again(self, version: str, edges: Sequence[dict[str, Any]]) -> None:
        """Put a version that is laid in the other color into service again, as a run that confirmed it and then died.

        It takes seconds, a deploy thirty. What a deploy leaves is the same: it in service, the other one warm.
        """
        idle = OTHER[edges[0]["stable"]]
        for host in APPS:
            self.ssh(host, f"systemctl start sample-api@{idle}")
        for name in EDGES:
            deadline = time.monotonic() + 30
            while not self.edge(name)["backends"][idle]["all_up"]:
                assert time.monotonic() < deadline, f"{version} does not get up on {idle}"
                time.sleep(0.2)
        for name, edge in zip(EDGES, edges, strict=True):
            record = json.dumps(edge["releases"][idle])
            say = f"turnout-edge --run {IN_TESTS} --actor tests"
            steps = ("lock take --ttl-s 60", f"prepare --color {idle} --release '{record}'", "move --share-bp 10000")
            for step in (*steps, f"ready --color {idle}", f"confirm --color {idle}", "commit", "lock release"):
                self.ssh(name, f"{say} {step}")
        run = self.rollback("-e", f"rollback_run={IN_TESTS}", "-e", "rollback_committed=true")
        assert run.rc == 0, run.tail

    def _as_published(self, version: str) -> bool:
        """Tell whether what serves is the artifact of the store, not one of an earlier session by the same name."""
        edge = self.edge(EDGES[0])
        return self._published(version, str(edge["releases"][edge["stable"]]["sha256"]))

    def _published(self, version: str, sha256: str) -> bool:
        manifest = Path(self.source) / f"sample-{version}.release.yml"
        return not manifest.exists() or sha256 in manifest.read_text()

    @property
    def hosts(self) -> Hosts:
        """Return the hosts as things that can be paused, killed and started."""
        return bring_up.open_lab(self.lab)

    # Hosts ---------------------------------------------------------------------------------------------------------

    def address(self, host: str) -> str:
        """Return the address of a host of the lab."""
        return self.lab.address(host_named(host))

    def ssh(self, host: str, command: str, *, check: bool = True, timeout_s: float = 60) -> str:
        """Run a command on a host as root; return what it printed."""
        done = subprocess.run(
            [
                "ssh", "-i", str(self.lab.private_key), "-o", f"UserKnownHostsFile={self.lab.known_hosts}",
                "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5", "-o", "IdentitiesOnly=yes",
                "-o", "LogLevel=ERROR", *SHARED, f"root@{self.address(host)}", command,
            ],
            capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{host}: {command!r} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def edge(self, name: str) -> dict[str, Any]:
        """Return what `turnout-edge show` says on an edge."""
        answer: dict[str, Any] = json.loads(self.ssh(name, "turnout-edge show --tail 50"))
        return answer

    def units(self, host: str) -> set[str]:
        """Return the units of the sample that run on a host, such as `worker-jobs@blue`."""
        out = self.ssh(host, "systemctl list-units --no-legend --plain --state=active 'sample-*@*.service'")
        return {line.split()[0].removeprefix("sample-").removesuffix(".service") for line in out.splitlines() if line}

    def schedulers(self) -> list[str]:
        """Return where schedulers run, as `host:color`."""
        return [
            f"{host}:{unit.partition('@')[2]}"
            for host in APPS
            for unit in self.units(host)
            if unit.startswith("scheduler@")
        ]

    def arm(self, version: str) -> None:
        """Wake the faults of a release that was built with `armed`."""
        self.redis(f"set sample:armed:{version} 1")

    def disarm(self, version: str) -> None:
        """Let them sleep again."""
        self.redis(f"del sample:armed:{version}")

    def redis(self, words: str) -> str:
        """Ask Redis on its own host, as its administrator; return what it said."""
        return self.ssh("data1", f'REDISCLI_AUTH="$(cat /etc/redis/turnout-admin)" redis-cli --user admin {words}')

    @contextlib.contextmanager
    def forgotten_transaction(self) -> Iterator[None]:
        """Hold a lock in the service's database, by a transaction that somebody forgot, for the time of the block."""
        forgotten = "BEGIN; LOCK TABLE static_data IN SHARE UPDATE EXCLUSIVE MODE; SELECT pg_sleep(600);"
        as_postgres = "--collect --uid=postgres --setenv=PGAPPNAME=forgotten"
        self.ssh("data1", f"systemd-run {as_postgres} --unit=forgotten psql -d sample -c '{forgotten}'")
        try:
            yield
        finally:
            # Its server process goes on without its client, until it has slept.
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forgotten'"
            self.ssh("data1", f'cd / && sudo -u postgres psql -q -c "{end}"')

    def forget_jobs(self) -> None:
        """Remove what the jobs of tests/load left: they are of no user, as the checks of a drill would tell.

        A new lab has no such table before its first release.
        """
        remove = (
            r"DO \$\$ BEGIN IF to_regclass('tasks') IS NOT NULL THEN"
            r" DELETE FROM tasks WHERE user_id = 0; END IF; END \$\$"
        )
        self.ssh("data1", f'cd / && sudo -u postgres psql -q -d sample -c "{remove}"')

    def kill(self, process: subprocess.Popen[str], what: signal.Signals) -> None:
        """Send a signal to a playbook's process group, as the terminal does for Ctrl-C."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, what)

    @contextlib.contextmanager
    def load(self, rate: float, seconds: float = 600, **options: str) -> Iterator[Load]:
        """Keep load on both edges for the time of the block; its report is read afterwards."""
        load = Load(self, rate, seconds, options)
        try:
            yield load
        finally:
            load.stop()


PROGRAMS = {"turnout-edge/turnout_edge": "edge", "turnout-host/turnout_host": "service_host"}
PROGRAMS |= {"turnout-drill/turnout_drill": "drill"}  # folder below /usr/local/lib: role whose files lie there

STAMPED = "version.py"  # the version is written into it when it is laid


def _digests(folder: Path) -> dict[str, str]:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.py")}
    return {name: digest for name, digest in found.items() if name != STAMPED}


def differing(turnout: Turnout, host: str) -> list[str]:
    """Return the programs on a host of the lab that are not those of this checkout: a kept lab has those of before."""
    said = turnout.ssh(host, "cd /usr/local/lib && sha256sum turnout-*/turnout_*/*.py; true", check=False)
    found: dict[str, dict[str, str]] = {}
    for line in said.splitlines():
        digest, _, path = line.partition("  ")
        folder, _, name = path.rpartition("/")
        if name != STAMPED:
            found.setdefault(folder, {})[name] = digest
    return [
        folder for folder, role in PROGRAMS.items()
        if folder in found and found[folder] != _digests(ROOT / "roles" / role / "files" / Path(folder).name)
    ]  # fmt: skip


def provisioned(source: str, *, controller_apart: bool = False) -> Turnout:
    """Return the lab, up and with this checkout's site.yml applied: to one that is new, or has other programs."""
    subprocess.run([str(BIN / "turnout"), "lab", "up"], check=True, cwd=ROOT, stdout=sys.stderr)
    turnout = Turnout(source=source, controller_apart=controller_apart)
    marks = {
        "edge1": "/usr/local/lib/turnout-host/turnout_host/home.py",
        "app1": "/usr/local/sbin/turnout-scheduler-home",
    }
    marks |= {"edge2": marks["edge1"], "app2": marks["app1"]}
    marks |= {"data1": "/etc/redis/turnout-admin", "mon1": "/usr/local/sbin/turnout-drill"}
    new = not all(turnout.ssh(host, f"test -e {path} && echo yes", check=False) for host, path in marks.items())
    other = {} if new else {host: found for host in marks if (found := differing(turnout, host))}
    if new or other:
        print(
            f"the lab is {'new' if new else f'another: {other}'}: applying playbooks/site.yml",
            file=sys.stderr,
            flush=True,
        )
        run = turnout.playbook("site")
        assert run.rc == 0, run.tail
    return turnout


class Load:
    """A load generator in a process of its own, started when made, that ends with its parent or its time."""

    def __init__(
        self, turnout: Turnout, rate: float, seconds: float, options: dict[str, str], edges: Sequence[str] = EDGES
    ) -> None:
        stamp = f"{os.getpid()}-{time.monotonic_ns()}"
        self.out = turnout.work / f"load-{stamp}.json"
        self.ready = turnout.work / f"load-{stamp}.ready"
        self.marks = turnout.work / f"load-{stamp}.marks"
        self.marks.touch()
        words = [word for name in edges for word in ("--edge", turnout.address(name))]
        words += [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
        self.process = subprocess.Popen(
            [
                sys.executable, str(ROOT / "tests" / "load" / "load.py"), *words, "--rate", str(rate),
                "--seconds", str(seconds), "--out", str(self.out), "--ready-file", str(self.ready),
                "--marks", str(self.marks), "--with-parent",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        # Clients have machines of their own: a load that waits for its turn here would measure itself.
        weigh(self.process, -15)
        deadline = time.monotonic() + 30
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                assert self.process.stderr is not None
                raise AssertionError(f"the load did not begin: {self.process.stderr.read()[-2000:]}")
            time.sleep(0.05)

    @contextlib.contextmanager
    def mark(self, name: str) -> Iterator[None]:
        """Name the time of the block, so that the report has figures of its own for it."""
        t0 = time.monotonic()
        try:
            yield
        finally:
            with self.marks.open("a") as marks:
                marks.write(json.dumps({"t0": t0, "t1": time.monotonic(), "name": name}) + "\n")

    def stop(self) -> None:
        """End the load and wait for its report."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    @property
    def report(self) -> dict[str, Any]:
        """Return the report; only once the load has ended."""
        answer: dict[str, Any] = json.loads(self.out.read_text())
        return answer


def weigh(process: subprocess.Popen[str], nice: int) -> None:
    """Give a process's session that niceness against all others of this machine, where the kernel groups sessions.

    See autogroup in sched(7). Without it, or without the right to it, the session weighs as any other.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(nice))


def until(process: subprocess.Popen[str], text: str, limit_s: float = 120) -> str:
    """Read the output of a playbook until a line has `text`; return what was read."""
    assert process.stdout is not None
    seen = ""
    deadline = time.monotonic() + limit_s
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
        assert time.monotonic() < deadline, seen
    raise AssertionError(f"the playbook ended before {text!r}:\n{seen}")


def refused(run: Run, *words: str) -> None:
    """Assert that a run failed for the reason that it tells in `words`, in its last lines and without a traceback."""
    assert run.rc != 0, run.tail
    assert "Traceback" not in run.out, run.tail
    last = run.out[run.out.rfind("First cause") :]
    assert "First cause" in last, run.tail
    for word in words:
        assert word in last, f"{word!r} is not in:\n{last}"
