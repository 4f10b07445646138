"""Moments at which programs that reckon with time go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_LEAP, _PLAIN = 2028, 2027


def moments(zone: str) -> Iterator[tuple[str, datetime]]:
    """Yield moments of a zone by their names, as UTC: midnight, both changes of daylight saving, February's end.

    Each is there twice: its last second before, and the moment itself.
    """
    here = ZoneInfo(zone)
    for name, day in (
        ("midnight", date(_PLAIN, 6, 15)),
        ("midnight of a year", date(_LEAP, 1, 1)),
        ("end of February", date(_PLAIN, 3, 1)),
        ("29 February", date(_LEAP, 2, 29)),
        ("end of February in a leap year", date(_LEAP, 3, 1)),
    ):
        moment = datetime(day.year, day.month, day.day, tzinfo=here).astimezone(UTC)
        yield f"before {name}", moment - timedelta(seconds=1)
        yield name, moment
    for moment in changes(here, _LEAP):
        forward = _offset(here, moment) > _offset(here, moment - timedelta(seconds=1))
        name = f"the clocks go {'forward' if forward else 'back'}"
        yield f"before {name}", moment - timedelta(seconds=1)
        yield name, moment
        midnight = moment.astimezone(here).replace(hour=0, minute=0, second=0).astimezone(UTC)
        yield f"before the day on which {name}", midnight - timedelta(seconds=1)
        yield f"the day on which {name}", midnight


def changes(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """Yield the moments of a year at which a zone changes its offset."""
    at = datetime(year, 1, 1, tzinfo=UTC)
    while at.year == year:
        after = at + timedelta(days=1)
        if _offset(zone, at) != _offset(zone, after):
            low, high = at, after
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if _offset(zone, middle) == _offset(zone, at) else (low, middle)
            yield high
        at = after


def variables(moment: datetime, zone: str) -> dict[str, str]:
    """Return what a recipe may say of a moment."""
    local = moment.astimezone(ZoneInfo(zone))
    day = local.date()
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    last = (date(following.year + following.month // 12, following.month % 12 + 1, 1) - timedelta(days=1)).day
    return {
        "now": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "zone": zone,
        "date": day.isoformat(),
        "yesterday": (day - timedelta(days=1)).isoformat(),
        "tomorrow": (day + timedelta(days=1)).isoformat(),
        "next_month": following.replace(day=min(day.day, last)).isoformat(),
        "local": local.isoformat(),
    }


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
