"""What people and editors read of a declaration: the table of keys in the docs, and a JSON Schema."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any, get_origin

import click

from turnout.errors import TurnoutError
from turnout.keys import Key, Place

# What can be asked for: module and class of its declaration, and the variable that holds it, empty for a whole file.
DECLARED = {
    "acceptance": ("turnout.acceptance.declared", "Acceptance", ""),
    "checklist": ("turnout.checklist.config", "Checklist", "checklist"),
    "manifest": ("turnout.release.manifest", "Manifest", ""),
    "observe": ("turnout.observe.declared", "Observe", ""),
    "service": ("turnout.service.model", "Service", "service"),
}
_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%", "description": "A template, which Ansible fills in."}
_END = "<!-- end of the table -->"


def rows(model: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each key's path, default and meaning, in the order of the declaration."""
    for name, place in Place(model, Key()).keys.items():
        path = f"{prefix}{name}"
        yield path, _default(place), place.key.means
        is_list = get_origin(place.kind) is tuple
        inner = place.inside(0 if is_list else "") if is_list or place.key.names else place
        yield from rows(inner.kind, f"{path}{'[]' if is_list else '.NAME' if place.key.names else ''}.")


def _default(place: Place) -> str:
    value = place.default
    if place.key.by_default or place.required:
        return place.key.by_default
    if value is MISSING and place.keys:
        return "as below"
    if value is MISSING or value in (None, "", ()):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`"


def table(model: Any) -> str:
    """Return the table of keys in Markdown."""
    lines = [f"| `{path}` | {default} | {means} |".replace("|  |", "| |") for path, default, means in rows(model)]
    return "\n".join(["| Key | Default | Meaning |", "|---|---|---|", *lines])


def schema(model: Any, variable: str) -> dict[str, Any]:
    """Return the JSON Schema of a file that holds `model` as `variable`.

    A template of Ansible is right everywhere: what it will be is not known before it is filled in. Without a variable
    the model is the whole file, which Ansible does not fill in.
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole = _schema(Place(model, Key(), required=True), templates=bool(variable))
    if not variable:
        return {**head, **whole}
    body = {"type": "object", "properties": {variable: whole}, "required": [variable]}
    return {**head, "title": f"Turnout: {variable}", **body, "$defs": {"template": _TEMPLATE}}


def _schema(place: Place, *, templates: bool) -> dict[str, Any]:
    """Return the schema of a value; null is right where it may be absent."""
    either = [_shape(place, templates), *([{"$ref": "#/$defs/template"}] if templates else [])]
    either += [] if place.required else [{"type": "null"}]
    means = {"description": place.key.means} if place.key.means else {}
    default = {"default": place.default} if isinstance(place.default, int | float | str) and place.default else {}
    return {**means, **default, **(either[0] if len(either) == 1 else {"anyOf": either})}


def _shape(place: Place, templates: bool) -> dict[str, Any]:
    key, kind = place.key, place.kind
    inner = functools.partial(_schema, templates=templates)
    if key.json or key.choices:
        return dict(key.json or {"enum": list(key.choices)})
    if place.keys:
        needed = [name for name, one in place.keys.items() if one.required]
        keys = {name: inner(one) for name, one in place.keys.items()}
        must: dict[str, Any] = {"required": needed}
        if kind.instead:
            must = {"anyOf": [must, {"required": list(kind.instead)}]}
        return {"type": "object", "properties": keys, **must, "additionalProperties": False}
    if key.names:
        names, one = (place.inside("", name=name)._replace(required=True) for name in (True, False))
        return {"type": "object", "propertyNames": _shape(names, False), "additionalProperties": inner(one)}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": inner(place.inside(0)._replace(required=True))}
    if kind in (int, float):
        return {"type": "integer" if kind is int else "number", "minimum": key.low, "maximum": key.high}
    pattern = f"^(?:{key.pattern})$" if key.pattern else r"\S" if place.required else ""
    return {"type": "boolean"} if kind is bool else {"type": "string", **({"pattern": pattern} if pattern else {})}


@click.command()
@click.argument("name", metavar="FILE", type=click.Choice(sorted(DECLARED)))
@click.option("--table", "as_table", is_flag=True, help="Print the table of keys instead, in Markdown.")
@click.option("--into", type=click.Path(path_type=Path), help="Write the table of keys into this page of the docs.")
def command(name: str, as_table: bool, into: Path | None) -> None:
    """Print the JSON Schema of a FILE that people write, for editors and other tools."""
    module, attribute, variable = DECLARED[name]
    model = getattr(importlib.import_module(module), attribute)
    if into is not None:
        into.write_text(_with_table(into, name, table(model)), encoding="utf-8")
    else:
        click.echo(table(model) if as_table else json.dumps(schema(model, variable), indent=2, ensure_ascii=False))


def begin(name: str) -> str:
    """Return the line of a page that its table of keys follows."""
    return f"<!-- turnout schema {name} --into THIS_PAGE writes this table -->"


def _with_table(page: Path, name: str, keys: str) -> str:
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        text, observed = "", f"{page} cannot be read: {error}"
    else:
        observed = f"{page} has no such place"
    head, found, rest = text.partition(begin(name) + "\n")
    _, ended, tail = rest.partition(_END)
    if not found or not ended:
        raise TurnoutError(
            "docs-table",
            observed=observed,
            expected=f"a page with the lines {begin(name)} and {_END}",
            remedy=f"write both lines where the table belongs, or print it: turnout schema {name} --table",
        )
    return f"{head}{found}{keys}\n{_END}{tail}"
