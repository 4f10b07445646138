"""Counts in words: 1 drill, 2 drills."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun: `1 drill`, `0 drills`. `more` is the plural where it is not `one` with an s."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"
