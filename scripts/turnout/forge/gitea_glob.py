"""Patterns as Gitea and Forgejo read them (github.com/gobwas/glob): rules' names, and contexts that rules require."""

from __future__ import annotations

import re
from functools import cache

_SPECIAL = re.compile(r"[*?\\\[\]{}]")


def special(text: str) -> bool:
    """Tell whether `text` is a pattern."""
    return bool(_SPECIAL.search(text))


def literal(text: str) -> str:
    r"""Return the pattern that matches `text` alone: `test [3.11]` is `test \[3.11\]`."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def matches(pattern: str, text: str, separators: str = "") -> bool:
    """Tell whether `pattern` matches all of `text`; `*` and `?` match none of `separators`, `**` does.

    A pattern that cannot be read matches itself, as it does there.
    """
    try:
        return bool(_compiled(pattern, separators).fullmatch(text))
    except (IndexError, re.error):
        return pattern == text


@cache
def _compiled(pattern: str, separators: str) -> re.Pattern[str]:
    one = f"[^{re.escape(separators)}]" if separators else "."
    regex, braces, at = "", 0, 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            regex += re.escape(pattern[at])
            at += 1
        elif char == "*":
            deep = pattern[at : at + 1] == "*"
            regex += ".*" if deep else one + "*"
            at += deep
        elif char == "?":
            regex += one
        elif char == "[":
            end = pattern.index("]", at) if "]" in pattern[at:] else len(pattern)
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            regex += "[" + ("^" + inside[1:] if inside.startswith("!") else inside) + pattern[end]
            at = end + 1
        elif char == "{":
            regex, braces = regex + "(?:", braces + 1
        elif char == "}" and braces:
            regex, braces = regex + ")", braces - 1
        else:
            regex += "|" if char == "," and braces else re.escape(char)
    return re.compile(regex, re.DOTALL)
