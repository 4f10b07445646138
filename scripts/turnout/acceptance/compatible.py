"""The pack `compatible`: stable's document against the candidate, for the clients that are installed.

What the two documents differ in is looked for in the candidate; only what it does, or cannot be asked, is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from turnout.acceptance import schemas
from turnout.acceptance.asking import NOBODY, Answer
from turnout.acceptance.document import Document, Operation
from turnout.acceptance.probing import REFUSED, Asked, Probe
from turnout.acceptance.routing import nameless

WANTS_ACCOUNT = (401, 403)


def ask_operation(probe: Probe, operation: Operation, release: Document, count: int) -> None:
    """Ask everything that stable's document says of one operation."""
    now = counterpart(operation, release)
    names = dict(zip(operation.names_in_order, now.names_in_order, strict=True)) if now is not None else {}
    who = probe.as_account(operation)
    asked = [one for one in (probe.ask(question, who, names) for question in probe.allowed(operation, count)) if one]
    for one in asked:
        for field, what in probe.check(one):
            if field != "status" or one.answer.accepted or (one.answer.status or 0) >= 500:
                probe.found(one, field, what, names)
    accepted = [one for one in asked if one.answer.accepted]
    done = _vary(probe, accepted[0], names) if accepted else set()
    if now is None:
        if not accepted and asked:
            probe.found(asked[0], "operation", f"is not in the release's document, answered {_said(asked[0])}", names)
        return
    if operation.public and not now.public and asked:
        alone = probe.ask((accepted or asked)[0].question, NOBODY, names)
        if alone is not None and alone.answer.status in WANTS_ACCOUNT:
            probe.found(alone, "security", f"answered {_said(alone)} without an account; stable's wants none", names)
    for field, what in differences(probe.document, operation, release, now):
        _settle(probe, operation, field, what, _Seen(asked, accepted, done, names))
    if not accepted and not probe.findings.of(probe.pack, operation.name):
        probe.never_accepted(operation, [one.answer.status for one in asked])


def counterpart(operation: Operation, release: Document) -> Operation | None:
    """Return the operation of the release's document that has the same method and path, whatever its names are."""
    for one in release.operations:
        if one.method == operation.method and nameless(one.path) == nameless(operation.path):
            return one
    return None


def differences(stable: Document, before: Operation, release: Document, now: Operation) -> Iterator[tuple[str, str]]:
    """Yield what the release's document promises less or asks more: the field, and what."""
    for status in schemas.successes(stable, before):
        there = dict(schemas.fields(release, schemas.answer_body(release, now, status)))
        for field, parent in schemas.fields(stable, schemas.answer_body(stable, before, status)):
            if field not in there and parent in {*there.values()}:
                yield field, "is not in the release's document, and stable's promises it"
    body = schemas.shape(stable, schemas.request_body(stable, before))
    new = schemas.shape(release, schemas.request_body(release, now))
    yield from _asks_more("request", stable, body, release, new)
    yield from _asks_more("query", stable, schemas.query(stable, before), release, schemas.query(release, now))


def _asks_more(
    shown: str, stable: Document, before: schemas.Shape, release: Document, now: schemas.Shape
) -> Iterator[tuple[str, str]]:
    for name in sorted(now.required - before.required):
        yield f"{shown}.{name}", "must be there by the release's document, and need not by stable's"
    for name, schema in before.properties.items():
        values = schemas.choices(release, now.properties.get(name, {}))
        gone = [one for one in schemas.choices(stable, schema) if values and one not in values]
        if gone:
            yield f"{shown}.{name}", f"`{gone[0]}` is not in the release's document any more"


def _vary(probe: Probe, accepted: Asked, names: Mapping[str, str]) -> set[str]:
    """Change one value at a time; return the fields of which everything was accepted."""
    tried, refused = set(), set()
    for field, what, question in probe.variations(accepted, strangers=True):
        asked = probe.ask(question, accepted.who, names)
        if asked is None:
            continue
        tried.add(field)
        if asked.answer.status in REFUSED:
            refused.add(field)
            probe.found(asked, field, what, names)
    return tried - refused


@dataclass(frozen=True)
class _Seen:
    """What was asked of one operation, what of it was accepted, and the fields of which every variation was."""

    asked: list[Asked]
    accepted: list[Asked]
    done: set[str]
    names: Mapping[str, str]


def _settle(probe: Probe, operation: Operation, field: str, what: str, seen: _Seen) -> None:
    """Make a finding of a difference between the documents, unless the candidate does what stable's promises."""
    if field in seen.done or probe.findings.has(probe.pack, operation.name, field):
        return
    refused = [one for one in seen.asked if one.answer.status in REFUSED]
    if field.startswith("response"):
        if any(schemas.seen(_json(one.answer), field) for one in seen.accepted):
            return
        shows = seen.accepted or seen.asked
    elif seen.accepted and not refused:
        return
    else:
        shows = refused or seen.asked
    if shows:
        probe.found(shows[0], field, what, seen.names)
    else:
        answer = _unasked(probe, operation)
        probe.findings.add(probe.pack, operation.name, field, what, answer=answer)


def _unasked(probe: Probe, operation: Operation) -> Answer:
    """Return a request that was not sent, in place of one that shows a difference."""
    request = requests.Request(operation.method, probe.world.base + operation.path)
    return Answer(probe.asker.prepared(NOBODY, request), None, "not asked")


def _json(answer: Answer) -> Any:
    try:
        return answer.response.json() if answer.response is not None else None
    except ValueError:
        return None


def _said(asked: Asked) -> str:
    return str(asked.answer.status or asked.answer.why)
