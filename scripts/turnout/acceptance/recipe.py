"""Placeholders of a recipe: `${name}` stands for a variable, `$$` for one $.

A text that is one placeholder and nothing else becomes the variable's own value, a number too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

VARIABLE = r"[a-z][a-z0-9_]{0,39}"
_PLACEHOLDER = re.compile(rf"\$(?:\$|\{{({VARIABLE})\}})")


def names_in(value: Any) -> Iterator[str]:
    """Yield the variables that a value names, also inside of lists and mappings."""
    if isinstance(value, str):
        yield from (match[1] for match in _PLACEHOLDER.finditer(value) if match[1])
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from names_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from names_in(one)


def stray(value: Any) -> bool:
    """Tell whether a value has a $ that begins no placeholder."""
    if isinstance(value, str):
        return "$" in _PLACEHOLDER.sub("", value)
    if isinstance(value, Mapping):
        return any(map(stray, value.values()))
    return isinstance(value, list | tuple) and any(map(stray, value))


def filled(value: Any, variables: Mapping[str, Any], *, in_path: bool = False) -> Any:
    """Return a value with its placeholders filled in; `in_path` encodes what is put into a path.

    Raises KeyError for a variable that is not there: `turnout.acceptance.load` has looked.
    """
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and whole[1] and not in_path:
            return variables[whole[1]]
        return _PLACEHOLDER.sub(lambda match: _text(match[1], variables, in_path), value)
    if isinstance(value, Mapping):
        return {name: filled(one, variables) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [filled(one, variables) for one in value]
    return value


def _text(name: str | None, variables: Mapping[str, Any], in_path: bool) -> str:
    if not name:
        return "$"
    text = str(variables[name])
    return quote(text, safe="") if in_path else text


def found(value: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to; raises LookupError."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and name.isdigit():
            value = value[int(name)]
        elif isinstance(value, dict):
            value = value[name]
        else:
            raise LookupError(pointer)
    return value
