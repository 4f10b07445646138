"""The one kind of error that is meant for a person."""

from __future__ import annotations

EXIT_USAGE = 2
EXIT_REFUSED = 75  # EX_TEMPFAIL of sysexits.h: not run now, try again later
EXIT_TIMEOUT = 124  # as timeout(1) has it


class Trouble(Exception):
    """What was seen, what was expected, and what mends it. No field holds a secret."""

    def __init__(self, code: str, observed: str, expected: str, remedy: str, exit_code: int = EXIT_USAGE) -> None:
        super().__init__(observed)
        self.code, self.observed, self.expected, self.remedy = code, observed, expected, remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.observed}\n  expected: {self.expected}\n  to mend:  {self.remedy}"
