"""Recorded releases: one JSON object a line, one line a scrape.

    {"t": 12.0, "share_bp": 500, "next_share_bp": 2500,
     "slos": {"NAME": {"stable": {"total": N, "bad": N} | null, "candidate": {"total": N, "bad": N} | null}}}

`t` is in seconds from the release's start and never falls; lines below 0 are stable's history and need no
shares. Counters are cumulative, may begin anew, and are null where they could not be read. `probes_per_s` stands
there where synthetic requests go to each color. Keys that are not named here are left alone, so that a recorder may
add its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NoReturn

from turnout.errors import TurnoutError
from turnout.judge.counters import Counter
from turnout.judge.model import MISSING, Pair, Scrape
from turnout.judge.promotion import FULL_SHARE_BP

LINE_FORM = (
    '{"t": seconds, "share_bp": 500, "next_share_bp": 2500 or null, "slos": {"NAME": '
    '{"stable": {"total": N, "bad": N} or null, "candidate": {"total": N, "bad": N} or null}}}'
)

_HUGE = 2.0**63
"""Counts are below this; it also keeps out infinity and numbers too long to be floats."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A release as it was recorded: stable's history, then the scrapes.

    `names` maps the SLOs that it names to the line where each is first named.
    """

    path: str
    history: tuple[Scrape, ...]
    scrapes: tuple[Scrape, ...]
    names: Mapping[str, int]


class _FaultError(Exception):
    """A fault of one line, before its place is known."""

    def __init__(self, field: str, seen: str, expected: str = LINE_FORM) -> None:
        super().__init__(f"field {field}: {seen}")
        self.expected = expected


def _reject_constant(name: str) -> NoReturn:
    raise _FaultError("(line)", f"{name} is not a number that JSON knows")


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _FaultError(field, f"{_short(value)} is not a number", "a finite number")
    return float(value)


def _counter(value: object, name: str, color: str) -> Counter | None:
    if value is None:
        return None
    form = '{"total": N, "bad": N} or null'
    if not isinstance(value, dict):
        raise _FaultError(f"slos.{name}.{color}", f"{_short(value)} is not an object", form)
    numbers = []
    for key in ("total", "bad"):
        number = value.get(key)
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number < _HUGE:
            field = f"slos.{name}.{color}.{key}"
            if key not in value:
                raise _FaultError(field, "is not there", form)
            raise _FaultError(field, f"{_short(number)} is not a count", "a cumulative count, 0 or more")
        numbers.append(float(number))
    return Counter(numbers[0], numbers[1])


def _pair(value: object, name: str) -> Pair:
    if value is None:
        return MISSING
    if not isinstance(value, dict):
        raise _FaultError(f"slos.{name}", f"{_short(value)} is not an object")
    for color in ("stable", "candidate"):
        if color not in value:
            raise _FaultError(
                f"slos.{name}.{color}", "is not there", "the color's counters, or null where they are missing"
            )
    return Pair(_counter(value["stable"], name, "stable"), _counter(value["candidate"], name, "candidate"))


def _share(value: object, field: str) -> int:
    number = _number(value, field)
    if number != int(number) or not 0 <= number <= FULL_SHARE_BP:
        raise _FaultError(field, f"{_short(value)} is not a share", "a whole number of basis points, 0 to 10000")
    return int(number)


def parse(text: str) -> Scrape:
    """Return the scrape that a line holds; raises `_FaultError` for one that holds none."""
    try:
        data = json.loads(text, parse_constant=_reject_constant)
    except ValueError as error:
        raise _FaultError("(line)", f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _FaultError("(line)", f"{_short(data)} is not an object")
    if "t" not in data:
        raise _FaultError("t", "is not there", "seconds from the release's start")
    t_s = _number(data["t"], "t")
    share_bp, next_share_bp = 0, None
    if t_s >= 0.0:
        if "share_bp" not in data:
            raise _FaultError("share_bp", "is not there", "the candidate's share in basis points, 0 to 10000")
        share_bp = _share(data["share_bp"], "share_bp")
        if data.get("next_share_bp") is not None:
            next_share_bp = _share(data["next_share_bp"], "next_share_bp")
            if next_share_bp <= share_bp:
                raise _FaultError(
                    "next_share_bp",
                    f"{next_share_bp} does not grow from share_bp {share_bp}",
                    "a larger share than the present one, or null at the last step",
                )
    slos = data.get("slos")
    if not isinstance(slos, dict):
        raise _FaultError("slos", f"{_short(slos)} is not an object")
    pairs = {name: _pair(pair, name) for name, pair in slos.items()}
    return Scrape(t_s, share_bp, next_share_bp, pairs, _number(data.get("probes_per_s", 0), "probes_per_s"))


def _scrapes(path: str, lines: Iterable[str]) -> Iterator[tuple[int, Scrape]]:
    previous_s: float | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            scrape = parse(line)
            if previous_s is not None and scrape.t_s < previous_s:
                raise _FaultError("t", f"{scrape.t_s:g} comes after {previous_s:g}", "times that never fall")
        except _FaultError as fault:
            raise TurnoutError(
                "record-malformed",
                observed=f"{path}: line {number}: {fault}",
                expected=fault.expected,
                remedy=f"mend or remove line {number} of {path}, e.g. sed -i.bak {number}d {path}",
            ) from fault
        previous_s = scrape.t_s
        yield number, scrape


def read(path: Path) -> Recording:
    """Return a recorded release; raises `TurnoutError` that names file, line and field for one that is
    malformed."""
    shown = str(path)
    try:
        with path.open(encoding="utf-8") as lines:
            numbered = list(_scrapes(shown, lines))
    except (OSError, UnicodeDecodeError) as error:
        raise TurnoutError(
            "record-unreadable",
            observed=f"{shown}: {error}",
            expected="a recorded release, one JSON object a line",
            remedy="turnout judge replay FILE... --slos DIR, with files that exist and can be read",
        ) from error
    released = tuple(s for _, s in numbered if s.t_s >= 0.0)
    if not released:
        raise TurnoutError(
            "record-empty",
            observed=f"{shown}: no line with t of 0 or more",
            expected="at least one scrape of the release itself",
            remedy=f"record the release again, or leave {shown} out",
        )
    names: dict[str, int] = {}
    for number, scrape in numbered:
        for name in scrape.slos:
            names.setdefault(name, number)
    return Recording(path=shown, history=tuple(s for _, s in numbered if s.t_s < 0.0), scrapes=released, names=names)


def _counter_json(counter: Counter | None) -> dict[str, float] | None:
    return None if counter is None else {"total": _whole(counter.total), "bad": _whole(counter.bad)}


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def line(scrape: Scrape) -> str:
    """Return a scrape as the line that `read` reads, without its newline."""
    probes = {"probes_per_s": _whole(scrape.probes_per_s)} if scrape.probes_per_s else {}
    return json.dumps(
        {
            "t": scrape.t_s,
            "share_bp": scrape.share_bp,
            "next_share_bp": scrape.next_share_bp,
            "slos": {
                name: {"stable": _counter_json(pair.stable), "candidate": _counter_json(pair.candidate)}
                for name, pair in scrape.slos.items()
            },
            **probes,
        },
        separators=(",", ":"),
    )
