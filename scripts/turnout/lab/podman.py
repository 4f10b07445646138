"""Running podman: with the lab's own configuration, as root, with a time limit, with errors for people."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError


class PodmanError(TurnoutError):
    """A podman command that failed; `stderr` is what it said."""

    def __init__(self, command: list[str], stderr: str) -> None:
        """Show the start of the command (a script inside it helps nobody) and the last line of its answer."""
        first = command.index("podman") if "podman" in command else 0
        last = stderr.strip().splitlines()[-1] if stderr.strip() else "it said nothing"
        super().__init__(
            "lab-podman",
            observed=f"`{shlex.join(command[first : first + 5])}` failed: {last}",
            expected="the command to succeed",
            remedy="turnout lab down && turnout lab up",
        )
        self.stderr = stderr


@dataclass(frozen=True)
class Podman:
    """The podman command of this machine."""

    conf: Path
    with_sudo: bool

    @property
    def root_prefix(self) -> list[str]:
        """The words that make a command run as root, none when this already is root."""
        return ["sudo"] if self.with_sudo else []

    def command(self, *args: str) -> list[str]:
        """Return the full command line; `env` carries the configuration, since sudo drops variables."""
        return [*self.root_prefix, "env", f"CONTAINERS_CONF={self.conf}", "podman", *args]

    def run(self, *args: str, text: str | None = None, timeout_s: float = 120) -> str:
        """Run podman and return its standard output; raises `PodmanError`, also after `timeout_s`."""
        return _run(self.command(*args), text, timeout_s)

    def run_as_root(self, *command: str, timeout_s: float = 30) -> str:
        """Run another program as root; for the host side of a container, such as its network namespace."""
        return _run([*self.root_prefix, *command], None, timeout_s)

    def json(self, *args: str) -> Any:
        """Run podman and return its standard output as JSON (an empty answer is an empty list)."""
        return json.loads(self.run(*args) or "[]")

    def succeeds(self, *args: str) -> bool:
        """Say whether podman exits 0; for questions such as `image exists`."""
        try:
            self.run(*args)
        except PodmanError:
            return False
        return True


def _run(command: list[str], text: str | None, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PodmanError(command, f"no answer in {timeout_s:g} s") from None
    if done.returncode != 0:
        raise PodmanError(command, done.stderr or done.stdout)
    return done.stdout
