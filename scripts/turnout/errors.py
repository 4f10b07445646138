"""The one kind of error that is meant for a person.

Every fault that a user can cause or mend is raised as a `TurnoutError`; the faces (the command line and the
Ansible modules) turn it into a message. Anything else is a defect of Turnout itself.
"""

from __future__ import annotations


class TurnoutError(Exception):
    """What was seen, what was expected, and what mends it.

    `code` is a short stable word (`release-unknown`) for documents, tests and searches. `remedy` is an exact
    command or variable. No field may hold a secret.
    """

    def __init__(self, code: str, *, observed: str, expected: str, remedy: str) -> None:
        super().__init__(observed)
        self.code = code
        self.observed = observed
        self.expected = expected
        self.remedy = remedy

    def as_dict(self) -> dict[str, str]:
        """Return the fields as Ansible modules and JSON output carry them."""
        return {
            "code": self.code,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        """Return the message as a person reads it, over four lines."""
        return f"error[{self.code}]: {self.observed}\n  expected: {self.expected}\n  to mend:  {self.remedy}"
