"""Strict reading of drill records: a line that is not exactly a record is refused, with its place and its remedy.

Besides its form, a record must agree with itself: the RPO is that of its failure and its recovered state, its phases
sum to its RTO, and its verdict is no better than its own checks allow. A record that was edited by hand, or written by
code that skipped something, does not become a proof.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from turnout.drill.arithmetic import (
    DECLARED_PHASES,
    measure_rpo,
    missing_phases,
    rto_seconds,
    sums_to,
    verdict_of,
    worse,
)
from turnout.drill.record import (
    FORMAT,
    PHASES,
    Check,
    Drill,
    Failure,
    Mode,
    Outcome,
    Phase,
    Recovered,
    Rpo,
    Sizes,
    Source,
    Verdict,
    lsn_number,
)
from turnout.errors import TurnoutError

# Places in the WAL have 64 bits, and so have the distances between them that a record holds.
_HUGE = 2**64


class FaultError(Exception):
    """A fault of one record, before its file and line are known."""

    def __init__(self, field: str, seen: str, expected: str) -> None:
        super().__init__(f"field {field}: {seen}")
        self.expected = expected


class NewerFormatError(FaultError):
    """A record is of a format that only a newer Turnout reads."""

    def __init__(self, number: int) -> None:
        super().__init__("format", f"is {number}", f"format {FORMAT}, which is all that this Turnout reads")
        self.number = number


def newer_format(what: str, number: object) -> TurnoutError:
    """Return the error for a record of a newer format."""
    return TurnoutError(
        "drill-format",
        observed=f"{what} is of format {_short(number)}",
        expected=f"format {FORMAT}, which is all that this Turnout reads",
        remedy="pip install --upgrade turnout on this controller: a newer one wrote it",
    )


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _reject_constant(name: str) -> NoReturn:
    raise FaultError("(line)", f"{name} is not a number that JSON knows", "finite numbers")


def _keys(value: object, field: str, keys: Iterable[str]) -> Mapping[str, Any]:
    """Return `value` as an object with exactly these keys."""
    wanted = list(keys)
    form = "an object with " + ", ".join(wanted)
    if not isinstance(value, dict):
        raise FaultError(field, f"{_short(value)} is not an object", form)
    prefix = "" if field == "(line)" else field + "."
    for key in wanted:
        if key not in value:
            raise FaultError(prefix + key, "is not there", form)
    for key in value:
        if key not in wanted:
            raise FaultError(prefix + key, "is not a field of a record", form)
    return value


def _text(value: object, field: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or (not value and not empty):
        raise FaultError(field, f"{_short(value)} is not text", "text" if empty else "text that is not empty")
    return value


def _number(value: object, field: str) -> float:
    # The bound keeps out infinity, and whole numbers that are too long to be floats.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _HUGE:
        raise FaultError(field, f"{_short(value)} is not a number of 0 or more", "a number, 0 or more")
    return float(value)


def _whole(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _HUGE:
        raise FaultError(field, f"{_short(value)} is not a whole number of 0 or more", "a whole number, 0 or more")
    return value


def _time(value: object, field: str) -> datetime:
    form = "a time as 2026-01-31T03:00:00.000000Z, with its offset"
    try:
        moment = datetime.fromisoformat(_text(value, field))
    except ValueError as error:
        raise FaultError(field, f"{_short(value)} is not a time", form) from error
    if moment.tzinfo is None:
        raise FaultError(field, f"{_short(value)} has no offset", form)
    if not 2000 <= moment.year < 9999:
        raise FaultError(field, f"{_short(value)} is no time of a drill", form)
    return moment


def _choice[E: StrEnum](kind: type[E], value: object, field: str) -> E:
    try:
        return kind(_text(value, field))
    except ValueError as error:
        raise FaultError(field, f"{_short(value)} is unknown", "one of " + ", ".join(kind)) from error


def _optional[T](read: Callable[[object, str], T], value: object, field: str) -> T | None:
    return None if value is None else read(value, field)


def _each[T](read: Callable[[object, str], T], value: object, field: str) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise FaultError(field, f"{_short(value)} is not a list", "a list")
    return tuple(read(one, f"{field}[{index}]") for index, one in enumerate(value))


def _point(value: object, field: str) -> tuple[datetime, str, int]:
    keys = _keys(value, field, ("at", "lsn", "heartbeat"))
    lsn = _text(keys["lsn"], f"{field}.lsn")
    try:
        lsn_number(lsn)
    except ValueError as error:
        raise FaultError(f"{field}.lsn", f"{_short(lsn)} is not an LSN", "an LSN as 16/B374D848") from error
    return _time(keys["at"], f"{field}.at"), lsn, _whole(keys["heartbeat"], f"{field}.heartbeat")


def _failure(value: object, field: str) -> Failure:
    return Failure(*_point(value, field))


def _recovered(value: object, field: str) -> Recovered:
    return Recovered(*_point(value, field))


def _rpo(value: object, field: str) -> Rpo:
    keys = _keys(value, field, ("seconds", "heartbeats", "wal_bytes"))
    return Rpo(
        _number(keys["seconds"], f"{field}.seconds"),
        _whole(keys["heartbeats"], f"{field}.heartbeats"),
        _whole(keys["wal_bytes"], f"{field}.wal_bytes"),
    )


def _phase(value: object, field: str) -> Phase:
    keys = _keys(value, field, ("name", "seconds", "source"))
    name = _text(keys["name"], f"{field}.name")
    if name not in PHASES:
        raise FaultError(f"{field}.name", f"{_short(name)} is unknown", "one of " + ", ".join(PHASES))
    source = _choice(Source, keys["source"], f"{field}.source")
    if source is Source.DECLARED and name not in DECLARED_PHASES:
        raise FaultError(f"{field}.source", f"{name} is declared", "measured: only detect and decide may be declared")
    seconds = _number(keys["seconds"], f"{field}.seconds")
    if name in DECLARED_PHASES and seconds == 0.0:
        raise FaultError(
            f"{field}.seconds", f"{name} takes 0 s", "seconds above 0: nobody notices or decides in no time"
        )
    return Phase(name, seconds, source)


def _sizes(value: object, field: str) -> Sizes:
    keys = _keys(value, field, ("data_bytes", "wal_bytes", "backup_age_s", "backup_interval_s"))
    return Sizes(
        _optional(_whole, keys["data_bytes"], f"{field}.data_bytes"),
        _optional(_whole, keys["wal_bytes"], f"{field}.wal_bytes"),
        _optional(_number, keys["backup_age_s"], f"{field}.backup_age_s"),
        _optional(_number, keys["backup_interval_s"], f"{field}.backup_interval_s"),
    )


def _check(value: object, field: str) -> Check:
    keys = _keys(value, field, ("name", "outcome", "seconds", "detail"))
    return Check(
        _text(keys["name"], f"{field}.name"),
        _choice(Outcome, keys["outcome"], f"{field}.outcome"),
        _number(keys["seconds"], f"{field}.seconds"),
        _text(keys["detail"], f"{field}.detail", empty=True),
    )


def _cause(value: object, field: str) -> str:
    return _text(value, field)


FIELDS = (
    "kind",
    "id",
    "mode",
    "started",
    "ended",
    "failure",
    "recovered",
    "rpo",
    "phases",
    "rto_seconds",
    "sizes",
    "checks",
    "egress_blocked",
    "verdict",
    "causes",
)


def from_object(value: object) -> Drill:
    """Return the record that an object holds; raises FaultError, which names the field."""
    if isinstance(value, dict) and "format" in value:
        number = value["format"]
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise FaultError("format", f"{_short(number)} is no format", f"the number {FORMAT}, or none")
        if number > FORMAT:
            raise NewerFormatError(number)
        value = {key: inner for key, inner in value.items() if key != "format"}
    keys = _keys(value, "(line)", FIELDS)
    if keys["kind"] != "drill":
        raise FaultError("kind", f"{_short(keys['kind'])} is not a drill", "drill")
    drill = Drill(
        id=_text(keys["id"], "id"),
        mode=_choice(Mode, keys["mode"], "mode"),
        started=_time(keys["started"], "started"),
        ended=_time(keys["ended"], "ended"),
        failure=_optional(_failure, keys["failure"], "failure"),
        recovered=_optional(_recovered, keys["recovered"], "recovered"),
        rpo=_optional(_rpo, keys["rpo"], "rpo"),
        phases=_each(_phase, keys["phases"], "phases"),
        rto_seconds=_optional(_number, keys["rto_seconds"], "rto_seconds"),
        sizes=_sizes(keys["sizes"], "sizes"),
        checks=_each(_check, keys["checks"], "checks"),
        egress_blocked=_optional(_whole, keys["egress_blocked"], "egress_blocked"),
        verdict=_choice(Verdict, keys["verdict"], "verdict"),
        causes=_each(_cause, keys["causes"], "causes"),
    )
    _agree(drill)
    return drill


def _agree(drill: Drill) -> None:
    """Refuse a record that contradicts itself."""
    if drill.ended < drill.started:
        raise FaultError("ended", "is before started", "a drill that ends after it started")
    names = [phase.name for phase in drill.phases]
    if names != [name for name in PHASES if name in names]:
        raise FaultError("phases", f"are {', '.join(names)}", "each phase once, in the order " + ", ".join(PHASES))
    _agree_rpo(drill)
    _agree_rto(drill)
    best = _best_verdict(drill)
    if worse(best, drill.verdict) is not drill.verdict:
        raise FaultError("verdict", f"is {drill.verdict}", f"at best {best}, by its own checks, phases and numbers")
    if drill.verdict is not Verdict.PASS and not drill.causes:
        raise FaultError("causes", f"is empty, and the verdict {drill.verdict}", "why the verdict is not pass")


def _agree_rpo(drill: Drill) -> None:
    if drill.rpo is None:
        return
    if drill.failure is None or drill.recovered is None or not drill.mode.measures_rpo:
        raise FaultError("rpo", "is there", f"null in mode {drill.mode}, or where failure or recovered is null")
    try:
        computed = measure_rpo(drill.failure, drill.recovered)
    except TurnoutError as error:
        raise FaultError("rpo", error.observed, error.expected) from error
    for name, tolerance in (("seconds", 0.0011), ("heartbeats", 0), ("wal_bytes", 0)):
        seen, right = getattr(drill.rpo, name), getattr(computed, name)
        if abs(seen - right) > tolerance:
            raise FaultError(f"rpo.{name}", f"is {seen}", f"{right}, by failure and recovered")


def _agree_rto(drill: Drill) -> None:
    if drill.rto_seconds is None:
        return
    missing = missing_phases(drill.phases)
    if missing:
        raise FaultError("rto_seconds", "is there", f"null, since phases are missing: {', '.join(missing)}")
    if not sums_to(drill.phases, drill.rto_seconds):
        summed = rto_seconds(drill.phases)
        raise FaultError("rto_seconds", f"is {drill.rto_seconds:g}", f"{summed:g}, the sum of its phases, within 1 %")


def _best_verdict(drill: Drill) -> Verdict:
    """Return the best verdict that the rest of the record allows."""
    best = verdict_of(drill.checks)
    needed = (drill.failure, drill.recovered, drill.rto_seconds, drill.egress_blocked)
    if any(value is None for value in needed) or (drill.mode.measures_rpo and drill.rpo is None):
        best = worse(best, Verdict.INCONCLUSIVE)
    return best


_LEDGER_HEAD = ("ts", "seq", "run", "actor")
"""What `turnout-edge ledger` puts around an entry."""


def parse(text: str) -> Drill | None:
    """Return the record that a line holds, or None for an entry of a ledger that is not of a drill; raises FaultError.

    A ledger's line is known by its head; outside of one nothing but drills is accepted, so that a misspelt kind is
    not passed over.
    """
    try:
        value = json.loads(text, parse_constant=_reject_constant)
    except ValueError as error:
        raise FaultError("(line)", f"not JSON: {error}", "one JSON object a line, a drill's record") from error
    except RecursionError as error:
        raise FaultError("(line)", "nested too deep", "one JSON object a line, a drill's record") from error
    if isinstance(value, dict) and all(key in value for key in _LEDGER_HEAD):
        if value.get("kind") != "drill":
            return None
        value = {key: inner for key, inner in value.items() if key not in _LEDGER_HEAD}
    return from_object(value)


def read_lines(path: str, lines: Iterable[str]) -> Iterator[Drill]:
    """Yield the records of a file's lines; raises TurnoutError `drill-record` with file, line, field and remedy."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            drill = parse(line)
        except NewerFormatError as fault:
            raise newer_format(f"{path}: line {number}: the record", fault.number) from fault
        except FaultError as fault:
            raise TurnoutError(
                "drill-record",
                observed=f"{path}: line {number}: {fault}",
                expected=fault.expected,
                remedy=f"mend or remove line {number} of {path}, e.g. sed -i.bak {number}d {path}",
            ) from fault
        if drill is not None:
            yield drill


def read(paths: Iterable[Path]) -> tuple[Drill, ...]:
    """Return the records of some files, the oldest first; a record that several files hold counts once.

    Raises TurnoutError for a file that cannot be read, a line that is no record, or two different records of one id.
    """
    found: dict[str, Drill] = {}
    for path in paths:
        try:
            with path.open(encoding="utf-8") as lines:
                drills = list(read_lines(str(path), lines))
        except (OSError, UnicodeDecodeError) as error:
            raise TurnoutError(
                "drill-records-unreadable",
                observed=f"{path}: {error}",
                expected="drill records, one JSON object a line",
                remedy="name files that exist and can be read: turnout drill report FILE...",
            ) from error
        for drill in drills:
            if found.setdefault(drill.id, drill) != drill:
                raise TurnoutError(
                    "drill-record-twice",
                    observed=f"{path}: drill {drill.id} differs from the record of the same id read before",
                    expected="one record for each drill",
                    remedy=f"find which one is true and remove the other: grep -n {drill.id} FILE...",
                )
    return tuple(sorted(found.values(), key=lambda drill: (drill.ended, drill.id)))
