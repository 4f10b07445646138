"""Paths with names in braces, compared with others and with what is asked."""

from __future__ import annotations

import re

_NAME = re.compile(r"\{[^{}/]*\}")


def nameless(path: str) -> str:
    """Return a path whose parameters have no name: two routes that are one are equal so."""
    return _NAME.sub("{}", path.partition("?")[0])


def matched(template: str, path: str) -> bool:
    """Tell whether a path, with placeholders of a recipe or without, is one that a template stands for."""
    pattern = "".join("[^/]+" if part == "{}" else re.escape(part) for part in re.split(r"(\{\})", nameless(template)))
    return re.fullmatch(pattern, path) is not None
