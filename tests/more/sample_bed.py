"""A bed of its own for the sample service: PostgreSQL, Redis and its processes on one host of the lab.

Nothing here touches what site.yml and deploy.yml made: other ports, other folders, transient units named `bed-…`. So
PostgreSQL and Redis may be stopped and workers killed at will.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from harness import ROOT, SAMPLE, Turnout

HOST = "data1"
HOME = "/var/lib/sample-bed"
POSTGRES_PORT, REDIS_PORT = 55432, 56379
API_PORT, METRICS_PORT = 58001, 59101
LOAD = ROOT / "tests" / "load"
ENVIRONMENT = {
    "DATABASE_URL": f"postgresql://sample_app:bed-app@127.0.0.1:{POSTGRES_PORT}/sample",
    "MIGRATE_DATABASE_URL": f"postgresql://sample_migrate:bed-migrate@127.0.0.1:{POSTGRES_PORT}/sample",
    "REDIS_URL": f"redis://:bed-redis@127.0.0.1:{REDIS_PORT}/0",
    "SECRET_KEY": "bed-secret",
    "TASK_REMINDER_HOUR": "14",
    "OVERDUE_REMINDER_HOUR": "9",
    "DAILY_DIGEST_HOUR": "3",
}

# `note` writes down what a process ended with, because a transient unit that ended well is forgotten.
SET_UP = f"""
set -e
# Application hosts get them by `packages` of the service file.
python3 -c "import aiohttp, psycopg_pool, redis, prometheus_client" 2>/dev/null || {{
  export DEBIAN_FRONTEND=noninteractive
  packages="python3-aiohttp python3-psycopg python3-psycopg-pool python3-redis python3-prometheus-client"
  apt-get update -qq; apt-get install -qq -y --no-install-recommends $packages >/dev/null
}}
mkdir -p {HOME} /run/sample-bed
rm -rf {HOME}/pg {HOME}/redis
install -d -o postgres -g postgres -m 0700 {HOME}/pg
install -d -o redis -g redis {HOME}/redis
su postgres -s /bin/sh -c "$(echo /usr/lib/postgresql/*/bin)/initdb -D {HOME}/pg -A trust >/dev/null"
echo "host all all 127.0.0.1/32 trust" > {HOME}/pg/pg_hba.conf
echo "local all all trust" >> {HOME}/pg/pg_hba.conf
cat > {HOME}/note <<'END'
#!/bin/sh
echo "$EXIT_CODE $EXIT_STATUS" > "/run/sample-bed/$1.exit"
END
chmod 755 {HOME}/note
"""
START_POSTGRES = (
    "systemd-run -q --unit=bed-postgres -p User=postgres -p KillSignal=SIGINT"
    f" $(echo /usr/lib/postgresql/*/bin)/postgres -D {HOME}/pg -p {POSTGRES_PORT} -k {HOME}/pg"
    " -c fsync=off -c shared_buffers=16MB"
)
START_REDIS = (
    f"systemd-run -q --unit=bed-redis -p User=redis redis-server --port {REDIS_PORT} --requirepass bed-redis"
    f" --appendonly yes --save '' --dir {HOME}/redis"
)
ROLES = """
CREATE ROLE sample_migrate LOGIN; CREATE ROLE sample_app LOGIN;
CREATE DATABASE sample OWNER sample_migrate;
\\c sample
ALTER SCHEMA public OWNER TO sample_migrate;
ALTER DEFAULT PRIVILEGES FOR ROLE sample_migrate GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO sample_app;
ALTER DEFAULT PRIVILEGES FOR ROLE sample_migrate GRANT USAGE ON SEQUENCES TO sample_app;
"""


def until(what: str, holds: Callable[[], Any], limit_s: float = 60, pause_s: float = 0.2) -> Any:
    """Wait until `holds` gives something true, and return it; AssertionError naming `what` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(pause_s)
    return found


class Bed:
    """The sample service on one host, by hand."""

    def __init__(self, turnout: Turnout) -> None:
        self.turnout = turnout
        self.address = turnout.address(HOST)
        self._laid: set[str] = set()

    def ssh(self, command: str, *, check: bool = True) -> str:
        """Run a command on the host."""
        return self.turnout.ssh(HOST, command, check=check, timeout_s=120)

    # the bed itself

    def make(self) -> None:
        """Start PostgreSQL and Redis, empty."""
        self.clear()
        self.ssh(f"{SET_UP}\n{START_POSTGRES}\n{START_REDIS}")
        until("PostgreSQL answers", lambda: self.sql("SELECT 1", database="postgres", check=False).strip() == "1")
        self.sql(ROLES, database="postgres")

    def clear(self) -> None:
        """Stop and remove everything of the bed."""
        self.ssh(
            "systemctl stop 'bed-*' 2>/dev/null; systemctl reset-failed 'bed-*' 2>/dev/null;"
            f" rm -rf {HOME}/pg {HOME}/redis /run/sample-bed",
            check=False,
        )

    def fresh_data(self) -> None:
        """Stop the service's processes and empty both stores."""
        self.ssh("systemctl stop 'bed-s-*' 2>/dev/null; systemctl reset-failed 'bed-s-*' 2>/dev/null", check=False)
        self.ssh("rm -rf /run/sample-bed; mkdir -p /run/sample-bed")
        self.redis("flushall")
        self.sql("DROP DATABASE IF EXISTS sample WITH (FORCE)", database="postgres")
        self.sql(ROLES.partition("CREATE DATABASE")[1] + ROLES.partition("CREATE DATABASE")[2], database="postgres")

    def postgres(self, action: str) -> None:
        """`stop` or `start` PostgreSQL."""
        self.ssh("systemctl stop bed-postgres" if action == "stop" else START_POSTGRES)
        if action == "start":
            until("PostgreSQL answers", lambda: self.sql("SELECT 1", check=False).strip() == "1")

    def redis_server(self, action: str) -> None:
        """`stop` or `start` Redis."""
        self.ssh("systemctl stop bed-redis" if action == "stop" else START_REDIS)
        if action == "start":
            until("Redis answers", lambda: "PONG" in self.redis("ping"))

    def psql_command(self) -> str:
        """Return a command line that runs psql on the bed's database from here."""
        lab = self.turnout.lab
        return (
            f"ssh -i {lab.private_key} -o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes -o LogLevel=ERROR"
            f" root@{self.address} psql -h {HOME}/pg -p {POSTGRES_PORT} -U postgres -d sample"
        )

    def sql(self, sql: str, *, database: str = "sample", check: bool = True) -> str:
        """Run SQL as the superuser; return what psql printed, unaligned."""
        done = subprocess.run(
            [*self.psql_command().replace("-d sample", f"-d {database}").split(), "-XAtq", "-v", "ON_ERROR_STOP=1"],
            input=sql, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def redis(self, words: str) -> str:
        """Run one Redis command."""
        return self.ssh(f"redis-cli -p {REDIS_PORT} -a bed-redis --no-auth-warning {words}", check=False)

    # releases and processes

    def lay(self, version: str, *faults: str, armed: bool = False) -> str:
        """Build a release and copy it to the host, once; return its folder there."""
        name = "-".join([version, *faults, *(["armed"] if armed else [])]).replace("=", "_")
        target = f"{HOME}/{name}"
        if name not in self._laid:
            out = self.turnout.work / "bed" / name
            subprocess.run(
                [
                    sys.executable, str(SAMPLE / "build.py"), "--version", version, "--out", str(out),
                    *(word for fault in faults for word in ("--fault", fault)), *(["--armed"] if armed else []),
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            packed = subprocess.run(["tar", "-C", str(out), "-cf", "-", "."], capture_output=True, check=True).stdout
            words = self.psql_command().split()
            words = words[: words.index("psql")]
            subprocess.run(
                [*words, f"rm -rf {target}; mkdir -p {target}; tar -C {target} --no-same-owner -xf -"],
                input=packed, check=True, timeout=120,
            )  # fmt: skip
            self._laid.add(name)
        return target

    def migrate(self, release: str, action: str, **environment: str) -> tuple[int, str]:
        """Run one migrate command; its exit code and all that it printed."""
        given = " ".join(f"{key}='{value}'" for key, value in {**ENVIRONMENT, **environment}.items())
        out = self.ssh(f"{given} timeout 100 {release}/bin/migrate {action} 2>&1; echo rc=$?", check=False)
        text, _, code = out.strip().rpartition("rc=")
        return int(code), text.strip()

    def start(self, name: str, command: str, *, color: str = "blue", **environment: str) -> str:
        """Start a process of the service as a unit; return the unit's name."""
        unit = f"bed-s-{name}"
        given = {**ENVIRONMENT, "TURNOUT_COLOR": color, **environment}
        settings = " ".join(f"-E {key}='{value}'" for key, value in given.items() if value)
        self.ssh(
            f"rm -f /run/sample-bed/{name}.exit; systemctl reset-failed {unit} 2>/dev/null; "
            f"systemd-run -q --unit={unit} -p User=nobody -p ProtectSystem=strict -p TimeoutStopSec=40"
            f' -p "ExecStopPost=+{HOME}/note {name}" {settings} {command}'
        )
        return unit

    def signal(self, unit: str, signal: str) -> None:
        """Send a signal to a unit's process."""
        self.ssh(f"systemctl kill -s {signal} {unit}")

    def ended(self, unit: str, limit_s: float = 45) -> str:
        """Wait until a unit has ended; how: `exited 0`, `killed KILL`, …."""
        path = f"/run/sample-bed/{unit.removeprefix('bed-s-')}.exit"
        answer: str = until(f"{unit} ends", lambda: self.ssh(f"cat {path}", check=False).strip(), limit_s)
        return answer

    def log(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.ssh(f"journalctl -q -o cat -u {unit}", check=False)

    def api(self, release: str, *, wait: bool = True, **environment: str) -> str:
        """Start an API; wait until it is healthy."""
        unit = self.start("api", f"{release}/bin/api --port {API_PORT}", **environment)
        if wait:
            until("the API is healthy", lambda: self.get("/api/health/")[0] == 200)
        return unit

    def worker(self, release: str, name: str = "worker", **environment: str) -> str:
        """Start a worker; wait until it takes jobs."""
        unit = self.start(name, f"{release}/bin/worker", **environment)
        until("the worker runs", lambda: '"running"' in self.log(unit))
        return unit

    # asking

    def get(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
        """GET (or POST a JSON body); status (0: no connection), body and headers in small letters."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}:{API_PORT}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - always http
                return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()}
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), {k.lower(): v for k, v in error.headers.items()}
        except OSError:
            return 0, "", {}

    def jobs(self, batch: str, *, rate: float, seconds: float) -> subprocess.Popen[str]:
        """Begin to send jobs to the API."""
        return subprocess.Popen(
            [
                sys.executable, str(LOAD / "jobs.py"), "enqueue", "--edge", f"{self.address}:{API_PORT}",
                "--rate", str(rate), "--seconds", str(seconds), "--batch", batch,
                "--out", str(self.turnout.work / f"bed-{batch}.json"),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def verdict(self, batch: str, *, tick_s: float = 0) -> dict[str, Any]:
        """Wait for a batch's jobs and return what became of them."""
        done = subprocess.run(
            [
                sys.executable, str(LOAD / "jobs.py"), "verify", "--jobs", str(self.turnout.work / f"bed-{batch}.json"),
                "--psql", self.psql_command(), "--wait", "90", "--tick-s", str(tick_s),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
