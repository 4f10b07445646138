"""`.turnoutignore`: what stays out of a release, in the common part of gitignore's syntax.

One pattern a line; `#` begins a comment; `*` and `?` stay inside a name, `**` crosses folders; a `/` at the
beginning or in the middle ties a pattern to the root, one at the end limits it to folders; `!` takes back. The last
pattern that matches decides. What lies in a folder that is left out is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError


@dataclass(frozen=True)
class _Rule:
    expression: re.Pattern[str]
    folders_only: bool
    takes_back: bool


class Ignore:
    """The patterns of one source folder."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take the patterns in order; later ones win."""
        self._rules = [rule for rule in map(_rule, patterns) if rule is not None]

    @classmethod
    def read(cls, file: Path, defaults: Iterable[str]) -> Ignore:
        """Return the defaults followed by what stands in `file`, where there is one."""
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        except (OSError, UnicodeDecodeError):
            raise TurnoutError(
                "ignore-file",
                observed=f"{file} cannot be read as text",
                expected="one pattern a line, in UTF-8",
                remedy="correct or remove it",
            ) from None
        return cls([*defaults, *lines])

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a path (relative, with slashes) stays out."""
        result = False
        for rule in self._rules:
            if (is_folder or not rule.folders_only) and rule.expression.fullmatch(path):
                result = not rule.takes_back
        return result


def _rule(line: str) -> _Rule | None:
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return None
    takes_back = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    folders_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    pattern = pattern.lstrip("/")
    if not pattern:
        return None
    prefix = "" if anchored else "(?:.*/)?"
    return _Rule(re.compile(prefix + _expression(pattern), re.DOTALL), folders_only, takes_back)


def _expression(pattern: str) -> str:
    translated = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", pattern)
    return "".join(translated.get(part, re.escape(part)) for part in parts)
