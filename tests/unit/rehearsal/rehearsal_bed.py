"""A service with a small migration tool, rehearsed for real: in a cage, on a PostgreSQL that lives as long.

The tool is psql in a shell script and keeps its version as golang-migrate does (TRUNCATE, then INSERT).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from turnout.service import stand_ins

ROOT = Path(__file__).resolve().parents[3]
NEEDS = ("ip", "openssl", "psql", "/usr/lib/postgresql/*/bin/postgres")
ADDRESS = "postgresql://shop:p-secret@db.shop.internal:5433/shop?sslmode=require"

MIGRATE = """#!/bin/sh -eu
cd "$(dirname "$0")/.."
ask() { psql "$DATABASE_URL" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
ask -c "SET client_min_messages = error; CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY)"
now=$(ask -c "SELECT coalesce(max(version), 0) FROM schema_migrations")
mark() { echo ";TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES ($1);"; }
case $1 in
version) echo "$now" ;;
up) for file in migrations/*.up.sql; do
        number=$(basename "$file" .up.sql)
        [ "$number" -le "$now" ] || { cat "$file"; mark "$number"; } | ask -1 -f -
    done ;;
down) { cat "migrations/$now.down.sql"; mark $((now - 1)); } | ask -1 -f - ;;
esac
"""

RUN = """
import json, sys, time
from ansible_collections.turnout.ops.plugins.modules import rehearse
# What it costs: seconds of the release's own commands, and what it asks the database. What failed is not counted.
costs = {"migrations_s": 0.0, "statements": 0, "connections": 0, "programs": 0}
def counted(kind, name, what, seconds=False):
    real = getattr(kind, name)
    def call(*args, **more):
        began = time.monotonic()
        done = real(*args, **more)
        costs[what] += time.monotonic() - began if seconds else 1
        return done
    setattr(kind, name, call)
counted(rehearse.Rehearsal, "_migrate", "migrations_s", seconds=True)
counted(rehearse.Ephemeral, "query", "statements")
counted(rehearse.Ephemeral, "connect", "connections")
counted(rehearse.Ephemeral, "_run", "programs")
began = time.monotonic()
found = rehearse.rehearsed(json.load(sys.stdin), sys.argv[1])
print(json.dumps({**found, **costs, "took_s": time.monotonic() - began}))
"""


def missing() -> str:
    """Return what this machine lacks for a rehearsal; empty where it has all."""
    lacking = [name for name in NEEDS if not (list(Path("/").glob(name[1:])) if "/" in name else shutil.which(name))]
    if os.geteuid() != 0:
        lacking.append("root")
    return ", ".join(lacking)


needs_postgres = pytest.mark.skipif(bool(missing()), reason=f"a rehearsal needs {missing()}")


@dataclass
class Release:
    """A release with its migrations: (up, down), the first is number 1; and the API's program, in Python."""

    version: str
    migrations: list[tuple[str, str]]
    api: str = ""
    environment: dict[str, str] = field(default_factory=lambda: {"DATABASE_URL": ADDRESS})

    def lay(self, place: Path) -> dict[str, Any]:
        """Lay it where the service's user can read it; return what a plan says of it."""
        folder = place / self.version
        (folder / "bin").mkdir(parents=True)
        (folder / "migrations").mkdir()
        (folder / "bin/migrate").write_text(MIGRATE)
        (folder / "bin/api").write_text(f"#!/usr/bin/python3\n{self.api}")
        for number, (up, down) in enumerate(self.migrations, start=1):
            (folder / f"migrations/{number}.up.sql").write_text(up)
            (folder / f"migrations/{number}.down.sql").write_text(down)
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        return {
            "folder": str(folder), "root": "", "version": self.version, "environment": self.environment,
            "api_environment": self.environment,
        }  # fmt: skip


def plan(place: Path, stable: Release, candidate: Release, **changes: Any) -> dict[str, Any]:
    """Return the plan of a rehearsal of what `candidate` has beyond `stable`."""
    base, numbers = len(stable.migrations), range(1, len(candidate.migrations) + 1)
    return {
        "service": "shop", "user": "nobody", "migrate_user": "nobody", "redis_urls": [],
        "databases": stand_ins.databases(stable.environment, "nobody"),
        "trusted": stand_ins.root_certificates(stable.environment), "candidate": candidate.lay(place),
        "stable": stable.lay(place), "up": "bin/migrate up", "down": "bin/migrate down",
        "version_command": "bin/migrate version", "timeout_s": 120, "base_version": base,
        "tool": "", "pending": [str(number) for number in numbers if number > base],
        "listed": {"order": "number", "migrations": [{"id": str(number), "version": number} for number in numbers]},
        "ignore_tables": [], "seed": {}, "checks": {}, "busy": [], "max_busy_lock_s": 30.0, "max_lock_s": 30.0,
        "max_up_s": 60.0, "data_directory": None, "api": None, **changes,
    }  # fmt: skip


def rehearse(plan: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """Rehearse in a process of its own, since there is no way back out of a cage; return what it says."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(home)], input=json.dumps(plan), capture_output=True, text=True, check=False,
        timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
