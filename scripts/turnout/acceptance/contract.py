"""The pack `contract`: the release's own document against the candidate."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import requests

from turnout.acceptance.asking import NOBODY, Identity
from turnout.acceptance.cases import Question
from turnout.acceptance.document import Operation
from turnout.acceptance.probing import REFUSED, Asked, Probe
from turnout.acceptance.routing import nameless
from turnout.acceptance.world import reads

NO_ROUTE = (404, 405, 501)
THERE = (*range(200, 300), 400, 409, 415, 422, 500)
"""What only a route answers, to a request without a body."""
_OTHER_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def ask_operation(probe: Probe, operation: Operation, count: int) -> None:
    """Ask everything of one operation."""
    who = probe.as_account(operation)
    allowed = probe.allowed(operation, count)
    forbidden = [
        replace(one, own=number % 2 == 0) for number, one in enumerate(probe.cases.negative(operation, count // 2))
    ]
    if probe.asker.reading and not operation.public:
        allowed, forbidden = allowed[:3], forbidden[:1]  # without an account every answer is the same
    accepted: Asked | None = None
    first: Asked | None = None
    statuses = []
    for question in allowed:
        asked = _checked(probe, question, who)
        if asked is None:
            continue
        statuses.append(asked.answer.status)
        first = first or asked
        if accepted is None and asked.answer.accepted:
            accepted = asked
    for question in forbidden:
        _checked(probe, question, who)
    if who is not NOBODY and allowed:
        _checked(probe, allowed[0], NOBODY)
    base = accepted or first
    for question in probe.edges(base) if base is not None else ():
        _checked(probe, question, who)
    if accepted is not None:
        ask_variations(probe, accepted)
    else:
        probe.never_accepted(operation, statuses)


def ask_variations(probe: Probe, accepted: Asked) -> None:
    """Change one value at a time of a request that was accepted."""
    for field, what, question in probe.variations(accepted):
        asked = _checked(probe, question, accepted.who)
        if asked is not None and asked.answer.status in REFUSED:
            probe.found(asked, field, what)


def ask_routes(probe: Probe) -> None:
    """Ask the routes and methods that the document does not have."""
    known = {(one.method, nameless(one.path)) for one in probe.document.operations}
    listed = [route.partition(" ")[::2] for route in probe.world.declared.routes]
    paths = dict.fromkeys(one.path for one in probe.document.operations)
    others = [(method, path) for path in paths for method in _OTHER_METHODS]
    for method, path in dict.fromkeys([*listed, *others]):
        if (method, nameless(path)) in known or (method == "HEAD" and ("GET", nameless(path)) in known):
            continue
        if probe.asker.reading and not reads(method):
            continue
        _ask_route(probe, method, path, declared=(method, path) in listed)


def _ask_route(probe: Probe, method: str, path: str, *, declared: bool) -> None:
    who: Identity = probe.world.a or NOBODY

    def prepared() -> requests.Request:
        probe.world.objects()
        return requests.Request(method, probe.world.base + _with_values(probe, path))

    answer = probe.asker.ask(who, prepared())
    probe.count += 1
    if answer.accepted and not reads(method):
        probe.world.used_up = True
    page = answer.response is not None and answer.response.headers.get("Content-Type", "").startswith("text/html")
    # Of a method that nobody listed, a page, a redirection or a 401 may be what the application says of everything.
    there = answer.status not in NO_ROUTE if declared else answer.status in THERE and not page
    if there:
        probe.findings.add(
            probe.pack, f"{method} {path}", "route", "answers, and is not in the document",
            answer=answer, again=lambda: probe.asker.prepared(who, prepared()),
        )  # fmt: skip


def _with_values(probe: Probe, path: str) -> str:
    parts = []
    for part in path.split("/"):
        name = part[1:-1] if part.startswith("{") and part.endswith("}") else ""
        value = probe.world.parameter(name) if name else None
        parts.append(quote(str(value if value is not None else 1), safe="") if name else part)
    return "/".join(parts)


def _checked(probe: Probe, question: Question, who: Identity) -> Asked | None:
    asked = probe.ask(question, who)
    if asked is not None:
        for field, what in probe.check(asked):
            probe.found(asked, field, what)
    return asked
