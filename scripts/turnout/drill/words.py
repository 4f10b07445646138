"""Times and sizes of drills in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration as a person says it: 12.5 s, 3 min 20 s, 5 h 2 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, size, small, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size(value: float | None) -> str:
    """Return bytes in the largest unit that leaves a number above 1."""
    if value is None:
        return "-"
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {unit}"
    return f"{value:.0f} B"
