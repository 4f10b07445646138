"""Errors for people, and what the exit codes mean."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]


EXIT_DONE = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2  # wrong arguments, wrong configuration, unreadable state
EXIT_REFUSED = 3  # a precondition does not hold; nothing changed
EXIT_LOCKED = 4  # the lock is another run's; nothing changed
EXIT_PUT_BACK = 5  # applied, but the read-back differed; put back
EXIT_DISK_ONLY = 6  # on disk, but HAProxy did not take it; it will at its next start
EXIT_LIVE_ONLY = 7  # HAProxy took it, but it could not be written to disk


class Trouble(Exception):
    """An error for a person: what was seen, what was expected, and the command that mends it."""

    def __init__(self, code: str, exit_code: int, observed: str, expected: str, remedy: str, **facts: Any) -> None:
        super().__init__(observed)
        self.code = code
        self.exit_code = exit_code
        self.observed = observed
        self.expected = expected
        self.remedy = remedy
        self.facts = facts

    def as_json(self) -> Json:
        """Return the error as it stands in the answer."""
        return {
            "code": self.code,
            "exit": self.exit_code,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }

    def as_text(self) -> str:
        """Return the error as a person reads it."""
        return f"turnout-edge: {self.code}: {self.observed}\n  expected: {self.expected}\n  remedy:   {self.remedy}"


def refusal(code: str, observed: str, expected: str, remedy: str) -> Trouble:
    """Return the error for a precondition that does not hold: nothing was changed."""
    return Trouble(code, EXIT_REFUSED, observed, expected, remedy)


def not_root(path: str) -> Trouble:
    """Return the error for a file that only root may touch."""
    return Trouble("not-root", EXIT_USAGE, f"{path} is not this user's to open", "root", "sudo turnout-edge ...")
