"""Asks the packs of a release of a candidate."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from turnout.acceptance import access, compatible, contract
from turnout.acceptance.abuse import Abused
from turnout.acceptance.asking import Asker, SpentError, reached
from turnout.acceptance.canaries import Logs
from turnout.acceptance.cases import Cases
from turnout.acceptance.cold import Cooled
from turnout.acceptance.counting import Counter
from turnout.acceptance.declared import (
    ABUSE,
    ACCESS,
    COLD,
    COMPATIBLE,
    CONTRACT,
    FAILURE_MODES,
    IDEMPOTENT,
    PACKS,
    WRITING,
    Acceptance,
)
from turnout.acceptance.document import Document, read_document
from turnout.acceptance.failure_modes import Failing
from turnout.acceptance.findings import Findings
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.idempotent import Idempotent
from turnout.acceptance.load import Questions
from turnout.acceptance.outcome import Outcome
from turnout.acceptance.probing import Candidate, Probe
from turnout.acceptance.recipe import filled
from turnout.acceptance.world import World
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError


@dataclass(frozen=True)
class Asked:
    """How the candidate is asked. `only` names packs, none for all that are declared.

    `reading` sends only GET and HEAD. `seconds` bounds the asking beside the packs' own budget. `headers` go with every
    request and are never shown. `verify` is whether a certificate is checked. `name`, `version` and `artifact_sha256`
    are the release's, for the outcome. `cage` says that the candidate reaches nothing of a production: packs write only
    there, or at an address of this machine.
    """

    url: str
    stable: Path | None = None
    only: tuple[str, ...] = ()
    reading: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    verify: bool = True
    seconds: int | None = None
    name: str | None = None
    version: str | None = None
    artifact_sha256: str | None = None
    cage: bool = False
    hooks: Hooks = field(default_factory=Hooks)


@dataclass(frozen=True)
class _Given:
    """What packs that write have beside the candidate."""

    counter: Counter
    hooks: Hooks
    logs: Logs


def run(questions: Questions, asked: Asked) -> Outcome:
    """Return what the packs found; raises `TurnoutError` where they cannot be asked at all."""
    declared, began_at, began = questions.declared, datetime.now(UTC), time.monotonic()
    packs = _packs(declared.packs, asked)
    if not asked.cage and not asked.reading:
        here(asked.url)
    stable = _stable(asked.stable) if COMPATIBLE in packs and asked.stable is not None else None
    budget = replace(declared.budget, seconds=min(declared.budget.seconds, asked.seconds or declared.budget.seconds))
    verify = str(asked.ca_file) if asked.ca_file is not None else asked.verify
    asker = Asker(asked.url, budget, reading=asked.reading, headers=asked.headers, verify=verify)
    findings, world = Findings(), World(asker, declared, questions.document.base)
    counts: dict[str, int] = {}
    reached(asker)
    logs = Logs(asked.hooks.logs, asked.hooks.log_commands)
    counter = Counter(world, asker, asked.hooks.database)
    try:
        world.begin()
        world.objects()
        if declared.abuse is not None and ABUSE in packs:
            own = {name: str(filled(text, world.variables)) for name, text in declared.abuse.canaries.items()}
            asker.secrets += tuple((value, f"CANARY_{name}".upper()) for name, value in asked.hooks.canaries.items())
            asker.watch({**own, **asked.hooks.canaries})
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
        if pack in WRITING:
            counts[pack] = _write(pack, declared, candidate, _Given(counter, asked.hooks, logs))
            continue
        whose = "the document" if stable is None or pack != COMPATIBLE else "stable's document"
        by = Cases(stable, declared) if stable is not None and pack == COMPATIBLE else cases
        probe = Probe(pack, by, candidate, whose)
        _ask(probe, questions.document, declared.budget.examples)
        counts[pack] = probe.count
    found, variables = findings.finished(world, asker)
    counter.close()
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
        if asked.reading and pack in WRITING:
            raise TurnoutError(
                "acceptance-reading",
                observed=f"the pack {pack}, which changes data, and --reading",
                expected="a pack of which a part only reads",
                remedy=f"ask {pack} of a candidate in the cage, without --reading",
            )
    wanted = asked.only or tuple(pack for pack in declared if not (asked.reading and pack in WRITING))
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


def _write(pack: str, declared: Acceptance, candidate: Candidate, given: _Given) -> int:
    """Ask one of the packs that write; return how many requests it sent."""
    before, counter = candidate.asker.sent, given.counter
    if pack == IDEMPOTENT:
        asking = Idempotent(candidate.world, candidate.asker, candidate.findings, counter, given.hooks)
        for delivery in declared.idempotent:
            with _noted(candidate.findings, pack, delivery.name):
                asking.ask(delivery)
    if pack == FAILURE_MODES and declared.failure_modes is not None:
        modes = declared.failure_modes
        failing = Failing(candidate.world, candidate.asker, candidate.findings, counter, given.hooks)
        for cycle in modes.life_cycles:
            with _noted(candidate.findings, pack, cycle.name):
                failing.life_cycle(cycle, declared.seed)
        for told in modes.together:
            with _noted(candidate.findings, pack, told.name):
                failing.together(told)
        with _noted(candidate.findings, pack, "clock"):
            failing.clock(modes)
    if pack == ABUSE:
        with _noted(candidate.findings, pack, "everything"):
            Abused(candidate.world, candidate.asker, candidate.findings, counter, given.logs).ask(declared)
    if pack == COLD and declared.cold is not None:
        with _noted(candidate.findings, pack, "everything"):
            Cooled(candidate.world, candidate.asker, candidate.findings, given.hooks).ask(declared.cold)
    return candidate.asker.sent - before


@contextmanager
def _spent(probe: Probe, name: str) -> Iterator[None]:
    with _noted(probe.findings, probe.pack, name):
        yield


@contextmanager
def _noted(findings: Findings, pack: str, name: str) -> Iterator[None]:
    try:
        yield
    except SpentError as error:
        findings.not_known(pack, name, f"not asked to the end: {error}")


def here(url: str) -> None:
    """Refuse an address that is not of this machine; raises `TurnoutError`."""
    host = urlsplit(url).hostname or ""
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if not own:
        raise TurnoutError(
            "acceptance-cage",
            observed=f"--url names {host}, and acceptance/acceptance.yml packs that make, change and delete data",
            expected="a candidate at an address of this machine, or in a cage that reaches no production",
            remedy="--url http://127.0.0.1:8001; --cage for a candidate in a cage; --reading for anything else",
        )
