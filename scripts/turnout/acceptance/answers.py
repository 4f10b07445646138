"""Holds an answer against the document, and tells where it breaks it: never with a value of the answer."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup, MalformedJson
from schemathesis.generation.case import Case
from schemathesis.openapi.checks import (
    ContentDeserializationError,
    DiscriminatorMismatch,
    JsonSchemaError,
    MalformedMediaType,
    MissingContentType,
    MissingHeaders,
    UndefinedContentType,
    UndefinedStatusCode,
)

from turnout.acceptance.asking import Answer
from turnout.faults import kind_of

_CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_MISSING = re.compile(r'"((?:[^"\\]|\\.)*)" is a required property')
_LONGEST = 160

Told = tuple[str, str]
"""Where it broke, and what."""


def broken(case: Case[Any], answer: Answer, whose: str) -> list[Told]:
    """Return where an answer breaks the document, which the text calls `whose`."""
    if answer.response is None:
        return [("answer", answer.why)]
    if answer.response.status_code >= 500:
        return [("status", f"answered {answer.response.status_code}")]
    load_all_checks()
    found: dict[str, str] = {}
    for name in _CHECKS:
        check = cast("Any", CHECKS.get_one(name))
        for field, what in _failures(functools.partial(case.validate_response, answer.response, checks=[check]), whose):
            found.setdefault(field, what)
    return list(found.items())


def _failures(call: Callable[[], None], whose: str) -> Iterator[Told]:
    try:
        call()
    except FailureGroup as group:
        for failure in group.exceptions:
            yield from _told(failure, whose)
    except Failure as failure:
        yield from _told(failure, whose)


def _told(failure: Failure, whose: str) -> Iterator[Told]:
    match failure:
        case UndefinedStatusCode():
            known = ", ".join(failure.defined_status_codes)
            yield "status", f"answered {failure.status_code}; {whose} says {known}"
        case MissingHeaders():
            for name in failure.missing_headers:
                yield name, f"no header {name}, which {whose} promises"
        case MissingContentType():
            yield "Content-Type", f"no Content-Type; {whose} says {', '.join(failure.media_types)}"
        case UndefinedContentType():
            known = ", ".join(failure.defined_content_types)
            yield "Content-Type", f"{failure.content_type}; {whose} says {known}"
        case MalformedMediaType():
            yield "Content-Type", f"a media type that is none; {whose} says {failure.defined}"
        case MalformedJson():
            yield "response", f"no JSON; {whose} says it is"
        case ContentDeserializationError():
            yield "response", f"a body that is not what its Content-Type says; {whose} has that"
        case DiscriminatorMismatch():
            yield "response", f"a discriminator that {whose} does not know"
        case JsonSchemaError():
            yield _by_schema(failure, whose)
        case _:
            yield "response", failure.title.lower()


def field_of(path: Sequence[str | int]) -> str:
    """Return a place in an answer as a person reads it: `response.tasks[].title`."""
    return "response" + "".join("[]" if isinstance(step, int) else f".{step}" for step in path)


def _by_schema(failure: JsonSchemaError, whose: str) -> Told:
    path, keyword = list(failure.instance_path), str(failure.schema_path[-1]) if failure.schema_path else ""
    wanted = failure.schema.get(keyword)
    if failure.title.startswith("Response header"):
        return "headers", f"a header that {whose} describes otherwise ({keyword})"
    # The name of what is missing stands in the message only.
    if keyword == "required" and (missing := _MISSING.search(failure._raw_message)):
        return field_of([*path, missing[1]]), f"is not there, and {whose} promises it"
    return field_of(path), _kept(keyword, wanted, failure.instance, whose)[:_LONGEST]


def _kept(keyword: str, wanted: Any, seen: Any, whose: str) -> str:
    """Return what a value is, and what it should be by a keyword of the schema."""
    if keyword == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        return f"{kind_of(seen)}; {whose} says {' or '.join(map(str, kinds))}"
    if keyword == "enum" and isinstance(wanted, list):
        return f"a value that {whose} does not list: {', '.join(map(str, wanted))}"
    if keyword == "additionalProperties":
        return f"a field beside those that {whose} allows"
    if wanted is None or isinstance(wanted, dict | list) or keyword in ("not", "const"):
        return f"{kind_of(seen)} that does not fit {whose} ({keyword})"
    return f"{kind_of(seen)} that breaks {keyword}: {wanted} of {whose}"
