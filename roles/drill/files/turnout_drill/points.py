"""Which of the restore points in a repository is meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import BrokenOff

# Points that were named before their records said whose they are: before-<release id>-<run>.
_BY_NAME = re.compile(r"before-(.+-[0-9a-f]{12})-\d{8}T\d{6}-.+\Z")
_SHOWN = 10
# A point's name may be cut to fit PostgreSQL's 63 bytes; no shorter than this.
_KEPT_OF_A_NAME = 40


@dataclass(frozen=True)
class Point:
    """A restore point. `release` is the id of the release that it was named before, None where it was for another use.

    `pending` is how many of the release's migrations were still to come, None where nobody lived to write it down.
    """

    name: str
    lsn: str
    at: str
    release: str | None
    pending: int | None

    @property
    def version(self) -> str | None:
        """Return the version of the release: its id without the twelve digits of the artifact's checksum."""
        return None if self.release is None else self.release.rpartition("-")[0]

    def __str__(self) -> str:
        before = {None: "migrations not known", 0: "no migration was to come", 1: "1 migration was to come"}.get(
            self.pending, f"{self.pending} migrations were to come"
        )
        return f"{self.name} of {self.at} ({before})"


def read(record: dict[str, Any]) -> Point:
    """Return the point of a record of the repository."""
    release = record.get("release")
    if release is None:
        match = _BY_NAME.match(record["name"])
        release = match[1] if match else None
    pending = record.get("pending")
    return Point(record["name"], record["lsn"], str(record["at"]), release, None if pending is None else int(pending))


def may_be_of(name: str, release: str) -> bool:
    """Tell whether a point of this name can be one of a release, by version or id: its record says whether it is."""
    return name.startswith(f"before-{release}"[:_KEPT_OF_A_NAME])


def before_release(points: Iterable[Point], release: str) -> Point:
    """Return the point before the migrations of a release, by its version or its id.

    A release that was deployed twice has two points, and the state at the second has its migrations in it. Where it is
    not certain which one is meant, nobody guesses. Raises BrokenOff with the candidates.
    """
    found = sorted((one for one in points if release in (one.release, one.version)), key=lambda point: point.at)
    if not found:
        raise BrokenOff(f"the repository knows no restore point of a deploy of release {release!r}")
    ahead = [point for point in found if point.pending]
    known = all(point.pending is not None for point in found)
    if len(ahead) == 1 and known:
        return ahead[0]
    if len(found) == 1 and found[0].pending is None:
        return found[0]
    told = ", ".join(str(point) for point in reversed(found[-_SHOWN:]))
    raise BrokenOff(
        f"which restore point of release {release} was before its migrations is not certain: {told}; take one by its "
        f"name: -e target=point -e point={(ahead or found)[0].name}"
    )
