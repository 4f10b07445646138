"""Logs that whoever runs the packs names: what was written to them since the run began."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_SECONDS = 60.0


class Logs:
    """Files from where they ended when this was made, and commands that print a log."""

    def __init__(self, files: Sequence[Path], commands: Sequence[str]) -> None:
        self._files = {file: _size(file) for file in files}
        self._commands = commands

    @property
    def given(self) -> bool:
        """Whether there is any log."""
        return bool(self._files or self._commands)

    def read(self) -> Iterator[tuple[str, str, str]]:
        """Yield of each log its name, what is new in it, and why that proves nothing, empty where it does."""
        for file, size in self._files.items():
            try:
                with file.open("rb") as stream:
                    stream.seek(size if _size(file) >= size else 0)  # shorter: it was rotated
                    text = stream.read().decode(errors="replace")
            except OSError as error:
                yield file.name, "", f"it cannot be read ({error.strerror})"
            else:
                yield file.name, text, "" if text else "nothing was written to it in the run"
        for number, command in enumerate(self._commands, 1):
            name = f"log command {number}"
            try:
                done = subprocess.run(shlex.split(command), capture_output=True, timeout=_SECONDS, check=False)
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                yield name, "", f"it cannot be run ({type(error).__name__})"
                continue
            text = done.stdout.decode(errors="replace")
            failed = f"it ended with {done.returncode}" if done.returncode else "" if text else "it printed nothing"
            yield name, text, failed


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
