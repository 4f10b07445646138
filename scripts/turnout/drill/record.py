"""The record of a drill: one JSON object a line, one line a drill. Values here, strict reading and writing beside them.

    {"kind": "drill", "id", "mode": "latest|random|longest_chain|disaster|time", "started", "ended",
     "failure": {"at", "lsn", "heartbeat"} | null, "recovered": {"at", "lsn", "heartbeat"} | null,
     "rpo": {"seconds", "heartbeats", "wal_bytes"} | null,
     "phases": [{"name", "seconds", "source": "declared|measured"}], "rto_seconds": seconds | null,
     "sizes": {"data_bytes", "wal_bytes", "backup_age_s", "backup_interval_s"}, "checks": [{"name", "outcome":
     "pass|fail|unknown", "seconds", "detail"}], "egress_blocked": N, "verdict": "pass|fail|inconclusive",
     "causes": [text]}

Times are ISO 8601 with an offset; failure.at and recovered.at are the primary's clock (recovered.at: commit time of the
last recovered heartbeat), and recovered.lsn is read where replay ended, before promotion. `failure`, `recovered`,
`rpo`, `rto_seconds`, `egress_blocked` and each size are null where a drill did not get so far; `rpo` is null too in the
modes `random` and `time`, whose loss is chosen, not measured. Build records with `turnout.drill.finish.finish`, which
computes what can be computed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

PHASES = (
    "detect",
    "decide",
    "provision",
    "preflight",
    "copy",
    "consistency",
    "target",
    "promote",
    "fixups",
    "validation",
    "redis_objects",
    "smoke",
)
"""The phases of an RTO, in their order."""


class Mode(StrEnum):
    """Where a drill recovers to."""

    LATEST = "latest"
    RANDOM = "random"
    LONGEST_CHAIN = "longest_chain"
    DISASTER = "disaster"
    TIME = "time"

    @property
    def measures_rpo(self) -> bool:
        """Tell whether recovery goes to the archive's end, so that what is missing is a loss and not a choice."""
        return self not in (Mode.RANDOM, Mode.TIME)


class Source(StrEnum):
    """Where a phase's seconds come from."""

    DECLARED = "declared"
    MEASURED = "measured"


class Outcome(StrEnum):
    """What a check found; unknown: it could not look."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What a drill proved."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Failure:
    """The declared failure instant F, as one query on the primary gave it: clock, WAL flush LSN, last heartbeat."""

    at: datetime
    lsn: str
    heartbeat: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The recovered state: commit time and number of its last heartbeat, and the LSN where replay ended."""

    at: datetime
    lsn: str
    heartbeat: int


@dataclass(frozen=True, slots=True)
class Rpo:
    """What was lost: time, heartbeats, bytes of WAL."""

    seconds: float
    heartbeats: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the RTO."""

    name: str
    seconds: float
    source: Source


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was restored: size of the data directory, WAL replayed, age of the backup used at F, and the interval at
    which backups are scheduled. None: not known."""

    data_bytes: int | None = None
    wal_bytes: int | None = None
    backup_age_s: float | None = None
    backup_interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check on the restored data. `detail` says what was seen; no secret."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill, from its start to its verdict. `causes` says in words why the verdict is not pass."""

    id: str
    mode: Mode
    started: datetime
    ended: datetime
    failure: Failure | None
    recovered: Recovered | None
    rpo: Rpo | None
    phases: tuple[Phase, ...]
    rto_seconds: float | None
    sizes: Sizes
    checks: tuple[Check, ...]
    egress_blocked: int | None
    verdict: Verdict
    causes: tuple[str, ...]

    def phase_seconds(self, name: str) -> float | None:
        """Return the seconds of a phase, or None where the drill has none."""
        return next((phase.seconds for phase in self.phases if phase.name == name), None)


_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z")


def lsn_number(text: str) -> int:
    """Return the byte position of an LSN as PostgreSQL writes it (`16/B374D848`). Raises ValueError."""
    match = _LSN.match(text)
    if not match:
        raise ValueError(f"{text!r} is not an LSN")
    return int(match[1], 16) << 32 | int(match[2], 16)


def iso(moment: datetime) -> str:
    """Return a time as UTC text with microseconds, so that what is written is what is read."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


FORMAT = 1
"""Of a record, and of what a drill host measured. A record of format 1 carries no number: Turnout 0.2 reads it too."""


def as_dict(drill: Drill) -> dict[str, Any]:
    """Return a record as the object that is written."""
    return {"kind": "drill", **_plain(drill)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def line(drill: Drill) -> str:
    """Return a record as the line that `turnout.drill.parse.parse` reads, without its newline."""
    return json.dumps(as_dict(drill), separators=(",", ":"), ensure_ascii=False)
