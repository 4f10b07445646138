"""Asks the packs of a release of a candidate."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from turnout.acceptance import access, compatible, contract
from turnout.acceptance.asking import Asker, SpentError, reached
from turnout.acceptance.cases import Cases
from turnout.acceptance.declared import ACCESS, COMPATIBLE, CONTRACT, PACKS
from turnout.acceptance.document import Document, read_document
from turnout.acceptance.findings import Findings
from turnout.acceptance.load import Questions
from turnout.acceptance.outcome import Outcome
from turnout.acceptance.probing import Candidate, Probe
from turnout.acceptance.world import World
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError


@dataclass(frozen=True)
class Asked:
    """How the candidate is asked. `only` names packs, none for all that are declared.

    `reading` sends only GET and HEAD. `headers` go with every request and are never shown. `name`, `version` and
    `artifact_sha256` are the release's, for the outcome.
    """

    url: str
    stable: Path | None = None
    only: tuple[str, ...] = ()
    reading: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    name: str | None = None
    version: str | None = None
    artifact_sha256: str | None = None


def run(questions: Questions, asked: Asked) -> Outcome:
    """Return what the packs found; raises `TurnoutError` where they cannot be asked at all."""
    declared, began_at, began = questions.declared, datetime.now(UTC), time.monotonic()
    packs = _packs(declared.packs, asked)
    stable = _stable(asked.stable) if COMPATIBLE in packs and asked.stable is not None else None
    asker = Asker(asked.url, declared.budget, reading=asked.reading, headers=asked.headers, ca_file=asked.ca_file)
    findings, world = Findings(), World(asker, declared, questions.document.base)
    counts: dict[str, int] = {}
    reached(asker)
    try:
        world.begin()
        world.objects()
    except SpentError as error:
        for pack in packs:
            findings.not_known(pack, "everything", f"not asked: {error}")
        packs_asked: tuple[str, ...] = ()
    else:
        packs_asked = packs
    cases = Cases(questions.document, declared)
    candidate = Candidate(world, asker, findings)
    for pack in packs_asked:
        world.used_up = True
        if pack == COMPATIBLE and stable is None:
            findings.not_known(pack, "everything", "there is no document of the release in service: --stable FILE")
            continue
        whose = "the document" if stable is None or pack != COMPATIBLE else "stable's document"
        by = Cases(stable, declared) if stable is not None and pack == COMPATIBLE else cases
        probe = Probe(pack, by, candidate, whose)
        _ask(probe, questions.document, declared.budget.examples)
        counts[pack] = probe.count
    found, variables = findings.finished(world, asker)
    return Outcome(
        name=asked.name,
        version=asked.version,
        artifact_sha256=asked.artifact_sha256,
        questions_sha256=questions.sha256,
        stable_sha256=hashlib.sha256(asked.stable.read_bytes()).hexdigest() if stable and asked.stable else None,
        packs=packs,
        reading=asked.reading,
        seed=declared.seed,
        url=asked.url,
        began_at=began_at,
        took_s=time.monotonic() - began,
        requests=asker.sent,
        asked=counts,
        findings=found,
        unknown=tuple(findings.unknown),
        variables=variables,
    )


def _packs(declared: tuple[str, ...], asked: Asked) -> tuple[str, ...]:
    for pack in asked.only:
        if pack not in declared:
            raise TurnoutError(
                "acceptance-pack",
                observed=f"the pack {pack}, which the release does not declare",
                expected=f"one of: {', '.join(declared)}",
                remedy="name one of these, or add it to packs in acceptance/acceptance.yml",
            )
    wanted = asked.only or declared
    return tuple(pack for pack in PACKS if pack in wanted)


def _stable(file: Path) -> Document:
    faults: list[Fault] = []
    document = read_document(file, str(file), faults)
    if document is None:
        raise FaultsError("acceptance-stable", f"stable's document {file}", faults)
    return document


def _ask(probe: Probe, document: Document, count: int) -> None:
    """Ask one pack, operation by operation; what the budget leaves is noted."""
    for operation in probe.document.operations:
        if not probe.askable(operation):
            continue
        with _spent(probe, operation.name):
            if probe.pack == CONTRACT:
                contract.ask_operation(probe, operation, count)
            elif probe.pack == ACCESS:
                access.ask_operation(probe, operation)
            else:
                compatible.ask_operation(probe, operation, document, count)
    if probe.pack == CONTRACT:
        with _spent(probe, "routes"):
            contract.ask_routes(probe)


@contextmanager
def _spent(probe: Probe, name: str) -> Iterator[None]:
    try:
        yield
    except SpentError as error:
        probe.findings.not_known(probe.pack, name, f"not asked to the end: {error}")
