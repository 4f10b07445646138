"""A whole service file, and the smallest one."""

import copy
from typing import Any

SECRET = "s3cr3t-value-that-nobody-may-see"

_FULL: dict[str, Any] = {
    "name": "shop",
    "user": "shopkeeper",
    "packages": ["libpq5", "python3"],
    "releases": {
        "source": "s3://releases/shop",
        "allowed_signers": "allowed_signers",
        "s3": {
            "endpoint": "https://store1:8333",
            "region": "lab",
            "ca_file": "ca.pem",
            "access_key": f"{SECRET}-a",
            "secret_key": f"{SECRET}-b",
        },
        "keep": 3,
    },
    "api": {
        "command": "bin/api --port ${PORT}",
        "ports": {"blue": 8001, "green": 8002},
        "health": {"path": "/api/health/", "status": 200, "timeout_s": 1.5, "deadline_s": 30},
        "stop_signal": "SIGINT",
        "drain_s": 20,
    },
    "workers": {
        "jobs": {
            "command": "bin/worker --queue default",
            "instances": 2,
            "quiesce_signal": "SIGUSR1",
            "resume_signal": "SIGUSR2",
            "stop_signal": "SIGTERM",
            "drain_s": 60,
            "metrics_port": {"blue": 9101, "green": 9111},
        },
    },
    "scheduler": {"command": "bin/scheduler", "stop_signal": "SIGTERM", "drain_s": 5},
    "migrate": {
        "up": "bin/migrate up",
        "down": "bin/migrate down",
        "version": "bin/migrate version",
        "timeout_s": 120,
        "environment": {"MIGRATE_URL": f"{SECRET}-c"},
    },
    "environment": {"DATABASE_URL": f"{SECRET}-d", "WORKERS": "8", "DEBUG": "false", "RATIO": "0.5", "EMPTY": ""},
    "bucket": {"header": "Authorization"},
    "smoke": [
        {"path": "/api/health/"},
        {
            "path": "/api/auth/login/",
            "method": "POST",
            "status": 201,
            "contains": "token",
            "body": {"password": f"{SECRET}-e"},
            "headers": {"X-Key": f"{SECRET}-f"},
        },
    ],
    "steps": [{"share_bp": 1000, "hold_s": 2}, {"share_bp": 10000, "hold_s": 0.5}],
    "guard": {"max_5xx_ratio": 0.01, "min_5xx": 5},
    "judge": {
        "prometheus": "http://10.0.0.41:9090",
        "slos": "objectives",
        "patience_s": 900,
        "bake_s": 600,
        "fastest_window_s": 300,
        "probes_per_s": 2.5,
    },
    "warm_s": 600,
}


def full() -> dict[str, Any]:
    return copy.deepcopy(_FULL)


def small() -> dict[str, Any]:
    return {
        "name": "shop",
        "releases": {"source": "/srv/releases", "allowed_signers": "/etc/signers"},
        "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    }
