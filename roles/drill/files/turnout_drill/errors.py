"""What ends a drill early."""

from __future__ import annotations


class BrokenOff(Exception):
    """The drill cannot go on. `check` failed where the backup is at fault; without one the drill proves nothing."""

    def __init__(self, cause: str, check: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.check = check
