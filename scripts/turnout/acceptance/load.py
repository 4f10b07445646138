"""Reads and checks what a release has in `acceptance/`; nothing is asked of anybody here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from turnout.acceptance.declared import ACCESS, Acceptance
from turnout.acceptance.document import Document, Operation, read_document, read_yaml
from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError, nearest
from turnout.keys import read

FOLDER = "acceptance"
FILE = f"{FOLDER}/acceptance.yml"
_PATH = "acceptance"


@dataclass(frozen=True)
class Questions:
    """What a release is asked. `sha256` is of the declaration and the document together."""

    declared: Acceptance
    document: Document
    sha256: str


def load(release: Path) -> Questions | None:
    """Return what stands in a release's folder, None where it has no `acceptance/`.

    Raises `FaultsError` (code `acceptance-invalid`) with every fault: file, field, remedy.
    """
    if not (release / FOLDER).exists():
        return None
    faults: list[Fault] = []
    value = read_yaml(release / FILE, FILE, faults)
    declared, document = None, None
    if not faults:
        found: list[Fault] = []
        declared = read(Acceptance, {} if value is None else value, _PATH, found)
        faults += [Fault(one.path, one.observed, one.expected, one.remedy, FILE) for one in found]
    if declared is not None:
        document = read_document(release / declared.document, declared.document, faults)
    if declared is not None and document is not None:
        faults += _between(declared, document)
    if faults or declared is None or document is None:
        raise FaultsError("acceptance-invalid", f"the acceptance packs of {release}", faults)
    digest = hashlib.sha256()
    for file in (FILE, declared.document):
        digest.update(hashlib.sha256((release / file).read_bytes()).digest())
    return Questions(declared, document, digest.hexdigest())


def needed(release: Path) -> Questions:
    """Return what stands in a release's folder; raises `TurnoutError` where there is nothing."""
    if not release.is_dir():
        raise TurnoutError(
            "release-missing",
            observed=f"there is no folder {release}",
            expected="a release's folder, as it was built or as it is laid on a host",
            remedy="turnout acceptance run FOLDER --url http://127.0.0.1:8001",
        )
    found = load(release)
    if found is None:
        raise TurnoutError(
            "acceptance-missing",
            observed=f"{release} has no {FILE}",
            expected="the acceptance packs of the release",
            remedy=f"write {FILE}, e.g. `packs: [contract]`, and the document openapi.yml; docs/acceptance.md",
        )
    return found


def _between(declared: Acceptance, document: Document) -> Iterator[Fault]:
    known = {one.name: one for one in document.operations}
    for name in ("public", "shared"):
        for index, operation in enumerate(getattr(declared, name)):
            if operation not in known:
                likely = nearest(operation, known)
                remedy = f"write {likely}" if likely else "remove it, or write it into the document"
                seen = f"{operation}, which is not in {declared.document}"
                yield Fault(f"{_PATH}.{name}[{index}]", seen, "an operation of the document", remedy, FILE)
    parameters = {name for one in known.values() for name in (*one.names("path"), *one.names("query"))}
    for name in declared.parameters:
        if name not in parameters:
            likely = nearest(name, parameters)
            remedy = f"rename it to {likely}" if likely else "remove it"
            seen = "no parameter of a path or a query"
            yield Fault(f"{_PATH}.parameters.{name}", seen, "a parameter in the document", remedy, FILE)
    if ACCESS in declared.packs:
        for one in known.values():
            yield from _asked_by_access(declared, one)


def _asked_by_access(declared: Acceptance, operation: Operation) -> Iterator[Fault]:
    where = f"paths.{operation.path}.{operation.method.lower()}"
    if operation.public and operation.name not in declared.public:
        yield Fault(
            f"{where}.security",
            "an operation without security, and the pack access is asked",
            "security, or the operation among acceptance.public",
            f"write e.g. security: [{{bearer: []}}], or add `{operation.name}` to public in {FILE}",
            declared.document,
        )
    if operation.name in (*declared.public, *declared.shared):
        return
    for name in operation.names("path"):
        if name not in declared.parameters:
            yield Fault(
                f"{where}.parameters.{name}",
                f"{{{name}}} in a path, and nothing says what of account A stands there",
                f"{name} among acceptance.parameters, or the operation among acceptance.shared",
                f'add `{name}: "${{...}}"` to parameters in {FILE}, with what a request of objects captured',
                declared.document,
            )
