"""The pack `access`: what is account A's is asked for as B and as nobody, and anything but a refusal is a finding.

It is first asked as A: a refusal proves something only of a request that is accepted from its owner.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from turnout.acceptance.asking import NOBODY, Identity
from turnout.acceptance.cases import Question
from turnout.acceptance.document import Operation
from turnout.acceptance.probing import Asked, Probe
from turnout.acceptance.world import reads

REFUSALS = (401, 403, 404)
_TRIES = 8
Reading = dict[str, tuple[int | None, Any]]


def ask_operation(probe: Probe, operation: Operation) -> None:
    """Ask one operation as B and as nobody."""
    if probe.asker.reading:
        _as_nobody_only(probe, operation)
        return
    for question in _accepted(probe, operation):
        for who in (NOBODY, probe.world.b):
            if who is not None:
                _ask_as(probe, question, who)


def _as_nobody_only(probe: Probe, operation: Operation) -> None:
    """Ask without an account, of an object that may not be there: a deploy makes none."""
    if operation.public:
        return
    for question in probe.allowed(operation, 1)[:1]:
        asked = probe.ask(question, NOBODY)
        if asked is not None and asked.answer.status not in REFUSALS:
            probe.found(asked, "as nobody", f"{_said(asked)}; an account is needed by the document")


def _accepted(probe: Probe, operation: Operation) -> list[Question]:
    """Return the questions to ask as others: one that A's answer shows to be right, also filtered by what is A's."""
    declared = probe.world.declared
    owner = probe.as_account(operation)
    tried = [replace(one, own=True, filters=False) for one in probe.allowed(operation, _TRIES)[:_TRIES]]
    chosen, statuses = None, []
    for question in tried:
        asked = probe.ask(question, owner)
        if asked is not None and asked.answer.accepted:
            chosen = question
            break
        statuses.append(asked.answer.status if asked is not None else None)
    if chosen is None and operation.public:
        return tried[:1]
    if chosen is None:
        said = ", ".join(sorted({str(one) for one in statuses}))
        probe.findings.not_known(
            probe.pack, operation.name,
            f"A itself was refused ({said or 'no request could be made'}), so that refusing others proves nothing: "
            "add a request that is accepted, as an example in the document or to acceptance.objects",
        )  # fmt: skip
    first = chosen or (tried[0] if tried else None)
    if first is None:
        return []
    filtered = any(name in declared.parameters for name in operation.names("query"))
    return [first, replace(first, filters=True)] if filtered else [first]


def _ask_as(probe: Probe, question: Question, who: Identity) -> None:
    operation, declared = question.operation, probe.world.declared
    before = _readings(probe) if not reads(operation.method) else {}
    asked = probe.ask(question, who)
    if asked is None:
        return
    probe.world.used_up = False  # what others did to A's objects is looked at first
    named = f"as {who.name}"
    if operation.name not in declared.shared:
        told = _admitted(probe, asked, who) or _leak(probe, asked)
        if told:
            probe.found(asked, named, told)
    if before and operation.name not in (*declared.public, *declared.shared):
        changed = _changed(before, _readings(probe))
        if changed and not probe.findings.has(probe.pack, operation.name, named):
            probe.found(asked, named, f"{_said(asked)}, and changed what A reads by {changed} all the same")
    if not reads(operation.method):
        probe.world.used_up = True


def _admitted(probe: Probe, asked: Asked, who: Identity) -> str:
    """Return what is wrong with the status: whether who must be refused was not."""
    operation, status = asked.question.operation, asked.answer.status
    if operation.public or status in REFUSALS:
        return ""
    if who is NOBODY:
        return f"{_said(asked)}; an account is needed by the document"
    own = any(probe.world.declared.parameters.get(name) for name in operation.names("path"))
    return f"{_said(asked)}, and it is A's" if own else ""


def _leak(probe: Probe, asked: Asked) -> str:
    """Return what tells that A's mark stands in the answer."""
    return f"{_said(asked)}, with the mark of A's objects in it" if probe.world.mark in asked.answer.text else ""


def _said(asked: Asked) -> str:
    return f"answered {asked.answer.status}" if asked.answer.status is not None else asked.answer.why


def _readings(probe: Probe) -> Reading:
    """Return what A reads of its objects; what is different at every reading is left out."""
    assert probe.world.a is not None  # noqa: S101 - there is a B
    found: Reading = {}
    for operation in probe.document.operations:
        names = operation.names("path")
        if operation.method != "GET" or operation.public or not names or not probe.cases.known(operation):
            continue
        if not all(name in probe.world.declared.parameters for name in names):
            continue
        question = _plain(probe, operation)
        if question is None:
            continue
        first, second = (probe.ask(question, probe.world.a) for _ in range(2))
        if first is not None and second is not None and _content(first) == _content(second):
            found[operation.name] = _content(first)
    return found


def _plain(probe: Probe, operation: Operation) -> Question | None:
    questions = probe.cases.positive(operation, 1)
    return replace(questions[0], own=True) if questions else None


def _content(asked: Asked) -> tuple[int | None, Any]:
    response = asked.answer.response
    return asked.answer.status, response.content if response is not None else None


def _changed(before: Reading, after: Reading) -> str:
    return next((name for name, content in before.items() if name in after and after[name] != content), "")
