"""What the tests of the checklist share: a service, a manifest, a situation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turnout.checklist import config as checklist_config
from turnout.checklist.config import Checklist
from turnout.checklist.model import HostSeen, Situation
from turnout.service import load

NOW_S = 1_780_000_000.0
GROUPS = {
    "edge": ["edge1"],
    "api": ["app1", "app2"],
    "worker": ["app1"],
    "postgres": ["db1"],
    "monitoring": ["mon1"],
}
SERVICE: dict[str, Any] = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    "workers": {"jobs": {"command": "bin/worker"}},
    "migrate": {"up": "bin/migrate up", "version": "bin/migrate version"},
    "environment": {
        "DATABASE_URL": "postgresql://shop_app:s3cret-db@10.0.0.3/shop",
        "REDIS_URL": "redis://:s3cret-redis@10.0.0.3:6379/0",
        "TASK_REMINDER_HOUR": "9",
    },
}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "manifest": 1,
        "name": "shop",
        "version": "1.4.2",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "built_at": "2026-01-02T03:04:05Z",
        "artifact": {
            "kind": "tarball",
            "file": "shop-1.4.2.tar.zst",
            "sha256": "a" * 64,
            "bytes": 1000,
            "unpacked_bytes": 4000,
        },
        "environment": ["DATABASE_URL", "REDIS_URL", "TASK_REMINDER_HOUR"],
        "schema": {"min": 2, "max": 2},
        "migrations": [
            {"version": 1, "id": "0001_init", "kind": "expand", "sha256": "b" * 64},
            {"version": 2, "id": "0002_more", "kind": "expand", "sha256": "c" * 64},
        ],
        **changes,
    }


def read(value: dict[str, Any] | None = None, service_value: dict[str, Any] | None = None) -> Checklist:
    whole = load(service_value or SERVICE, base_dir=Path("/inventory"))
    return checklist_config.load(value, service=whole, base_dir=Path("/inventory"))


def situation(answers: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Situation:
    """Return a situation; `answers` maps a host to {probe: data or problem kind}."""
    seen = {
        host: HostSeen(
            answers={
                probe: {"ok": True, "seconds": 0.1, "data": value}
                if isinstance(value, dict)
                else {"ok": False, "seconds": 0.1, "problem": {"kind": value, "text": f"({value})"}}
                for probe, value in probes.items()
            },
            asked_s=NOW_S - 5,
            answered_s=NOW_S - 3,
        )
        for host, probes in (answers or {}).items()
    }
    values: dict[str, Any] = {
        "service": load(SERVICE, base_dir=Path("/inventory")),
        "manifest": manifest(),
        "groups": GROUPS,
        "now_s": NOW_S,
        "seen": seen,
    }
    return Situation(**{**values, **changes})
