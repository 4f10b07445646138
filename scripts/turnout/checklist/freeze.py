"""Freeze windows: times in which nothing is released, in the wall-clock time of a place.

Wall-clock time is what people agree on ("Friday from 16:00 to Monday 08:00 in Berlin"), and it has gaps and
repetitions where daylight saving begins and ends. A moment is therefore never turned into a window's terms by adding
hours: it is read on the wall clock of the zone (PEP 495, `zoneinfo`) and compared there. For a bound inside the hour
that happens twice the earlier reading opens and the later one closes, so that a freeze never ends early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from turnout.faults import nearest, quoted, shown
from turnout.keys import Key, Part, Wrong, key

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


def _bound(text: str) -> str:
    """Check one end of a window: a weekday and time, or a date and time."""
    if re.fullmatch(_DATE, text):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise Wrong(quoted(text), "a date of the calendar", "write e.g. 2026-12-23 18:00") from None
        return text
    found = _CLOCK.fullmatch(text)
    if found is None or found["day"] not in DAYS:
        day = found["day"] if found else text.partition(" ")[0]
        likely = nearest(str(day), DAYS)
        raise Wrong(quoted(text), remedy="correct it" + (f' (write "{likely} 16:00")' if likely else ""))
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        remedy = "write zone: Europe/Berlin (see timedatectl list-timezones)"
        raise Wrong(f"no time zone: {shown(name)}", "a name of the IANA time zone database", remedy) from None
    return name


_BOTH = "fri 16:00 (mon tue wed thu fri sat sun), or 2026-12-23 18:00; both of one kind"


class Written(Part):
    """A window as the file has it."""

    name: str = key("what it is called", expected="what the window is called", example="weekend")
    zone: str = key("its time zone", expected="a time zone's name", example="Europe/Berlin", check=_zone)
    from_: str = key("when it begins", expected=_BOTH, example='"fri 16:00"', check=_bound)
    to: str = key("when it ends", expected=_BOTH, example='"mon 08:00"', check=_bound)

    def window(self) -> Window:
        """Return the window; raises `Wrong` where its ends do not go together."""
        dates = [re.fullmatch(_DATE, end) is not None for end in (self.from_, self.to)]
        if any(dates) and not all(dates):
            where = ".from" if dates[0] else ".to"
            raise Wrong(
                quoted(self.from_ if dates[0] else self.to), _BOTH, "give both ends in the same way", where=where
            )
        if all(dates):
            begins, ends = datetime.fromisoformat(self.from_), datetime.fromisoformat(self.to)
            if ends <= begins:
                raise Wrong(quoted(self.to), f"a moment after {self.from_}", "correct it", where=".to")
            return Once(self.name, self.zone, begins, ends)
        if self.from_ == self.to:
            raise Wrong(f"{quoted(self.to)}, which is also from", "an end after the start", "correct it", where=".to")
        return Weekly(self.name, self.zone, _weekday(self.from_), _weekday(self.to))


def _weekday(text: str) -> tuple[int, time]:
    day, _, clock = text.partition(" ")
    return DAYS.index(day), time.fromisoformat(clock)


WINDOW = Key(form=Written, read=Written.window)
"""A window in a list of them."""
