"""How the paths of routes are written that the edges count answers by, and limit."""

from __future__ import annotations

import re

SEGMENT = r"[A-Za-z0-9._~:@,=+-]*"
"""One part of a path that stands for itself (a regular expression): what HAProxy's configuration takes as it is."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that a route may name."""
_SEGMENT = re.compile(r"\{[A-Za-z0-9_.-]+\}|" + SEGMENT)


def segments(path: str) -> tuple[list[str], bool]:
    """Return the parts of a declared path, and whether all that follows them belongs to it.

    Raises ValueError where it is no path such as /api/orders/{id} or /static/*.
    """
    rest = path.endswith("/*")
    parts = (path[:-1] if rest else path).split("/")
    if parts[0] or len(parts) < 2 or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise ValueError("is no path such as /api/orders/{id} or /static/*")
    return parts[1:], rest


def route_regex(path: object) -> str:
    """Return a declared path as a pattern for HAProxy's path_reg; ValueError tells that it is none."""
    parts, rest = segments(str(path))
    # No backslash: in HAProxy's configuration it would be taken for something else.
    escaped = ["[^/]+" if part.startswith("{") else re.sub(r"[.+]", r"[\g<0>]", part) for part in parts]
    return "^/" + "/".join(escaped) + ("" if rest else "$")


def covers(one: str, other: str) -> bool:
    """Tell whether every path that fits the second declared path fits the first as well."""
    (mine, open_end), (theirs, their_end) = segments(one), segments(other)
    if open_end:
        mine = mine[:-1]  # what follows the last slash
    elif their_end or len(mine) != len(theirs):
        return False
    if len(theirs) < len(mine) + open_end:
        return False
    pairs = zip(mine, theirs, strict=False)
    return all(a.lower() == b.lower() or (a.startswith("{") and b != "") for a, b in pairs)
