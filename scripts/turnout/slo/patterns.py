"""Label patterns as Prometheus reads them: RE2 decides, and a few texts that a pattern matches are made up by it.

Prometheus matches the whole value, and a dot matches every character, line ends too
(https://prometheus.io/docs/prometheus/latest/querying/basics/, "Instant vector selectors").
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice, product

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.dot_nl = True
_LIKELY = "05x2a4A1Z 3-_./:"
_CHARACTERS = (*_LIKELY, *(c for c in map(chr, range(32, 127)) if c not in _LIKELY), "\u00e9", "\n")
_RARE = "".join(map(chr, (*range(1, 32), *range(0xA0, 0xD800), *range(0xE000, 0x20000))))
"""Looked through where none of the others fits; what lies above is rarer still."""
# What RE2's own library takes and Prometheus does not; classes and quoted parts are passed over.
_ALSO_REFUSED = re.compile(
    r"\\Q.*?(?:\\E|$)|\\[^C]|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]"
    r"|(?P<found>\\C|\(\?<\w*>|\(\?P<[^>]*[^>\x00-\x7f][^>]*>)",
    re.DOTALL,
)
_MOST = 64  # texts that one part of a pattern may give


class PatternError(ValueError):
    """A pattern that RE2 does not take; says why."""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re2._Regexp:
    """Return a pattern as RE2 understands it; raises `PatternError`."""
    for one in _ALSO_REFUSED.finditer(pattern):
        if one["found"]:
            named = ": name a group (?P<name>...), in ASCII" if "<" in one["found"] else ""
            raise PatternError(f"invalid escape or group {one['found']}{named}")
    try:
        re2.compile(f"^(?:{pattern})$", _OPTIONS)  # as Prometheus does: a part that is not closed is seen
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        why = error.args[0] if error.args else "not valid"
        raise PatternError(why.decode() if isinstance(why, bytes) else str(why)) from None


def accepts(pattern: str, value: str) -> bool:
    """Whether a pattern matches a whole value."""
    return compiled(pattern).fullmatch(value) is not None


def texts(pattern: str) -> list[str]:
    """Return texts that a valid pattern matches, shortest kinds first; none where none was found."""
    found = dict.fromkeys(_Reader(pattern).alternatives())
    return [text for text in found if accepts(pattern, text)]


class _Reader:
    """Reads a pattern that RE2 has taken, and gives texts for it. What it gives is tried afterwards, not trusted."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.flags = pattern, 0, ""

    def alternatives(self) -> list[str]:
        """Read up to the end of a group; return its texts."""
        choices = [self._sequence()]
        while self._next("|"):
            choices.append(self._sequence())
        return _in_turn(choices)[:_MOST]

    def _next(self, text: str) -> bool:
        if not self.pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _sequence(self) -> list[str]:
        parts: list[list[str]] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            parts.append(self._repeated(self._atom()))
        # The last part varies first: a text for each of its choices comes early.
        return ["".join(chosen) for chosen in islice(product(*parts), _MOST)]

    def _repeated(self, atom: list[str]) -> list[str]:
        """Return what an atom gives with the repetitions that follow it."""
        while self.at < len(self.pattern):
            counts: tuple[int, ...]
            if self.pattern[self.at] in "*?":
                counts, self.at = (1, 0), self.at + 1
            elif self.pattern[self.at] == "+":
                counts, self.at = (1,), self.at + 1
            elif bounds := re2.match(r"\{(\d+)(?:,\d*)?\}", self.pattern[self.at :]):
                counts, self.at = (int(bounds.group(1)),), self.at + bounds.end()
            else:
                return atom
            atom = list(dict.fromkeys(one * count for count in counts for one in atom))[:_MOST]
        return atom

    def _atom(self) -> list[str]:
        if self._next("("):
            return self._group()
        begin = self.at
        if self._next("\\Q"):
            end = self.pattern.find("\\E", self.at)
            literal = self.pattern[self.at : end if end >= 0 else None]
            self.at = len(self.pattern) if end < 0 else end + 2
            return [literal]
        if self._next("["):
            self._class()
        elif self._next("\\"):
            self._escape()
        else:
            self.at += 1
        atom = self.pattern[begin : self.at]
        if atom in ("^", "$") or (atom[0] == "\\" and atom[1] in "AzbB"):
            return [""]
        if atom.isalnum():
            return [atom]
        one = f"(?{self.flags}:{atom})"
        fitting = compiled(one)
        found = list(islice((c for c in _CHARACTERS if fitting.fullmatch(c)), 3))
        if not found and (rare := fitting.search(_RARE)):
            found = [rare[0]]
        return found or [""]

    def _group(self) -> list[str]:
        if self._next("?"):
            while self.at < len(self.pattern) and self.pattern[self.at] not in ":)<":
                if self.pattern[self.at] in "imsU" and self.pattern[self.at] not in self.flags:
                    self.flags += self.pattern[self.at]
                self.at += 1
            if self._next("<"):
                self.at = self.pattern.index(">", self.at)
            self.at += 1
            if self.pattern[self.at - 1] == ")":  # flags for the rest
                return [""]
        found = self.alternatives()
        self.at += 1
        return found

    def _class(self) -> None:
        """Go on to the end of a class. A bracket that comes first in it, is escaped or is a class's does not end it."""
        self._next("^")
        self._next("]")
        while not self._next("]"):
            if self._next("[:"):
                self.at = self.pattern.index(":]", self.at) + 2
            elif self._next("\\"):
                self._escape()
            else:
                self.at += 1

    def _escape(self) -> None:
        """Go on to the end of an escape, whose backslash was read."""
        kind = self.pattern[self.at]
        self.at += 1
        if kind in "pP" or kind == "x":
            if self._next("{"):
                self.at = self.pattern.index("}", self.at) + 1
            else:
                self.at += 2 if kind == "x" else 1
        elif kind in "01234567":
            while self.at < len(self.pattern) and self.pattern[self.at] in "01234567":
                self.at += 1


def _in_turn(choices: list[list[str]]) -> list[str]:
    """Return what several lists hold, the first of each before the second of any."""
    longest = max(map(len, choices))
    return [choice[i] for i in range(longest) for choice in choices if i < len(choice)]
