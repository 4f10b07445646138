"""`.turnoutignore`: what stays out of a release, in gitignore's grammar (gitignore(5)), also one in each folder.

pathspec matches. Where it reads a line otherwise than git does, the line is written for it so that both mean the same,
or refused: a pattern that git would pass over in silence could ship what was meant to stay out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from turnout.errors import TurnoutError

IGNORE_FILE = ".turnoutignore"

_TRAILING_SPACES = re.compile(r"((?:[^\\ ]|\\.| +(?=[^ ]))*) *", re.DOTALL)  # git's: one after a backslash stays
_BRACKETS = re.compile(r"\\.|\[([!^]?)(\]?)([^]]*)\]", re.DOTALL)
_NO_SLASH = "\0"  # stands before a negated bracket until there is an expression; no name holds it
_SHORT = {".": ".+", "(?P<ps_d>/)": ".+/"}
_NOT_IN_BRACKETS = re.compile(r"\\|\[[:.=]")  # an escape, or a class by its name, which pathspec does not know

Rule = tuple[re.Pattern[str], bool]  # what it matches, a folder with its slash; whether that stays out


@dataclass(frozen=True)
class Ignore:
    """The patterns that count in a folder: those of the folders above it, then its own; the last that matches decides.

    What lies in a folder that is left out is not looked at, and cannot be taken back.
    """

    rules: tuple[tuple[str, tuple[Rule, ...]], ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str]) -> Ignore:
        """Return what these lines mean at the root of a source."""
        return cls((("", _rules(lines, "the patterns")),))

    def within(self, folder: Path, prefix: str) -> Ignore:
        """Return what counts in `folder`, which is `prefix` (with its slash) below the root, with its own file."""
        file = folder / IGNORE_FILE
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return self
        except (OSError, UnicodeDecodeError):
            raise TurnoutError(
                "ignore-file",
                observed=f"{file} cannot be read as text",
                expected="one pattern a line, in UTF-8",
                remedy="correct or remove it",
            ) from None
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        return Ignore((*self.rules, (prefix, _rules(lines, str(file)))))

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a path (relative to the root, with slashes) stays out."""
        for prefix, rules in reversed(self.rules):
            name = path.removeprefix(prefix) + ("/" if is_folder else "")
            for expression, stays_out in reversed(rules):
                if expression.fullmatch(name):
                    return stays_out
        return False


def _rules(lines: Iterable[str], file: str) -> tuple[Rule, ...]:
    rules = []
    for number, line in enumerate(lines, start=1):
        pattern = _trimmed(line)
        if pattern in ("", "/", "!/") or pattern.startswith("#"):
            continue
        try:
            rules.append(_followed(pattern))
        except (ValueError, re.error):
            raise TurnoutError(
                "ignore-file",
                observed=f"{file}:{number}: {line!r} cannot be followed",
                expected="a pattern of gitignore's grammar; in [ ] single characters and ranges; no \\ last",
                remedy="correct the line; a \\ before a character takes it as it is: \\[ \\! \\# \\*",
            ) from None
    return tuple(rules)


def _trimmed(line: str) -> str:
    """Return a line without the spaces at its end that git does not count."""
    found = _TRAILING_SPACES.fullmatch(line)
    return found[1] if found else line


def _followed(pattern: str) -> Rule:
    """Return an expression for what the line means to git. Raises ValueError or `re.error`.

    pathspec makes it, made for paths of files: it cuts all white space off the end, lets `[!a]` match a slash, takes
    `a/**` for `a/`, and has short expressions that find any name, or a slash.
    """
    if _NO_SLASH in pattern or "[" in _BRACKETS.sub("", pattern):
        raise ValueError(pattern)  # never closed: git would pass it over
    if pattern[-1].isspace():
        pattern = f"{pattern[:-1].removesuffix(chr(92))}[{pattern[-1]}]"
    pattern = _BRACKETS.sub(_bracket, pattern)
    if pattern.endswith(("/**", "/**/")):
        pattern += "/*" if pattern.endswith("*") else "*/"
    regex, include = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    if regex is None:
        raise ValueError(pattern)
    regex = _SHORT.get(regex, regex).replace(_NO_SLASH, "(?!/)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of [[a] and [a--b], whose meaning a later Python may change
        return re.compile(regex), bool(include)


def _bracket(found: re.Match[str]) -> str:
    negation, _, rest = found.groups()
    if rest and _NOT_IN_BRACKETS.search(rest):
        raise ValueError(found[0])
    return (_NO_SLASH if negation else "") + found[0]
