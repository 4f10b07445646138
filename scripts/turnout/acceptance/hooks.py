"""What whoever runs the packs gives beside the candidate's address: commands, the database, logs."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SECONDS = 60.0


@dataclass(frozen=True)
class Hooks:
    """Commands are run without a shell; an empty one is not there, and what needs it is not known.

    `kill` kills the workers of the candidate with SIGKILL and starts them again. `database` is the address of the
    candidate's database, a secret.
    """

    kill: str = ""
    database: str = field(default="", repr=False)
    logs: tuple[Path, ...] = ()
    log_commands: tuple[str, ...] = ()
    canaries: Mapping[str, str] = field(default_factory=dict, repr=False)
    clock: str = ""
    cache_empty: str = ""
    cache_stop: str = ""
    cache_start: str = ""


def call(command: str, **environment: str) -> str:
    """Run a command; return what went wrong, empty for nothing. Its output is not shown: it may hold secrets."""
    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=_SECONDS, check=False, env={**os.environ, **environment},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not end within {_SECONDS:.0f} s"
    except (OSError, ValueError) as error:
        return f"it cannot be run ({error})"
    return f"it ended with {done.returncode}" if done.returncode else ""
