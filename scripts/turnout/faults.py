"""Many faults in one error: a person who mends a file wants to see all of them at once.

A `Fault` names the place (`service.api.ports.green`), what stands there, what should, and the remedy. A `Reader`
walks a mapping that a person wrote, collects faults instead of raising at the first, and reports keys that it
was never asked for, with the nearest name that it does know.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from turnout import tables
from turnout.errors import TurnoutError

_COLUMNS = ("where", "observed", "expected", "to mend")
_WIDTHS = (30, 30, 30, 44)
_SHOWN_LENGTH = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where it stands, and what mends it. No field may hold a secret."""

    path: str
    observed: str
    expected: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Return the fault as JSON output and Ansible results carry it."""
        return {
            "path": self.path,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }


class FaultsError(TurnoutError):
    """All faults of one input, as one error; `faults` holds them, `str()` shows them as a table."""

    def __init__(self, code: str, subject: str, faults: Sequence[Fault]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            code,
            observed=f"{count} fault{'' if count == 1 else 's'} in {subject}",
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
    rows = [_COLUMNS, *((f.path, f.observed, f.expected, f.remedy) for f in faults)]
    return "\n".join(f"  {line}" for line in tables.lines(rows, most=_WIDTHS, ruled=True))


def shown(value: object) -> str:
    """Return how a value that is no secret appears in a message: its kind, and its start when it is short."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int):
        return f"the number {value}"
    if isinstance(value, float):
        return f"the number {value!r}"
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN_LENGTH else value[: _SHOWN_LENGTH - 1] + "…"
        return f"the text {str(text)!r}"
    return kind_of(value)


def kind_of(value: object) -> str:
    """Return the kind of a value in a person's words, and nothing of its content."""
    if value is None:
        return "nothing (null)"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "a text"),
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


@dataclass
class Reader:
    """Reads one mapping written by a person; every fault goes to `faults`, which its children share.

    Every method returns a usable value even after a fault, so that reading goes on and finds the rest.
    `secret` readers never show a value; `broken` ones stand for a value of the wrong kind, whose missing keys
    would be noise.
    """

    value: Mapping[object, object]
    path: str
    faults: list[Fault]
    secret: bool = False
    broken: bool = False
    asked: set[str] = field(default_factory=set)

    def fault(self, key: str | None, observed: str, expected: str, remedy: str) -> None:
        """Record a fault at `key` of this mapping (None: at the mapping itself)."""
        where = self.path if key is None else f"{self.path}.{key}"
        self.faults.append(Fault(where, observed, expected, remedy))

    def show(self, value: object) -> str:
        """Return the value as a message may carry it."""
        return kind_of(value) if self.secret else shown(value)

    def has(self, key: str) -> bool:
        """Tell whether the key stands there with a value that is not null."""
        self.asked.add(key)
        return self.value.get(key) is not None

    def raw(self, key: str) -> object:
        """Return the value of the key as it is, None when absent."""
        self.asked.add(key)
        return self.value.get(key)

    def need(self, key: str, expected: str, example: str) -> bool:
        """Record a fault when the key is missing; return whether it is there."""
        if self.has(key):
            return True
        if self.broken:
            return False
        observed = "nothing (null)" if key in self.value else "no such key"
        self.fault(key, observed, expected, f"add `{key}: {example}` to {self.path}")
        return False

    def text(
        self,
        key: str,
        *,
        default: str | None = None,
        pattern: str | None = None,
        expected: str = "a text",
        example: str = "...",
        required: bool = False,
    ) -> str:
        """Return the text at `key`; `pattern` must match all of it, and one that is required must say something.

        Returns `default` or '' after a fault.
        """
        fallback = default if default is not None else ""
        if required and not self.need(key, expected, example):
            return fallback
        if not self.has(key):
            return fallback
        value = self.raw(key)
        if not isinstance(value, str):
            quote = "; a number must stand in quotes to be a text" if isinstance(value, int | float) else ""
            self.fault(key, self.show(value), expected, f"write {key}: {example}{quote}")
            return fallback
        if required and not value.strip():
            self.fault(key, "an empty text", expected, f"write {key}: {example}")
            return fallback
        if pattern is not None and not re.fullmatch(pattern, value):
            self.fault(key, self.show(value), expected, f"write {key}: {example}")
            return fallback
        return str(value)

    def optional_text(
        self, key: str, *, pattern: str | None = None, expected: str = "a text", example: str = "..."
    ) -> str | None:
        """Return the text at `key`, or None when it is absent or null."""
        if not self.has(key):
            return None
        return self.text(key, pattern=pattern, expected=expected, example=example) or None

    def whole(self, key: str, low: int, high: int, *, unit: str, default: int | None = None, example: str = "") -> int:
        """Return the whole number at `key` between `low` and `high`; without a default the key is required."""
        expected = f"a whole number of {unit} from {low} to {high}"
        fallback = default if default is not None else low
        sample = example or str(fallback)
        if default is None and not self.need(key, expected, sample):
            return fallback
        if not self.has(key):
            return fallback
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int):
            quoted = isinstance(value, str) and value.strip().isdigit()
            remedy = f"write {key}: {sample}" + (" (no quotes; from a template: `| int`)" if quoted else "")
            self.fault(key, self.show(value), expected, remedy)
            return fallback
        if not low <= value <= high:
            self.fault(key, self.show(value), expected, f"write {key}: {sample}")
            return fallback
        return int(value)

    def number(self, key: str, low: float, high: float, *, unit: str, default: float) -> float:
        """Return the number at `key` between `low` and `high` inclusive."""
        if not self.has(key):
            return default
        value = self.raw(key)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not fits:
            expected = f"a number of {unit} from {low:g} to {high:g}"
            self.fault(key, self.show(value), expected, f"write {key}: {default:g}")
            return default
        assert isinstance(value, int | float)  # noqa: S101 - known from `fits`; tells the type checker
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false; the words "yes" and "no" in quotes are neither."""
        if not self.has(key):
            return default
        value = self.raw(key)
        if isinstance(value, bool):
            return value
        self.fault(key, f"{kind_of(value)} {self.show(value)}", "true or false", f"write {key}: true, or {key}: false")
        return default

    def mapping(self, key: str, *, example: str = "", required: bool = False, secret: bool = False) -> Reader:
        """Return a reader of the mapping at `key`; of an empty one when it is absent or after a fault."""
        expected = "a mapping of keys to values"
        missing = required and not self.need(key, expected, example or "{...}")
        value = self.raw(key)
        wrong = value is not None and not isinstance(value, Mapping)
        if wrong:
            self.fault(key, kind_of(value), expected, f"write {key}: {example or '{key: value}'}")
        content = value if isinstance(value, Mapping) else {}
        path = f"{self.path}.{key}"
        return Reader(content, path, self.faults, secret=secret or self.secret, broken=missing or wrong)

    def items(self, key: str, *, expected: str, example: str) -> list[object]:
        """Return the list at `key`, empty when it is absent or after a fault."""
        if not self.has(key):
            return []
        value = self.raw(key)
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.fault(key, self.show(value), expected, f"write {key}: {example}")
            return []
        return list(value)

    def done(self) -> None:
        """Record a fault for every key that nobody asked for. Their values are never shown."""
        for key in self.value:
            if isinstance(key, str) and key in self.asked:
                continue
            likely = nearest(str(key), self.asked)
            remedy = f"rename it to `{likely}`, or remove it" if likely else f"remove it from {self.path}"
            known = ", ".join(sorted(self.asked))
            self.fault(shown_key(key), "a key that Turnout does not know", f"one of: {known}", remedy)


def reader_of(value: object, path: str, faults: list[Fault]) -> Reader:
    """Return a reader of `value`, which must be a mapping; of an empty one after a fault."""
    if isinstance(value, Mapping):
        return Reader(value, path, faults)
    faults.append(Fault(path, kind_of(value), "a mapping of keys to values", f"write {path}: as a mapping"))
    return Reader({}, path, faults, broken=True)
