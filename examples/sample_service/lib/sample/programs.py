"""How every program of `bin/` starts: signals first, slow imports second, errors as one line."""

from __future__ import annotations

import importlib
import os
import signal
import sys

from . import signals
from .config import ConfigError

CAUGHT = {
    "api": (signal.SIGTERM, signal.SIGINT),
    "admin": (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1),
    "events": (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1),
    "worker": (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2),
    "scheduler": (signal.SIGTERM, signal.SIGINT),
    "migrate": (),
}


def run(program: str) -> None:
    """Run `program` and exit with its code; 2 when its environment is wrong."""
    signals.catch(*CAUGHT[program])
    # Else a series with the time of its birth stands beside every counter. (Debian 12's client
    # has no call for it.)
    os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")
    try:
        sys.exit(importlib.import_module(f"sample.{program}").main())
    except ConfigError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(2)
