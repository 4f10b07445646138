"""The published API definitions (`published/`): requests are held against them, and answers made from them.

A fake says only what its test is about. What a real answer has beside it comes from the definition; a key, a path, a
parameter or a body that the definition does not know is a fault of the fake, or of Turnout.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent / "published"
# Forgejo's name (its own definition, 15.0) for block_admin_merge_override; each server passes over the other's.
FORGEJO = {"apply_to_admins"}


class Drift(AssertionError):
    """What the definition does not know."""


@cache
def definition(name: str) -> Definition:
    """Return the definition of `github` or `gitea`."""
    return Definition(name)


class Definition:
    """One published definition."""

    def __init__(self, name: str) -> None:
        self.whole = json.loads((FOLDER / f"{name}.json").read_text())
        self.schemas = self.whole["components"]["schemas"]
        self.gitea = name == "gitea"
        if not self.gitea:
            # Required there, and refused beside `checks` by the server itself (go-github#2976, github3.py#1112).
            put = self.whole["paths"]["/repos/{owner}/{repo}/branches/{branch}/protection"]["put"]
            body = put["requestBody"]["content"]["application/json"]["schema"]
            found = body["properties"]["required_status_checks"]["anyOf"][0]
            found["required"] = ["strict"]
            found["not"] = {"required": ["contexts", "checks"]}

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """Return what is declared for a request's method and path."""
        for template, methods in self.whole["paths"].items():
            # A path of a file has slashes; everything else is one encoded part.
            regex = re.sub(r"\\\{(file)?path\\\}", ".+", re.escape(template))
            regex = re.sub(r"\\\{\w+\\\}", "[^/]+", regex)
            if method.lower() in methods and re.fullmatch(regex, path):
                found: dict[str, Any] = methods[method.lower()]
                return found
        raise Drift(f"{method} {path}: no such operation")

    def request(self, method: str, url: str, body: Any) -> None:
        """Hold a request against the definition. Raises Drift."""
        parts = urlsplit(url)
        operation = self.operation(method, parts.path)
        known = {one["name"]: one.get("schema", {}) for one in operation["parameters"] if one["in"] == "query"}
        asked = parse_qs(parts.query, keep_blank_values=True)
        if unknown := set(asked) - known.keys():
            raise Drift(f"{method} {parts.path}: no such parameter: {', '.join(sorted(unknown))}")
        for name, values in asked.items():
            for value in values:
                number = int(value) if known[name].get("type") == "integer" and value.isdecimal() else value
                self.valid(number, known[name], f"{method} {parts.path}: {name}")
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            sent = {key: value for key, value in body.items() if key not in FORGEJO}
            self.filled(sent, schema, f"{method} {parts.path}")  # refuses keys that are not declared
            self.valid(sent, schema, f"{method} {parts.path}")

    def answer(self, method: str, path: str, given: Any) -> Any:
        """Return the whole answer of which a fake gave a part. Raises Drift."""
        (response,) = self.operation(method, path)["responses"].values()
        schema = response["content"]["application/json"]["schema"]
        whole = self.filled(given, schema, path)
        self.valid(whole, schema, path)
        return whole

    def valid(self, thing: Any, schema: Any, where: str) -> None:
        """Validate against a schema."""
        validator = Draft202012Validator({**schema, "components": {"schemas": self.schemas}})
        found = next(iter(validator.iter_errors(thing)), None)
        if found is not None:
            raise Drift(f"{where}: {found.json_path}: {found.message[:300]}")

    def resolved(self, schema: Any) -> Any:
        """Return what a reference means, and all parts of a schema as one."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        if "allOf" in schema:
            parts = [self.resolved(one) for one in schema["allOf"]]
            return {
                "type": "object",
                "properties": {name: one for part in parts for name, one in part.get("properties", {}).items()},
                "required": [name for part in parts for name in part.get("required", [])],
            }
        return schema

    def filled(self, given: Any, schema: Any, where: str) -> Any:
        """Return `given` with all that the schema asks for beside it."""
        schema = self.resolved(schema)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices and "properties" not in schema:
            faults = []
            for choice in choices:
                try:
                    whole = self.filled(given, choice, where)
                    self.valid(whole, choice, where)
                except Drift as fault:
                    faults.append(fault)
                else:
                    return whole
            # Most was said of the alternative that came nearest; the last is `null`, or as good as any.
            raise faults[0]
        if isinstance(given, list) and "items" in schema:
            return [self.filled(one, schema["items"], where) for one in given]
        if not isinstance(given, dict) or "properties" not in schema:
            return given
        known = schema["properties"]
        if unknown := given.keys() - known.keys():
            raise Drift(f"{where}: no such key: {', '.join(sorted(unknown))}")
        whole = {name: self.filled(value, known[name], where) for name, value in given.items()}
        # Gitea leaves nothing out: what is empty has Go's zero value. GitHub says what is required.
        for name in known if self.gitea else schema.get("required", []):
            if name not in whole:
                whole[name] = self.zero(known[name])
        return whole

    def zero(self, schema: Any) -> Any:
        """Return the smallest value of a schema."""
        schema = self.resolved(schema)
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            nullable = any(choice.get("type") == "null" for choice in choices)
            scalar = next((one for one in choices if self.gitea and one.get("type") in _ZEROS), None)
            return self.zero(scalar) if scalar else None if nullable else self.zero(choices[0])
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "object")
        if isinstance(kind, list):
            return None
        if kind == "object":
            return {name: self.zero(schema["properties"][name]) for name in schema.get("required", [])}
        return [] if kind == "array" else _ZEROS[kind]


_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}
