"""What a process is told: its environment, and what was baked into its release.

Standard library only, and imported before anything slow, so that a wrong
environment is reported at once and signal handlers stand early.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RELEASE_ROOT = Path(__file__).resolve().parents[2]


class ConfigError(Exception):
    """A variable of the environment is missing or malformed; the text says which and how to mend it."""


def required(env: Mapping[str, str], name: str) -> str:
    """The value of variable `name`, or ConfigError if it is absent or empty."""
    value = env.get(name, "").strip()
    if not value:
        raise ConfigError(f"{name} is not set: add it to `environment` in the service file")
    return value


def number(env: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """The number in variable `name` (`default` when unset), or ConfigError outside low..high."""
    text = env.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ConfigError(f"{name} is {text!r}: expected a number from {low:g} to {high:g}")
    return value


@dataclass(frozen=True)
class Faults:
    """Faults built into a release, for tests; the defaults are a release without any.

    They are baked into a file of the release and not read from the environment,
    because a bad release is bad wherever it is laid, and because a service file must
    not need to know of them.
    """

    http_5xx_rate: float = 0.0
    latency_ms: float = 0.0
    crash_at_start: bool = False
    never_healthy: bool = False
    unhealthy_on: str = ""
    failing_jobs_rate: float = 0.0
    slow_jobs_ms: float = 0.0
    bad_smoke: bool = False
    secret_in_output: bool = False
    worker_ends_after_s: float = 0.0
    worker_eats_mb_per_s: float = 0.0
    worker_idle: bool = False
    armed_by_key: str = ""
    """While this Redis key does not exist, faults of answers and jobs sleep."""


@dataclass(frozen=True)
class Release:
    """What this release is: baked at build time into `release.json`."""

    version: str = "0.0.0-dev"
    features: frozenset[str] = frozenset()
    faults: Faults = field(default_factory=Faults)

    @property
    def reads_notes(self) -> bool:
        """Whether this version still uses the column tasks.notes."""
        return "no-notes" not in self.features

    @property
    def reads_priority(self) -> bool:
        """Whether this version uses the column tasks.priority (migration 0002)."""
        return "priority" in self.features


def load_release(root: Path = RELEASE_ROOT) -> Release:
    """Read `release.json` of the release at `root`; a source tree without one is version 0.0.0-dev."""
    path = root / "release.json"
    if not path.exists():
        return Release(features=frozenset({"priority"}))
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Release(
        version=data["version"],
        features=frozenset(data["features"]),
        faults=Faults(**data["faults"]),
    )


@dataclass(frozen=True)
class Identity:
    """Who this process is, for headers, records and metrics."""

    release: str
    color: str
    host: str

    @property
    def executor(self) -> str:
        """A name for this process that no other process has had."""
        return f"{self.host}-{self.color}-{os.getpid()}-{os.urandom(3).hex()}"


def identity(env: Mapping[str, str], release: Release) -> Identity:
    """This process's identity; the version is the baked one, so it cannot disagree with the code."""
    return Identity(release=release.version, color=env.get("TURNOUT_COLOR", "none"), host=socket.gethostname())


def log(event: str, **fields: object) -> None:
    """Write one JSON line to stdout, where systemd's journal takes it."""
    sys.stdout.write(json.dumps({"event": event, **fields}, default=str) + "\n")
    sys.stdout.flush()


def begin(program: str, release: Release, env: Mapping[str, str]) -> None:
    """Say what starts, and act out the faults that belong to a start."""
    log(
        "start",
        program=program,
        release=release.version,
        laid_as=env.get("TURNOUT_RELEASE", ""),
        color=env.get("TURNOUT_COLOR", ""),
    )
    if release.faults.secret_in_output:
        for name, value in sorted(env.items()):
            sys.stderr.write(f"debug: {name}={value}\n")
        sys.stderr.flush()
    if release.faults.crash_at_start:
        sys.stderr.write(f"{program}: this release was built to crash at its start\n")
        raise SystemExit(1)
