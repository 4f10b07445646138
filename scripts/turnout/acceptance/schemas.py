"""What an OpenAPI document says of bodies and parameters, references and allOf resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from turnout.acceptance.document import Document, Operation

_CHOICES = ("anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "dependencies")
_DEEPEST = 6
_LONGEST = 100_000
_SAYS_MORE = {"enum", "const", "pattern", "format", "allOf", *_CHOICES}


@dataclass(frozen=True)
class Shape:
    """An object's properties, and which it must have. `choices` tells that more rules hold between them."""

    properties: dict[str, Any]
    required: frozenset[str]
    choices: bool


def shape(document: Document, schema: Any, depth: int = 0) -> Shape:
    """Return the shape of an object."""
    schema = document.resolved(schema)
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return Shape({}, frozenset(), False)
    parts = [shape(document, one, depth + 1) for one in schema.get("allOf", ())]
    properties = {name: one for part in parts for name, one in part.properties.items()}
    required = {name for part in parts for name in part.required}
    if isinstance(schema.get("properties"), dict):
        properties |= schema["properties"]
    if isinstance(schema.get("required"), list):
        required |= set(schema["required"])
    choices = any(name in schema for name in _CHOICES) or any(part.choices for part in parts)
    return Shape(properties, frozenset(required), choices)


def choices(document: Document, schema: Any) -> list[Any]:
    """Return the values that a schema lists, none where it lists none."""
    schema = document.resolved(schema)
    values = schema.get("enum") if isinstance(schema, dict) else None
    return list(values) if isinstance(values, list) else []


def edges(document: Document, schema: Any) -> list[Any]:
    """Return values at the edges of what a schema allows, where programs break: none where it says more than these.

    A text with a zero byte and the longest one, the highest and the lowest number, beyond 64 bits without a bound.
    """
    schema = document.resolved(schema)
    if not isinstance(schema, dict) or _SAYS_MORE & schema.keys():
        return []
    if schema.get("type") == "string":
        low, high = schema.get("minLength", 0), schema.get("maxLength")
        longest = ["x" * high] if isinstance(high, int) and high <= _LONGEST else []
        return [*(["\0".ljust(max(low, 1), "x")] if high != 0 else []), *longest]
    if schema.get("type") == "integer" and not {"exclusiveMinimum", "exclusiveMaximum", "multipleOf"} & schema.keys():
        return [schema.get("maximum", 2**63), schema.get("minimum", -(2**63) - 1)]
    return []


def query(document: Document, operation: Operation) -> Shape:
    """Return the parameters of a query as the shape of an object."""
    return parameters(document, operation, "query")


def parameters(document: Document, operation: Operation, place: str) -> Shape:
    """Return the parameters in one place (`query`, `path`) as the shape of an object."""
    item, written = document.written(operation)
    properties, required = {}, set()
    for one in (*item.get("parameters", ()), *written.get("parameters", ())):
        parameter = document.resolved(one)
        if parameter.get("in") == place:
            properties[parameter["name"]] = parameter.get("schema", parameter)
            required |= {parameter["name"]} if parameter.get("required") else set()
    return Shape(properties, frozenset(required), False)


def request_body(document: Document, operation: Operation) -> Any:
    """Return the schema of a JSON body, None where the operation has none."""
    item, written = document.written(operation)
    for one in (*written.get("parameters", ()), *item.get("parameters", ())):
        parameter = document.resolved(one)
        if parameter.get("in") == "body":
            return parameter.get("schema")
    return _json(document, document.resolved(written.get("requestBody")))


def answer_body(document: Document, operation: Operation, status: str) -> Any:
    """Return the schema of a JSON answer, None where it has none."""
    response = document.resolved(document.written(operation)[1]["responses"].get(status))
    if isinstance(response, dict) and "schema" in response:
        return response["schema"]
    return _json(document, response)


def successes(document: Document, operation: Operation) -> list[str]:
    """Return the statuses of success that an operation lists."""
    return [status for status in document.written(operation)[1]["responses"] if status.startswith("2")]


def fields(document: Document, schema: Any, path: str = "response", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the fields that a body has, each with the path of the object that it is in."""
    schema = document.resolved(schema)
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return
    if "items" in schema:
        yield from fields(document, schema["items"], f"{path}[]", depth + 1)
    for name, one in shape(document, schema).properties.items():
        yield f"{path}.{name}", path
        yield from fields(document, one, f"{path}.{name}", depth + 1)


def seen(value: Any, field: str) -> bool:
    """Tell whether a body has a field, `response.tasks[].title`, anywhere where it may be."""
    return _seen(value, field.removeprefix("response").replace("[]", ".[]").split(".")[1:])


def _seen(value: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    if steps[0] == "[]":
        return isinstance(value, list) and any(_seen(one, steps[1:]) for one in value)
    return isinstance(value, dict) and steps[0] in value and _seen(value[steps[0]], steps[1:])


def _json(document: Document, holder: Any) -> Any:
    if not isinstance(holder, dict):
        return None
    for kind, media in (holder.get("content") or {}).items():
        if "json" in kind.lower() and isinstance(media, dict):
            return document.resolved(media).get("schema")
    return None
