"""Many faults in one error: a person who mends a file wants to see all of them at once.

A `Fault` names the place (`service.api.ports.green`), what stands there, what should, and the remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from turnout import tables
from turnout.counts import counted
from turnout.errors import TurnoutError

_COLUMNS = ("where", "observed", "expected", "to mend")
_WIDTHS = (30, 30, 30, 44)
_SHOWN_LENGTH = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where it stands, and what mends it. No field may hold a secret.

    `place` is file and line, where they are known.
    """

    path: str
    observed: str
    expected: str
    remedy: str
    place: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fault as JSON output and Ansible results carry it."""
        return {
            "path": self.path,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
            **({"place": self.place} if self.place else {}),
        }


class FaultsError(TurnoutError):
    """All faults of one input, as one error; `faults` holds them, `str()` shows them as a table."""

    def __init__(self, code: str, subject: str, faults: Sequence[Fault]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            code,
            observed=f"{counted(count, 'fault')} in {subject}",
            expected="no fault",
            remedy="mend every row of the table, then run the same command again",
        )

    def as_dict(self) -> dict[str, str]:
        """Return the error's fields; the rows are in `faults`."""
        return {**super().as_dict(), "table": table(self.faults)}

    def __str__(self) -> str:
        """Return the headline and the table of faults."""
        return f"error[{self.code}]: {self.observed}\n{table(self.faults)}"


def table(faults: Iterable[Fault]) -> str:
    """Return the faults as a table for a terminal, long cells wrapped."""
    rows = [_COLUMNS, *((f"{f.path} {f.place}".strip(), f.observed, f.expected, f.remedy) for f in faults)]
    return "\n".join(f"  {line}" for line in tables.lines(rows, most=_WIDTHS, ruled=True))


def shown(value: object) -> str:
    """Return how a value that is no secret appears in a message: its kind, and its start when it is short.

    An address is not shown where a password or a token may stand in it, wherever a person wrote it.
    """
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int):
        return f"the number {value}"
    if isinstance(value, float):
        return f"the number {value!r}"
    if isinstance(value, str):
        return _shown_text(value)
    return kind_of(value)


def quoted(text: str) -> str:
    """Return a text as a message shows it: in quotes, unless it is an address that may hold a secret."""
    return _address(text) or repr(text)


def _address(value: str) -> str | None:
    """Return what is told of a text in place of it, where it is an address that may hold a secret."""
    if "@" in value and (":" in value or "//" in value):
        return "an address with a user in it"
    if ":/" in value and ("?" in value or "#" in value):
        return "an address with ? or # in it"
    return None


def _shown_text(value: str) -> str:
    if address := _address(value):
        return address
    text = value if len(value) <= _SHOWN_LENGTH else value[: _SHOWN_LENGTH - 1] + "…"
    return f"the text {str(text)!r}"


def kind_of(value: object) -> str:
    """Return the kind of a value in a person's words, and nothing of its content."""
    if value is None:
        return "nothing (null)"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "a text"),
        (date, "a date"),
        (Mapping, "a mapping"),
        ((list, tuple), "a list"),
    )
    for kind, name in kinds:
        if isinstance(value, kind):
            return name
    return f"a value of type {type(value).__name__}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a person most likely meant, or None."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def shown_key(key: object) -> str:
    """Return a key as it may appear in a path: a key that is no plain word could be a misplaced value."""
    text = str(key)
    return text if _PLAIN_KEY.fullmatch(text) else f"({kind_of(key)} that is no name)"
