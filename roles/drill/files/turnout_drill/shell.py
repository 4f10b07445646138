"""Running programs: as another user, with their words kept for the cause."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Mapping

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}


class ProgramError(Exception):
    """A program ended with another code than 0; the text is the last of what it said, `said` is all of it."""

    def __init__(self, text: str, said: str = "") -> None:
        super().__init__(text)
        self.said = said


def run(
    argv: list[str], *, user: str | None = None, stdin: bytes | None = None, timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None, allowed: tuple[int, ...] = (0,),
) -> bytes:  # fmt: skip
    """Run a program; return its standard output. Raises ProgramError."""
    account = {}
    if user is not None:
        entry = pwd.getpwnam(user)
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}
    try:
        done = subprocess.run(
            argv, input=b"" if stdin is None else stdin, capture_output=True, check=False, cwd="/",
            timeout=timeout_s, env={**_ENVIRONMENT, **(environment or {})}, **account,  # type: ignore[call-overload]
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"{argv[0]}: {error}") from None
    if done.returncode not in allowed:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        short = " ".join(said.split())[-700:]
        raise ProgramError(f"{os.path.basename(argv[0])} ended with code {done.returncode}: {short}", said)
    return bytes(done.stdout)


def systemctl(*words: str) -> None:
    """Run systemctl and do not mind what it says, nor whether it is done in time: what is gone already is gone."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["systemctl", *words], capture_output=True, check=False, timeout=120)


def transient(
    unit: str, argv: list[str], properties: Mapping[str, object], environment: Mapping[str, str] | None = None,
    *, wait_s: float | None = None,
) -> None:  # fmt: skip
    """Start a program as a transient unit, and return once it has been executed, with `wait_s` once it has ended.

    A property with several values is given once for each. Raises ProgramError.
    """
    words = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--property=Type=exec"]
    for name, value in properties.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--property={name}={one}" for one in values]
    words += [f"--setenv={name}={value}" for name, value in (environment or {}).items()]
    words += [] if wait_s is None else ["--wait"]
    run([*words, "--", *argv], timeout_s=wait_s or 60)


def transient_to_end(
    unit: str, argv: list[str], properties: Mapping[str, object], environment: Mapping[str, str], limit_s: float
) -> None:
    """Run a program as a transient unit to its end. Raises ProgramError where that is not code 0 within `limit_s`."""
    transient(unit, argv, {**properties, "RuntimeMaxSec": limit_s}, environment, wait_s=limit_s + 30)


def unit_active(unit: str) -> bool:
    """Tell whether a unit runs."""
    done = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False, timeout=30)
    return done.returncode == 0


def unit_ended(unit: str) -> bool:
    """Tell whether a unit is over, what it does at its end included."""
    done = subprocess.run(
        ["systemctl", "show", "--property=ActiveState", "--value", unit],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout.strip() in ("inactive", "failed", "")


def unit_said(unit: str, lines: int = 3) -> str:
    """Return the last lines that a unit wrote to the journal."""
    done = subprocess.run(
        ["journalctl", f"--unit={unit}", f"--lines={lines}", "--output=cat", "--no-pager"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return " ".join(done.stdout.split())[-400:]
