"""An OpenAPI document (2.0, 3.0, 3.1): read without a request to anywhere, and its operations.

What would be fetched from elsewhere is refused: an outcome must hang on the release alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from turnout.acceptance.recipe import found
from turnout.faults import Fault, kind_of, shown

METHODS = ("get", "head", "post", "put", "patch", "delete")
VERSION = re.compile(r"3\.[01](\.\d+)?")
MOST_BYTES = 20_000_000
_IN_PATH = re.compile(r"\{([^{}/]+)\}")
_FETCHED = ("$ref", "$dynamicRef", "externalValue", "operationRef")


@dataclass(frozen=True)
class Operation:
    """A method of a path. `public` tells that the document lets it be asked without an account.

    `optional` tells that it may be asked with one all the same. `parameters` holds the place and the name of each
    (`path`, `id`).
    """

    method: str
    path: str
    public: bool
    optional: bool
    parameters: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The operation as a person writes it."""
        return f"{self.method} {self.path}"

    @property
    def names_in_order(self) -> list[str]:
        """The names in the path, from left to right."""
        return _IN_PATH.findall(self.path)

    def names(self, place: str) -> list[str]:
        """Return the names of the parameters in one place (`path`, `query`)."""
        return [name for where, name in self.parameters if where == place]


@dataclass(frozen=True)
class Document:
    """A document that was found right. `raw` has texts as keys everywhere; `base` is what paths begin with."""

    raw: dict[str, Any]
    operations: tuple[Operation, ...]
    base: str

    def written(self, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what stands of an operation's path, and of the operation."""
        item = self.resolved(self.raw["paths"][operation.path])
        return item, item[operation.method.lower()]

    def resolved(self, node: Any) -> Any:
        """Return what a chain of local references leads to."""
        for _ in range(32):
            if not (isinstance(node, Mapping) and isinstance(node.get("$ref"), str)):
                return node
            node = found(self.raw, node["$ref"].removeprefix("#"))
        return {}


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: no dates, every key a text, none of them twice."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:timestamp"]
    for letter, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    made: dict[str, Any] = {}
    for name, value in node.value:
        # As it is written: 200 is the text "200", and `no` is no boolean where it is a key.
        if not isinstance(name, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no text", name.start_mark)
        if name.value in made:
            raise yaml.constructor.ConstructorError(None, None, f"the key {name.value} twice", name.start_mark)
        made[name.value] = loader.construct_object(value, deep=True)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(file: Path, shown_as: str, faults: list[Fault]) -> Any:
    """Return what a file of YAML or JSON holds, None with a fault where it cannot be read."""
    remedy = f"write or correct {shown_as}"
    try:
        if file.stat().st_size > MOST_BYTES:
            faults.append(Fault("the file", f"more than {MOST_BYTES} bytes", "a smaller one", remedy, shown_as))
            return None
        return yaml.load(file.read_bytes().decode("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        faults.append(Fault("the file", str(error.strerror).lower(), "a file that can be read", remedy, shown_as))
    except UnicodeDecodeError:
        faults.append(Fault("the file", "no text in UTF-8", "YAML or JSON in UTF-8", remedy, shown_as))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{shown_as}:{mark.line + 1}" if mark is not None else shown_as
        problem = getattr(error, "problem", None) or "no YAML"
        faults.append(Fault("the file", f"{problem}"[:80], "YAML or JSON", f"correct {place}", place))
    except RecursionError:
        faults.append(Fault("the file", "a structure too deep to read", "YAML or JSON", remedy, shown_as))
    return None


def read_document(file: Path, shown_as: str, faults: list[Fault]) -> Document | None:
    """Return a document, or None where a fault was found. `shown_as` is the file as a message names it."""
    before = len(faults)
    raw = read_yaml(file, shown_as, faults)
    if len(faults) > before:
        return None
    told = [Fault(*fault, shown_as) for fault in _faults(raw)]
    faults += told
    if told:
        return None
    document = Document(raw, (), _base(raw))
    return Document(raw, tuple(_operations(document)), document.base)


def _faults(raw: Any) -> Iterator[tuple[str, str, str, str]]:
    if not isinstance(raw, dict):
        yield "the document", kind_of(raw), "a mapping that begins with openapi: or swagger:", "write the document"
        return
    version = raw.get("openapi", raw.get("swagger"))
    right = isinstance(version, str) and (version == "2.0" if "swagger" in raw else VERSION.fullmatch(version))
    if not right:
        observed = "no such key" if version is None else shown(version)
        yield "openapi", observed, "2.0, 3.0 or 3.1, in quotes", 'write openapi: "3.1.0" (or swagger: "2.0")'
    paths = raw.get("paths")
    if not isinstance(paths, dict) or not paths:
        yield "paths", "no operation", "at least one path", "write the operations of the application"
        return
    yield from _references(raw, raw, "")
    for path, item in paths.items():
        if not path.startswith("/"):
            if not path.startswith("x-"):
                yield f"paths.{path}", "a path without / at its beginning", "a path", f"write /{path}"
            continue
        if not isinstance(item, dict):
            yield f"paths.{path}", kind_of(item), "a mapping of methods", "write e.g. get: {responses: ...}"
            continue
        for method in METHODS:
            operation = item.get(method)
            where = f"paths.{path}.{method}"
            if method in item and not isinstance(operation, dict):
                yield where, kind_of(operation), "an operation", "write e.g. {responses: ...}"
            elif operation is not None and not (
                isinstance(operation.get("responses"), dict) and operation["responses"]
            ):
                yield f"{where}.responses", "no answer", "every answer that it can give", 'write e.g. "200": {...}'


def _references(raw: dict[str, Any], node: Any, where: str) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(node, list):
        for index, one in enumerate(node):
            yield from _references(raw, one, f"{where}[{index}]")
    if not isinstance(node, dict):
        return
    for name, one in node.items():
        here = f"{where}.{name}".removeprefix(".")
        if name not in _FETCHED or not isinstance(one, str):
            yield from _references(raw, one, here)
        elif not one.startswith("#"):
            remedy = "copy what it leads to into the document, under components (definitions in 2.0)"
            yield here, _remote(one), "a reference inside the document, #/...", remedy
        elif name == "$ref":
            try:
                found(raw, one.removeprefix("#"))
            except (LookupError, ValueError):
                yield here, f"{shown(one)}, which leads nowhere", "a place in the document", "correct the reference"


def _remote(reference: str) -> str:
    return f"a remote reference: {shown(reference)}" if "//" in reference else f"another file: {shown(reference)}"


def _base(raw: dict[str, Any]) -> str:
    if "swagger" in raw:
        return str(raw.get("basePath", "")).rstrip("/")
    servers = raw.get("servers")
    first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
    url = str(first.get("url", ""))
    for name, variable in (first.get("variables") or {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return urlsplit(url).path.rstrip("/")


def _operations(document: Document) -> Iterator[Operation]:
    raw = document.raw
    for path, written in raw["paths"].items():
        if not path.startswith("/"):
            continue
        item = document.resolved(written)
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            listed = [document.resolved(one) for one in (*item.get("parameters", ()), *operation.get("parameters", ()))]
            named = {(str(one.get("in")), str(one.get("name"))) for one in listed}
            named |= {("path", name) for name in _IN_PATH.findall(path)}
            security = operation.get("security", raw.get("security"))
            public = not security or {} in security
            yield Operation(method.upper(), path, public, public and bool(security), tuple(sorted(named)))
