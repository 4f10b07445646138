#!/usr/bin/env python3
"""Build a source folder of the sample service, sound or with faults, for `turnout release build`.

    build.py --version 1.1.0 --out build/1.1.0
    build.py --version 1.2.0 --fault 5xx=0.2 --fault latency=300 --out build/1.2.0

Prints one JSON object on stdout: what was built, and what its manifest must say.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "vendor-requirements.txt"
ENVIRONMENT = (
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "TASK_REMINDER_HOUR",
    "OVERDUE_REMINDER_HOUR",
    "DAILY_DIGEST_HOUR",
)
FEATURES_SINCE = {"priority": (1, 1, 0)}
ARMED_BY = "sample:armed:{version}"


class BuildError(Exception):
    """The build cannot be made; the text says what to change."""


def parse_version(version: str) -> tuple[int, int, int]:
    """The three numbers of `1.2.3` or `1.2.3-anything`."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)([-+][0-9A-Za-z.-]+)?", version)
    if not match:
        raise BuildError(f"--version {version!r}: expected MAJOR.MINOR.PATCH, for example 1.1.0")
    return int(match[1]), int(match[2]), int(match[3])


# --- faults -------------------------------------------------------------------------------


@dataclass
class Plan:
    """What the asked-for faults mean: settings baked into the release, and a migration."""

    settings: dict[str, Any] = field(default_factory=dict)
    migrations: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    features: set[str] = field(default_factory=set)


def ratio(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


# name: (setting of `config.Faults`, how its value is read, the value when none is given)
SETTINGS: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "5xx": ("http_5xx_rate", ratio, None),
    "latency": ("latency_ms", positive, None),
    "crash-at-start": ("crash_at_start", bool, True),
    "never-healthy": ("never_healthy", bool, True),
    "unhealthy-on": ("unhealthy_on", str, None),
    "failing-jobs": ("failing_jobs_rate", ratio, 1.0),
    "slow-jobs": ("slow_jobs_ms", positive, None),
    "bad-smoke": ("bad_smoke", bool, True),
    "secret-in-output": ("secret_in_output", bool, True),
    "worker-ends": ("worker_ends_after_s", positive, None),
    "worker-eats": ("worker_eats_mb_per_s", positive, None),
    "worker-idle": ("worker_idle", bool, True),
}
MIGRATIONS = ("failing-migration", "incompatible-migration", "slow-migration")
FAULTS_HELP = (
    "5xx=RATE, latency=MS, crash-at-start, never-healthy, unhealthy-on=HOST, failing-jobs[=RATE],"
    " slow-jobs=MS, failing-migration, incompatible-migration, slow-migration=SECONDS, bad-smoke,"
    " secret-in-output, worker-ends=SECONDS, worker-eats=MB_PER_SECOND, worker-idle"
)


def plan(faults: Sequence[str]) -> Plan:
    """Read `--fault` options; BuildError names the one that is wrong."""
    made = Plan()
    for fault in faults:
        name, has_value, value = fault.partition("=")
        if name in SETTINGS:
            setting, read, default = SETTINGS[name]
            wrong = BuildError(f"--fault {fault}: expected one of {FAULTS_HELP}")
            if (default is None and not value) or (default is True and has_value) or (has_value and not value):
                raise wrong
            try:
                made.settings[setting] = read(value) if has_value else default
            except ValueError:
                raise wrong from None
        elif name in MIGRATIONS:
            seconds = {}
            if name == "slow-migration":
                try:
                    seconds = {"@SECONDS@": f"{positive(value):g}"}
                except ValueError:
                    raise BuildError(f"--fault {fault}: expected slow-migration=SECONDS") from None
            elif has_value:
                raise BuildError(f"--fault {fault}: {name} takes no value")
            made.migrations.append((name.removesuffix("-migration"), seconds))
            if name == "incompatible-migration":
                made.features.add("no-notes")
        else:
            raise BuildError(f"--fault {fault}: there is no such fault; there are {FAULTS_HELP}")
    return made


# --- the pieces of a release --------------------------------------------------------------


def migrations_of(version: tuple[int, int, int]) -> list[Path]:
    """The migrations that are part of `version`, lowest first."""
    found = []
    for path in sorted((HERE / "migrations").glob("[0-9]*.sql")):
        if path.name.endswith(".rollback.sql"):
            continue
        since = re.search(r"^-- sample: since=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if not since:
            raise BuildError(f"{path.name} has no line `-- sample: since=VERSION`")
        if parse_version(since[1]) <= version:
            found.append(path)
    return found


def lay_migrations(target: Path, version: tuple[int, int, int], faulty: Plan) -> int:
    """Write the migrations of a release to `target`; the number of the highest."""
    target.mkdir()
    number = 0
    for path in migrations_of(version):
        number = int(path.name[:4])
        for one in (path, path.with_suffix(".rollback.sql")):
            shutil.copyfile(one, target / one.name)
    for name, values in faulty.migrations:
        number += 1
        for suffix in (".sql", ".rollback.sql"):
            text = (HERE / "faults" / f"{name}{suffix}").read_text(encoding="utf-8")
            for key, value in values.items():
                text = text.replace(key, value)
            (target / f"{number:04d}_{name}{suffix}").write_text(text, encoding="utf-8")
    return number


def installer() -> list[str]:
    """The command that installs wheels into a folder: uv where there is one, else pip."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python-version", "3.11", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--python-version", "3.11"]


def vendored() -> Path:
    """A folder with the vendored packages, made once for each state of the requirements.

    They are pinned with their hashes and taken as wheels only, so the same folder comes out
    everywhere and no code of theirs runs while building.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout"
    ready = cache / f"sample-vendor-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]}"
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fresh = Path(scratch, "vendor")
        command = [
            *installer(),
            *("--target", str(fresh), "--only-binary", ":all:", "--no-deps"),
            *("--require-hashes", "--requirement", str(REQUIREMENTS)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(
                f"cannot install the vendored packages: {done.stderr.strip() or done.stdout.strip()}\n"
                "expected a reachable package index: PyPI, or the one in UV_INDEX_URL or PIP_INDEX_URL"
            )
        shutil.rmtree(fresh / "bin", ignore_errors=True)
        for lock in fresh.glob(".lock"):
            lock.unlink()
        try:
            fresh.rename(ready)
        except OSError:
            if not ready.is_dir():  # else another build was quicker, with the same result
                raise
    return ready


def build(version: str, faults: Sequence[str], out: Path, *, armed: bool = False) -> dict[str, Any]:
    """Write the source folder `out` (replaced if present) and return what its manifest must say."""
    numbers = parse_version(version)
    faulty = plan(faults)
    features = {name for name, since in FEATURES_SINCE.items() if numbers >= since} | faulty.features
    if armed:
        faulty.settings["armed_by_key"] = ARMED_BY.format(version=version)
    if out.exists():
        if not (out / "release.json").exists():
            raise BuildError(f"{out} exists and is not a build of this script: choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    # First, so that the next build may replace a folder that a killed one left half done.
    baked = {"version": version, "features": sorted(features), "faults": faulty.settings}
    (out / "release.json").write_text(json.dumps(baked, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # Without what depends on the machine or the installer, so that two builds are alike.
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "RECORD", "INSTALLER", "REQUESTED")
    for part in ("acceptance", "bin", "lib"):
        shutil.copytree(HERE / part, out / part, ignore=unwanted)
    shutil.copyfile(HERE / "openapi.yml", out / "openapi.yml")
    shutil.copytree(vendored(), out / "vendor", ignore=unwanted)
    highest = lay_migrations(out / "migrations", numbers, faulty)
    return {
        "name": "sample",
        "version": version,
        "source": str(out),
        "environment": list(ENVIRONMENT),
        "migrations": "migrations",
        "schema": {"min": highest, "max": highest},
        "faults": list(faults),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 built, 2 cannot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", required=True, help="MAJOR.MINOR.PATCH[-SUFFIX]")
    parser.add_argument("--fault", action="append", default=[], metavar="FAULT", help=FAULTS_HELP)
    parser.add_argument(
        "--armed",
        action="store_true",
        help="5xx, latency, failing-jobs and slow-jobs sleep until the Redis key"
        f" {ARMED_BY.format(version='VERSION')} exists",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    options = parser.parse_args(arguments)
    try:
        made = build(options.version, options.fault, options.out, armed=options.armed)
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 2
    print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
