"""What packs share: one question asked as somebody, its answer held against a document, one value changed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import requests

from turnout.acceptance import schemas
from turnout.acceptance.answers import broken
from turnout.acceptance.asking import NOBODY, Answer, Asker, Identity
from turnout.acceptance.cases import NO_REQUEST, REMOVED, Cases, Question, body_of, request_of
from turnout.acceptance.document import Document, Operation
from turnout.acceptance.findings import Findings
from turnout.acceptance.schemas import Shape
from turnout.acceptance.world import World, reads, unique

REFUSED = (400, 422)
"""How a request is refused for what stands in it."""
_MOST_VALUES = 20


@dataclass(frozen=True)
class Asked:
    """A question with its answer."""

    question: Question
    who: Identity
    case: Any
    answer: Answer


@dataclass(frozen=True)
class Candidate:
    """What is asked, and where it is noted."""

    world: World
    asker: Asker
    findings: Findings


class Probe:
    """Asks the questions of one document for one pack."""

    def __init__(self, pack: str, cases: Cases, candidate: Candidate, whose: str) -> None:
        self.pack = pack
        self.cases = cases
        self.world = candidate.world
        self.asker = candidate.asker
        self.findings = candidate.findings
        self.whose = whose
        self.count = 0

    @property
    def document(self) -> Document:
        """The document."""
        return self.cases.document

    def askable(self, operation: Operation) -> bool:
        """Tell whether an operation may be asked, and note where no request can be made."""
        if self.asker.reading and not reads(operation.method):
            return False
        if not self.cases.known(operation):
            self.findings.not_known(self.pack, operation.name, "no request can be made by the document")
        return self.cases.known(operation)

    def as_account(self, operation: Operation) -> Identity:
        """Return as whom an operation is asked by default."""
        if self.world.a is None or (operation.public and not operation.optional):
            return NOBODY
        return self.world.a

    def ask(self, question: Question, who: Identity, names: Mapping[str, str] | None = None) -> Asked | None:
        """Ask, or return None where no HTTP request can be made. `names` are those of parameters in the declaration."""
        operation = question.operation
        try:
            case, request = self._request(question, who, names)
            self.asker.prepared(who, request)
        except NO_REQUEST:
            return None
        answer = self.asker.ask(who, request)
        self.count += 1
        if answer.accepted and not reads(operation.method) and operation.names("path"):
            self.world.used_up = True
        return Asked(question, who, case, answer)

    def _request(
        self, question: Question, who: Identity, names: Mapping[str, str] | None
    ) -> tuple[Any, requests.Request]:
        self.world.objects()
        wanted = (*question.operation.names("path"), *question.operation.names("query"))
        parameters = {name: self.world.parameter((names or {}).get(name, name)) for name in wanted}
        case = question.filled(parameters, {**self.world.variables_of(who), "unique": unique()})
        return case, request_of(case, self.world.base)

    def found(self, asked: Asked, field: str, what: str, names: Mapping[str, str] | None = None) -> None:
        """Note a finding that a question shows."""

        def again() -> requests.PreparedRequest:
            return self.asker.prepared(asked.who, self._request(asked.question, asked.who, names)[1])

        self.findings.add(self.pack, asked.question.operation.name, field, what, answer=asked.answer, again=again)

    def check(self, asked: Asked) -> list[tuple[str, str]]:
        """Return where the answer breaks the document."""
        return broken(asked.case, asked.answer, self.whose)

    def never_accepted(self, operation: Operation, statuses: Sequence[int | None]) -> None:
        """Note an operation whose success was never seen: what it answers then is not known."""
        if self.asker.reading and not operation.public:
            return  # there is no account
        said = ", ".join(sorted({str(one or "no answer") for one in statuses})) or "none can be made"
        self.findings.not_known(
            self.pack,
            operation.name,
            f"no request was accepted ({said}): add one that is, as an example in the document, to objects, or by what "
            "is A's among parameters",
        )

    def allowed(self, operation: Operation, count: int) -> list[Question]:
        """Return requests that the document allows: of the recipe, its examples, and generated ones.

        Every second one has what is A's in its path; those that have not look for what is not there.
        """
        generated = [
            replace(one, own=number % 2 == 0, filters=number % 4 == 0)
            for number, one in enumerate(self.cases.positive(operation, count))
        ]
        return [*self.cases.seeds(operation), *generated]

    def variations(self, asked: Asked, *, strangers: bool = False) -> Iterator[tuple[str, str, Question]]:
        """Yield requests that the document allows too, each in one value unlike one that was accepted.

        With each come the field, and what it means where the request is refused. `strangers` leaves out, one at a
        time, the fields that this document does not have.
        """
        operation, case = asked.question.operation, asked.case
        body = body_of(case)
        if isinstance(body, dict):
            shape = schemas.shape(self.document, schemas.request_body(self.document, operation))
            yield from self._varied("body", body, shape, asked.question, strangers)
        shape = schemas.query(self.document, operation)
        yield from self._varied("query", dict(case.query), shape, asked.question, strangers)

    def edges(self, asked: Asked) -> Iterator[Question]:
        """Yield requests with one value at an edge of what the document allows."""
        operation, body = asked.question.operation, body_of(asked.case)
        shapes = {place: schemas.parameters(self.document, operation, place) for place in ("query", "path")}
        if isinstance(body, dict):
            shapes["body"] = schemas.shape(self.document, schemas.request_body(self.document, operation))
        for where, shape in shapes.items():
            for name, schema in shape.properties.items():
                for value in schemas.edges(self.document, schema):
                    yield asked.question.changed(where, name, value)

    def _varied(
        self, where: str, there: Mapping[str, Any], shape: Shape, question: Question, strangers: bool
    ) -> Iterator[tuple[str, str, Question]]:
        shown = "request" if where == "body" else where
        for name, schema in shape.properties.items():
            for value in schemas.choices(self.document, schema)[:_MOST_VALUES]:
                if there.get(name) != value:
                    text = f"`{value}` is refused, and {self.whose} lists it"
                    yield f"{shown}.{name}", text, question.changed(where, name, value)
            if name in there and name not in shape.required and not shape.choices:
                text = f"is refused without it, and {self.whose} does not ask for it"
                yield f"{shown}.{name}", text, question.changed(where, name, REMOVED)
        for name in there if strangers and shape.properties else ():
            if name not in shape.properties:
                text = f"is refused without it, and {self.whose} does not have it"
                yield f"{shown}.{name}", text, question.changed(where, name, REMOVED)
