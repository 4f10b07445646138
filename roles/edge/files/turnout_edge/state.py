"""What an edge wants: the state, and the one number in HAProxy that follows from it."""

from __future__ import annotations

import json

from .resolve import STAGES, Word
from .shapes import FORMAT, format_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .errors import Json


WHOLE_BP = 10_000  # all of the traffic, in basis points
COLORS = ("blue", "green")
ADDED = ("handover", "since")  # fields that a state of format 1 may lack


class NewerFormat(ValueError):
    """A state is of a format that only a newer program knows."""


class State:
    """What an edge wants. The number in HAProxy follows from it, never the other way round.

    `stable` serves; `previous` is the warm way back from it; `candidate` is being released, with `share_bp`
    basis points of the traffic. `displaced` remembers the previous that the candidate was laid over.
    `rolled_back` names the last release that users were taken off; `undone` is set by every way back since
    the last confirm, so that a second rollback does not go one release too far. `declared_by` is the run that
    declared the candidate, `confirmed_by` the run that made stable what it is: a put-back undoes only what its
    own run did. `handover` is the last word about a run's release (see resolve), {run, stage, at, sure, color,
    confirmed}, and `since` when the traffic last changed. Values are never changed in place: `but` makes a new one.
    """

    __slots__ = (
        "candidate",
        "confirmed_by",
        "declared_by",
        "displaced",
        "handover",
        "previous",
        "releases",
        "rolled_back",
        "schema",
        "service",
        "share_bp",
        "since",
        "stable",
        "undone",
    )

    def __init__(
        self,
        service: str,
        *,
        stable: str | None = None,
        previous: str | None = None,
        candidate: str | None = None,
        share_bp: int = 0,
        displaced: Json | None = None,
        declared_by: str | None = None,
        confirmed_by: str | None = None,
        releases: dict[str, Json | None] | None = None,
        schema: Json | None = None,
        rolled_back: Json | None = None,
        undone: Json | None = None,
        handover: Json | None = None,
        since: str | None = None,
    ) -> None:
        self.service = service
        self.stable = stable
        self.previous = previous
        self.candidate = candidate
        self.share_bp = share_bp
        self.displaced = displaced
        self.declared_by = declared_by
        self.confirmed_by = confirmed_by
        self.releases = releases if releases is not None else dict.fromkeys(COLORS)
        self.schema = schema
        self.rolled_back = rolled_back
        self.undone = undone
        self.handover = handover
        self.since = since

    def but(self, **changes: Any) -> State:
        """Return a copy with some fields changed."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return State(**{**fields, **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.as_json() == other.as_json()

    def __hash__(self) -> int:
        return hash(json.dumps(self.as_json(), sort_keys=True))

    def __repr__(self) -> str:
        return f"State({self.as_json()})"

    @property
    def green_bp(self) -> int:
        """Green's share of the traffic, in basis points: the one number in HAProxy's map.

        A candidate without a share gets nobody even when nothing is stable yet: everybody is then sent to the
        other, empty color, and hears from HAProxy that no release is in service.
        """
        if self.candidate == "green":
            return self.share_bp
        if self.candidate == "blue":
            return WHOLE_BP - self.share_bp
        return WHOLE_BP if self.stable == "green" else 0

    def planned(self) -> Json | None:
        """Return the migrations that were begun, and whose end is not recorded."""
        return (self.schema or {}).get("planned")

    def serving_bp(self) -> dict[str, int]:
        """Return each color's share of the traffic, in basis points."""
        return {"blue": WHOLE_BP - self.green_bp, "green": self.green_bp}

    def serves(self) -> dict[str, int]:
        """Return the share of each release that has users, in basis points."""
        return {f"{color} {self.release_name(color)}": bp for color, bp in self.serving_bp().items() if bp}

    def release_name(self, color: str | None) -> str:
        """Return the version that stands in a color, for a person."""
        record = self.releases.get(color) if color else None
        return str(record["release"]) if record else "no release"

    def identity(self, color: str | None) -> Json:
        """Return what stands in a color, for a record: its version, and its configuration where that is known."""
        return identity_of(self.releases.get(color) if color else None) or {"release": self.release_name(color)}

    def named(self, color: str | None) -> str:
        """Return what stands in a color, for a person."""
        return named(self.identity(color))

    def word(self, run: str | None = None) -> Word:
        """Return this edge's word about a run (of itself: the last one that it said)."""
        said = self.handover
        if said is None or run not in (None, said["run"]):
            return Word(None)
        return Word(said["stage"], said.get("sure") is True, said.get("confirmed") is True)

    def summary(self) -> Json:
        """Return the few fields that tell where traffic goes (before and after in every answer)."""
        return {
            "stable": self.stable,
            "previous": self.previous,
            "candidate": self.candidate,
            "share_bp": self.share_bp,
            "green_bp": self.green_bp,
        }

    def as_json(self) -> Json:
        """Return the state as it is kept in state.json."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"format": FORMAT, **fields}

    @classmethod
    def from_json(cls, data: object, *, newer: bool = False) -> State:
        """Read a kept state; raises ValueError that names what is wrong with it.

        NewerFormat for one of a newer format; with `newer` that is read as far as it looks like this one, for the way
        back: what changed in it is not known, and users must not wait for it.
        """
        if not isinstance(data, dict):
            raise ValueError("it is not a JSON object")
        number = format_of(data)
        if number is None and not newer:
            raise ValueError(f"its format is {data.get('format')!r}, which is no number")
        if number is not None and number > FORMAT and not newer:
            raise NewerFormat(f"it is of format {number}")
        missing = [name for name in cls.__slots__ if name not in data and name not in ADDED]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        state = cls(**{name: data.get(name) for name in cls.__slots__})
        faults = state.faults()
        if faults:
            raise ValueError("; ".join(faults))
        return state

    def faults(self) -> list[str]:
        """Return every broken invariant; a sound state has none."""
        found = [
            f"{name} is {getattr(self, name)!r}, which is no color"
            for name in ("stable", "previous", "candidate")
            if getattr(self, name) not in (None, *COLORS)
        ]
        if isinstance(self.share_bp, bool) or not isinstance(self.share_bp, int):
            found.append(f"share_bp is {self.share_bp!r}, which is no whole number")
        elif not 0 <= self.share_bp <= WHOLE_BP:
            found.append(f"share_bp is {self.share_bp}, outside 0..{WHOLE_BP}")
        elif self.share_bp and self.candidate is None:
            found.append("there is a share but no candidate")
        if not isinstance(self.releases, dict) or set(self.releases) != set(COLORS):
            return [*found, "releases does not name blue and green"]
        found += [f"service is {self.service!r}, which is no name"] if not is_text(self.service) else []
        found += [
            f"{name} is {getattr(self, name)!r}, which is no run"
            for name in ("declared_by", "confirmed_by")
            if getattr(self, name) is not None and not is_text(getattr(self, name))
        ]
        found += [
            f"{name} is {getattr(self, name)!r}, which does not say which run, and when"
            for name in ("rolled_back", "undone")
            if getattr(self, name) is not None and not is_stamp(getattr(self, name))
        ]
        found += [
            f"the record of {color} is {record!r}, which is no release"
            for color, record in self.releases.items()
            if record is not None and not is_release(record)
        ]
        if self.displaced is not None and not is_displaced(self.displaced):
            found.append(f"displaced is {self.displaced!r}, not a color and its release")
        if self.candidate is not None and self.candidate == self.stable:
            found.append(f"{self.stable} is both stable and candidate")
        if self.previous is not None and (self.stable is None or self.previous in (self.stable, self.candidate)):
            found.append(f"previous ({self.previous}) overlaps stable or candidate, or has no stable")
        if self.schema is not None and not is_schema(self.schema):
            found.append(f"schema is {self.schema!r}, not a version and a last contract migration")
        if self.handover is not None and not is_handover(self.handover):
            found.append(f"handover is {self.handover!r}, not a run and a stage")
        found += [
            f"{name} ({getattr(self, name)}) has no release record"
            for name in ("stable", "previous", "candidate")
            if getattr(self, name) in COLORS and not is_release(self.releases[getattr(self, name)])
        ]
        return found


def is_text(value: object) -> bool:
    """Tell whether a value is a text that says something."""
    return isinstance(value, str) and bool(value)


def is_stamp(value: object) -> bool:
    """Tell whether a value says which run did something, and when."""
    return isinstance(value, dict) and all(is_text(value.get(key)) for key in ("run", "at"))


def is_displaced(value: object) -> bool:
    """Tell whether a value is a color with the release that stood in it."""
    return isinstance(value, dict) and value.get("color") in COLORS and is_release(value.get("release"))


def is_release(record: object) -> bool:
    """Tell whether a value can be a release record."""
    return (
        isinstance(record, dict)
        and isinstance(record.get("release"), str)
        and bool(record["release"])
        and isinstance(record.get("complete"), bool)
        and (record.get("configuration") is None or is_text(record["configuration"]))
        and schema_range_fault(record.get("schema")) is None
    )


def identity_of(record: Json | None) -> Json:
    """Return what tells one release from another in a record: an artifact's version with its configuration."""
    return {key: record[key] for key in ("release", "configuration") if record and record.get(key)}


def named(identity: Json) -> str:
    """Return a release for a person: `1.4.2 with configuration a1b2c3`; one of before has no configuration."""
    configuration = identity.get("configuration")
    return f"{identity.get('release')}" + (f" with configuration {configuration}" if configuration else "")


def is_schema(record: object) -> bool:
    """Tell whether a value can be the recorded state of a database's schema."""
    return has_numbers(record) and (
        not isinstance(record, dict) or "planned" not in record or has_numbers(record["planned"])
    )


def has_numbers(record: object) -> bool:
    """Tell whether a value says how far a schema is."""
    numbers = [record.get("version"), record.get("last_contract")] if isinstance(record, dict) else [None]
    return all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)


def is_handover(record: object) -> bool:
    """Tell whether a value can be an edge's last word about a run."""
    return isinstance(record, dict) and isinstance(record.get("run"), str) and record.get("stage") in STAGES


def schema_range_fault(wanted: object) -> str | None:
    """Return what is wrong with a release's schema range, or None."""
    if wanted is None:
        return None
    bounds = [wanted.get("min"), wanted.get("max")] if isinstance(wanted, dict) else []
    if len(bounds) == 2 and all(isinstance(b, int) and not isinstance(b, bool) for b in bounds):
        return None
    return f"schema is {wanted!r}, not {{'min': N, 'max': N}}"


def other(color: str) -> str:
    """Return the other color."""
    return "green" if color == "blue" else "blue"


def percent(share_bp: int) -> str:
    """Return a share for a person: 250 -> "2.5 %"."""
    return f"{share_bp / 100:g} %"


def format_map(green_bp: int) -> str:
    """Return the map file: one line."""
    return f"green {green_bp}\n"


def parse_map(text: str) -> int | None:
    """Return green's share from a map file; None when it is not exactly one sound entry."""
    entries = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(entries) != 1 or len(entries[0]) != 2 or entries[0][0] != "green":
        return None
    value = entries[0][1]
    # No more digits than a share can have: Python makes no number of thousands of them.
    is_share = value.isascii() and value.isdigit() and len(value) < 10
    return int(value) if is_share and int(value) <= WHOLE_BP else None


def choose_recovered(lines: list[Json], live_bp: int | None, service: str) -> State | None:
    """Return the state of `service` that the journal's lines (oldest first) and the live share speak for, or None.

    The last result's state, unless a later change was intended, had no result, and HAProxy shows that it was
    applied.
    """
    found: State | None = None
    for line in lines:
        try:
            if line.get("event") == "result" and "state" in line:
                state = State.from_json(line["state"], newer=True)
                found = state if state.service == service else found
            elif line.get("event") == "intent" and "target" in line:
                target = State.from_json(line["target"], newer=True)
                if (
                    target.service == service
                    and target.green_bp == live_bp
                    and (found is None or found.green_bp != live_bp)
                ):
                    found = target
        except ValueError:
            continue
    return found
