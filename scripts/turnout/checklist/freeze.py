"""Freeze windows: times in which nothing is released, in the wall-clock time of a place.

Wall-clock time is what people agree on ("Friday from 16:00 to Monday 08:00 in Berlin"), and it has gaps and
repetitions where daylight saving begins and ends. A moment is therefore never turned into a window's terms by adding
hours: it is read on the wall clock of the zone (PEP 495, `zoneinfo`) and compared there. For a bound inside the hour
that happens twice the earlier reading opens and the later one closes, so that a freeze never ends early.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from turnout.faults import Fault, Reader, nearest, reader_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"(?:(?P<day>[a-z]{3}) )?(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)")
_DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d"


@dataclass(frozen=True)
class Weekly:
    """A window that returns every week: from a weekday and time to another, on the wall clock of `zone`."""

    name: str
    zone: str
    start: tuple[int, time]
    end: tuple[int, time]

    def until(self, moment: datetime) -> datetime | None:
        """Return when the window that holds `moment` ends, or None where no window does.

        Windows of the week before and after are looked at too, since a window may span the week's turn.
        """
        zone = ZoneInfo(self.zone)
        local = moment.astimezone(zone)
        monday = local.date() - timedelta(days=local.weekday())
        for week in (-1, 0, 1):
            first = monday + timedelta(weeks=week)
            begins = datetime.combine(first + timedelta(days=self.start[0]), self.start[1])
            ends = datetime.combine(first + timedelta(days=self.end[0]), self.end[1])
            if ends <= begins:
                ends += timedelta(weeks=1)
            if opens(begins, zone) <= moment < closes(ends, zone):
                return closes(ends, zone)
        return None


@dataclass(frozen=True)
class Once:
    """A window with two dates: from one wall-clock moment to another."""

    name: str
    zone: str
    start: datetime
    end: datetime

    def until(self, moment: datetime) -> datetime | None:
        """Return when the window ends, or None where `moment` is outside."""
        zone = ZoneInfo(self.zone)
        return closes(self.end, zone) if opens(self.start, zone) <= moment < closes(self.end, zone) else None


Window = Weekly | Once


def opens(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment (UTC) at which the wall clock of `zone` shows `wall` or has jumped over it."""
    return _moments(wall, zone)[0]


def closes(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment (UTC) from which the wall clock of `zone` stays at or after `wall`."""
    return _moments(wall, zone)[1]


def _moments(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the first and the last moment that a wall-clock reading stands for.

    In the hour that happens twice these are an hour apart. A reading that never happens stands for the moment at
    which the clock jumps over it.
    """
    first, last = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first, last
    below, above = int(first.timestamp()), int(last.timestamp())
    while above - below > 1:
        middle = (below + above) // 2
        passed = datetime.fromtimestamp(middle, zone).replace(tzinfo=None) >= wall
        below, above = (below, middle) if passed else (middle, above)
    jump = datetime.fromtimestamp(above, UTC)
    return jump, jump


def read(items: Sequence[object], path: str = "checklist.freeze") -> tuple[list[Window], list[Fault]]:
    """Return the windows and what is wrong with them as they are written."""
    faults: list[Fault] = []
    windows: list[Window] = []
    for index, item in enumerate(items):
        before = len(faults)
        reader = reader_of(item, f"{path}[{index}]", faults)
        window = _window(reader)
        reader.done()
        if len(faults) == before and window is not None:
            windows.append(window)
    return windows, faults


def _window(reader: Reader) -> Window | None:
    name = reader.text("name", required=True, expected="what the window is called", example="weekend")
    zone = reader.text("zone", required=True, expected="a time zone's name", example="Europe/Berlin")
    start = reader.text("from", required=True, expected="fri 16:00, or 2026-12-23 18:00", example='"fri 16:00"')
    end = reader.text("to", required=True, expected="mon 08:00, or 2027-01-02 08:00", example='"mon 08:00"')
    if zone and not _is_zone(zone):
        remedy = "write zone: Europe/Berlin (see timedatectl list-timezones)"
        reader.fault("zone", f"no time zone {zone!r}", "a name of the IANA time zone database", remedy)
    if not start or not end:
        return None
    if re.fullmatch(_DATE, start) and re.fullmatch(_DATE, end):
        return _once(reader, name, zone, start, end)
    first, last = _weekday(reader, "from", start), _weekday(reader, "to", end)
    if first is None or last is None:
        return None
    if first == last:
        reader.fault("to", f"{end!r}, which is also from", "an end after the start", "correct it")
        return None
    return Weekly(name, zone, first, last)


def _once(reader: Reader, name: str, zone: str, start: str, end: str) -> Once | None:
    try:
        begins, ends = datetime.fromisoformat(start), datetime.fromisoformat(end)
    except ValueError:
        reader.fault("from", f"{start!r} to {end!r}", "two dates of the calendar", "write from: 2026-12-23 18:00")
        return None
    if ends <= begins:
        reader.fault("to", f"{end!r}", f"a moment after {start}", "correct it")
    return Once(name, zone, begins, ends)


def _weekday(reader: Reader, key: str, text: str) -> tuple[int, time] | None:
    found = _CLOCK.fullmatch(text)
    if found is None or found["day"] not in DAYS:
        day = found["day"] if found else text.partition(" ")[0]
        likely = nearest(str(day), DAYS)
        hint = f' (write {key}: "{likely} 16:00")' if likely else ""
        expected = "fri 16:00 (mon tue wed thu fri sat sun), or 2026-12-23 18:00; both of one kind"
        reader.fault(key, f"{text!r}", expected, f"correct it{hint}")
        return None
    return DAYS.index(found["day"]), time(int(found["hour"]), int(found["minute"]))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
