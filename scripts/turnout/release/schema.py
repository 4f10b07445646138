"""On which states of the database a release runs.

A state is two whole numbers: the highest migration that is applied, and the highest applied one of kind `contract`
(0: none). Migrations of kind `expand` only add, so an older release runs on with them; those of kind `contract`
take away, so a release runs only when it was declared to know them.

Where only the manifest's list orders the migrations (`order: list`; Alembic, Django, Flyway, yoyo), a migration's
number is its place, and the state's version is how many are applied: what a later release puts in between comes after.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from turnout.keys import At, Key, Part, key

EXPAND = "expand"
CONTRACT = "contract"
KINDS = (EXPAND, CONTRACT)
BY_NUMBER = "number"
BY_LIST = "list"
ORDERS = (BY_NUMBER, BY_LIST)
HIGHEST = 10**18
BUILD = "build the release again: turnout release build"


def sha256() -> Any:
    """Return the key of a checksum."""
    return key("sha256", pattern="[0-9a-f]{64}", expected="64 hex digits in lower case", example="0" * 64, remedy=BUILD)


class Migration(Part):
    """One migration that a release carries; `sha256` is of the file that applies it."""

    version: int = key("its number", low=1, high=HIGHEST, unit="the number", example="1")
    id: str = key("its name", pattern=r"[^\s/]{1,200}", expected="a name", example="0001_init")
    kind: str = key("whether it only adds", choices=KINDS, example=EXPAND)
    sha256: str = sha256()
    after: tuple[str, ...] = key(
        "those that it follows, where that is not the one before it in the list (`base`: none)",
        (),
        expected="a list of names of migrations",
        example="[ae1027a6acf0]",
        item=Key(expected="a name", example="ae1027a6acf0"),
    )


class SchemaRange(Part):
    """What a release declares: it needs every migration up to `min`, and knows the contract ones up to `max`."""

    min: int = key("lowest that it needs", high=HIGHEST, unit="the lowest migration", example="0")
    max: int = key("highest that it knows", high=HIGHEST, unit="the highest migration", example="0")

    def disagreements(self) -> Iterator[At]:
        """The range has a beginning before its end."""
        if self.min > self.max:
            yield At(".min", f"{self.min}, above max ({self.max})", "at most max", "lower min or raise max")


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

    @property
    def order(self) -> str: ...


def seen_by[M: _Carrier](release: M, todo: Collection[str] | None) -> M:
    """Return the release with the numbers that its migrations have for a database where `todo` (ids) are pending.

    In a list without numbers the applied ones come first, in the order of the list. None: not known.
    """
    if release.order == BY_NUMBER or todo is None:
        return release
    lived = sorted(release.migrations, key=lambda one: one.id in todo)
    migrations = tuple(replace(one, version=place) for place, one in enumerate(lived, 1))
    return replace(release, migrations=migrations)  # type: ignore[type-var]  # a Manifest is a dataclass


def state_in_database(release: _Carrier, version: int, recorded: Mapping[str, Any]) -> SchemaState:
    """Return the state: the version is the database's; what was contracted is known from manifest and record."""
    applied = [step.version for step in release.migrations if step.kind == CONTRACT and step.version <= version]
    remembered = int(recorded.get("last_contract") or 0)
    return SchemaState(version, max([0, *applied, remembered if remembered <= version else 0]))


def late_ones(release: _Carrier, state: SchemaState, todo: Collection[str] | None) -> tuple[Migration, ...]:
    """Return the pending migrations whose numbers are below one that is applied."""
    return tuple(one for one in release.migrations if one.version <= state.version and one.id in (todo or ()))


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
