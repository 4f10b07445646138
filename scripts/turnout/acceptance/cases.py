"""Requests by an OpenAPI document, made by schemathesis: the same ones from the same seed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisException
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NOT_SET
from schemathesis.core.result import Err
from schemathesis.errors import SchemathesisError
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case

from turnout.acceptance.declared import Acceptance
from turnout.acceptance.document import Document, Operation
from turnout.acceptance.recipe import filled
from turnout.acceptance.routing import matched
from turnout.acceptance.steps import Step

NO_REQUEST = (SchemathesisError, ValueError, TypeError, requests.RequestException)
"""What is raised where no HTTP request can be made of a case."""
REMOVED = object()
"""In place of a value: no such key."""


@dataclass(frozen=True)
class Question:
    """One request by the document. `own` puts what A has into its path, `filters` into its query too.

    `step` is the request of the recipe that it is taken from; its body is filled in when it is asked. `changes` are
    values that stand in the place of others: (`body`, `query` or `path`, name) to value.
    """

    operation: Operation
    case: Case[Any]
    own: bool = True
    filters: bool = False
    step: Step | None = None
    changes: Mapping[tuple[str, str], Any] | None = None

    def changed(self, where: str, name: str, value: Any) -> Question:
        """Return the question with one more value changed."""
        return replace(self, changes={**(self.changes or {}), (where, name): value})

    def filled(self, parameters: Mapping[str, Any], variables: Mapping[str, Any]) -> Case[Any]:
        """Return the case that is asked: `parameters` are A's by name, `variables` of whom asks."""
        case = self.case
        parts: dict[str, Any] = {"path_parameters": dict(case.path_parameters), "query": dict(case.query)}
        body: Any = case.body
        if self.step is not None:
            body = filled(self.step.form or self.step.json, variables)
        for container, place, wanted in (("path_parameters", "path", self.own), ("query", "query", self.filters)):
            names = self.operation.names(place) if wanted else ()
            parts[container].update({name: parameters[name] for name in names if parameters.get(name) is not None})
        for (where, name), value in (self.changes or {}).items():
            if where == "body":
                body = dict(body)
            part = body if where == "body" else parts["query" if where == "query" else "path_parameters"]
            if value is REMOVED:
                part.pop(name, None)
            else:
                part[name] = value
        made: Case[Any] = case.operation.Case(
            **parts, headers=case.headers.copy(), cookies=dict(case.cookies), body=body, media_type=case.media_type
        )
        return made


def request_of(case: Case[Any], base_url: str) -> requests.Request:
    """Return a case as a request; raises what is in NO_REQUEST."""
    given_ = case.as_transport_kwargs(base_url=base_url)
    known = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    return requests.Request(**{name: given_[name] for name in known if given_.get(name) is not None})


class Cases:
    """What makes the requests of one document."""

    def __init__(self, document: Document, declared: Acceptance) -> None:
        self.document = document
        self.declared = declared
        schema = schemathesis.openapi.from_dict(document.raw, config=SchemathesisConfig())
        schema.config.generation.update(with_security_parameters=False)
        self._made: dict[str, Any] = {}
        self._questions: dict[tuple[str, str], list[Question]] = {}
        for result in schema.get_all_operations():
            if isinstance(result, Err):
                continue  # `known` tells
            operation = result.ok()
            self._made[f"{operation.method.upper()} {operation.path}"] = operation

    def known(self, operation: Operation) -> bool:
        """Tell whether requests can be made for an operation."""
        return operation.name in self._made

    def seeds(self, operation: Operation) -> list[Question]:
        """Return the requests of the recipe that ask this operation, and the examples in the document."""
        return [*self._of_recipe(operation), *self._of_document(operation)]

    def positive(self, operation: Operation, count: int) -> list[Question]:
        """Return requests that the document allows."""
        return self._drawn(operation, GenerationMode.POSITIVE, count)

    def negative(self, operation: Operation, count: int) -> list[Question]:
        """Return requests that the document does not allow; none where it allows everything."""
        return self._drawn(operation, GenerationMode.NEGATIVE, count)

    def _of_recipe(self, operation: Operation) -> Iterator[Question]:
        made = self._made[operation.name]
        accounts = self.declared.accounts
        for step in (*(accounts.steps if accounts else ()), *self.declared.objects):
            path, _, query = step.path.partition("?")
            if step.method != operation.method or not matched(operation.path, path):
                continue
            if not set(operation.names("path")) <= set(self.declared.parameters):
                continue
            form = "application/x-www-form-urlencoded"
            kind = form if step.form else "application/json" if step.json is not None else None
            body = {"body": step.form or step.json, "media_type": kind} if kind else {}
            case = made.Case(path_parameters={}, query=dict(parse_qsl(query)), **body)
            yield Question(operation, case, step=step if kind else None)

    def _of_document(self, operation: Operation) -> Iterator[Question]:
        try:
            strategies = self._made[operation.name].get_strategies_from_examples()
            for strategy in strategies[:5]:
                for case in _drawn(strategy, 1, self._seed(operation, "examples")):
                    yield Question(operation, case)
        except (SchemathesisError, HypothesisException, ValueError):
            return

    def _drawn(self, operation: Operation, mode: GenerationMode, count: int) -> list[Question]:
        """Return the first of what is drawn once for an operation, whichever pack asks."""
        key = (operation.name, mode.value)
        if key not in self._questions:
            try:
                strategy = self._made[operation.name].as_strategy(mode)
                most = self.declared.budget.examples
                cases = _drawn(strategy, most, self._seed(operation, mode.value))
            except (SchemathesisError, HypothesisException, ValueError):
                cases = []
            found: dict[str, Question] = {}
            for case in cases:
                found.setdefault(repr((case.path_parameters, case.query, case.body)), Question(operation, case))
            self._questions[key] = list(found.values())
        return self._questions[key][:count]

    def _seed(self, operation: Operation, of: str) -> int:
        return self.declared.seed * 2**32 + zlib.crc32(f"{operation.name} {of}".encode())


def _drawn(strategy: Any, count: int, number: int) -> Sequence[Case[Any]]:
    found: list[Case[Any]] = []

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, derandomize=False, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(strategy)
    def draw(case: Case[Any]) -> None:
        found.append(case)

    draw()
    return found[:count]


def body_of(case: Case[Any]) -> Any:
    """Return a case's body, None where it has none."""
    return None if case.body is NOT_SET else case.body
