"""Expressions of PromQL: whether one can be read, which series it reads, and settings that are filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser

SETTING = re.compile(r"\$\{([a-z_]+)\}")
"""A place for a setting: `${name}`. Prometheus itself has no braces behind a `$`, nor has Go's templates."""


class _Any(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "1"


ANY: Mapping[str, str] = _Any()
"""A value for every setting, where only the form of an expression matters."""


@dataclass(frozen=True, slots=True, order=True)
class Selected:
    """Series that an expression reads: the metric's name, and the whole selector in PromQL."""

    name: str
    text: str


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its settings filled in; one that is unknown stays."""
    return SETTING.sub(lambda found: values[found[1]] if values is ANY or found[1] in values else found[0], text)


def fault(text: str) -> str:
    """Return why an expression cannot be read, empty where it can."""
    try:
        promql_parser.parse(text)
    except ValueError as error:
        return f"no PromQL: {' '.join(str(error).split())[:160]}"
    return ""


def _selected(node: Any) -> Selected:
    listed = [(one.name, _OPERATORS[str(one.op).rpartition(".")[2]], one.value) for one in node.matchers.matchers]
    name = node.name or next((value for label, sign, value in listed if (label, sign) == ("__name__", "=")), "")
    quoted = [
        f"{label}{sign}" + '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for label, sign, value in listed
        if label != "__name__" or not name
    ]
    return Selected(name, name + ("{" + ",".join(quoted) + "}" if quoted else ""))


_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def needed(text: str) -> list[Selected]:
    """Return which series must be there for an alert to tell anything: without those whose absence it tells of."""
    absent: set[Selected] = set()

    def note(node: Any) -> bool:
        if isinstance(node, promql_parser.Call) and node.func.name in ("absent", "absent_over_time"):
            for argument in node.args:
                absent.update(selectors(argument.prettify()))
        return True

    promql_parser.walk(promql_parser.parse(text), note)
    return [one for one in selectors(text) if one not in absent]


def selectors(text: str) -> list[Selected]:
    """Return which series an expression reads, each once, in their order; raises ValueError for what is no PromQL."""
    found: dict[Selected, None] = {}

    def note(node: Any) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found.setdefault(_selected(node))
        return True

    promql_parser.walk(promql_parser.parse(text), note)
    return list(found)


def plain(text: str) -> str:
    """Return an expression as it is compared with another: the same whatever its blanks."""
    return str(promql_parser.parse(text).prettify())
