"""On which states of the database a release runs.

A state is two whole numbers: the highest migration that is applied, and the highest applied one of kind `contract`
(0: none). Migrations of kind `expand` only add, so an older release runs on with them; those of kind `contract`
take away, so a release runs only when it was declared to know them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

EXPAND = "expand"
CONTRACT = "contract"
KINDS = (EXPAND, CONTRACT)


@dataclass(frozen=True)
class Migration:
    """One migration that a release carries; `sha256` is of the file that applies it."""

    version: int
    id: str
    kind: str
    sha256: str

    def as_dict(self) -> dict[str, object]:
        """Return the migration as the manifest carries it."""
        return {"version": self.version, "id": self.id, "kind": self.kind, "sha256": self.sha256}


@dataclass(frozen=True)
class SchemaRange:
    """What a release declares: it needs every migration up to `min`, and knows the contract ones up to `max`."""

    min: int
    max: int


@dataclass(frozen=True)
class SchemaState:
    """What a database has: the highest applied migration, and the highest applied one of kind `contract`."""

    version: int
    last_contract: int = 0


def runs_on(wanted: SchemaRange, state: SchemaState) -> bool:
    """Tell whether a release that declares `wanted` runs on `state`."""
    return wanted.min <= state.version and state.last_contract <= wanted.max


class _Carrier(Protocol):
    @property
    def migrations(self) -> tuple[Migration, ...]: ...


def pending(release: _Carrier, state: SchemaState) -> tuple[Migration, ...]:
    """Return the release's migrations that are not applied yet, in the order in which they will be."""
    return tuple(sorted((m for m in release.migrations if m.version > state.version), key=lambda m: m.version))


def state_after(release: _Carrier, state: SchemaState) -> SchemaState:
    """Return the state once all migrations of the release are applied."""
    todo = pending(release, state)
    return SchemaState(
        version=max([state.version, *(m.version for m in todo)]),
        last_contract=max([state.last_contract, *(m.version for m in todo if m.kind == CONTRACT)]),
    )
