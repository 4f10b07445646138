"""When a scheduler enqueues: by the times that a service file declares, or that its library shows. Pure.

Times are in seconds since the epoch, by the clock of the host that runs the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from turnout.keys import Wrong

LATE_S = 2.0
"""An entry that is due now is given this long to be enqueued."""
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_SHORT = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_PART = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def cron(text: object) -> str:
    """Return a cron expression as it was written. Raises Wrong where it is none."""
    _sets(text)
    return str(text)


def _sets(text: object) -> list[tuple[frozenset[int], bool]]:
    """Return for each field of crontab(5) the numbers that match, and whether it begins with a star."""
    expected, remedy = "five fields as in crontab(5): minute, hour, day, month, weekday", 'write "0 9 * * 1-5"'
    words = _SHORT.get(text.strip(), text).split() if isinstance(text, str) else []
    if len(words) != len(_FIELDS):
        raise Wrong("no cron expression", expected, remedy)
    found = []
    for index, (word, (name, low, high)) in enumerate(zip(words, _FIELDS, strict=True)):
        numbers: set[int] = set()
        for part in word.split(","):
            match = _PART.fullmatch(part)
            bounds = [_number(one, index) for one in match.groups()[:2]] if match else [-1, -1]
            step = int(match[3] or 1) if match else 0
            begin = low if bounds[0] is None else bounds[0]
            # `5/10` goes on to the end, as a star does; `5` alone is one number.
            end = bounds[1] if bounds[1] is not None else begin if match and match[1] and not match[3] else high
            if not low <= begin <= end <= high or step < 1:
                raise Wrong(f"{part} as {name}", expected, remedy)
            numbers |= set(range(begin, end + 1, step))
        if index == 4:  # 0 and 7 are both Sunday
            numbers = {number % 7 for number in numbers}
        found.append((frozenset(numbers), word[0] in "*?"))
    return found


def _number(word: str | None, index: int) -> int | None:
    if word is None or word.isdecimal():
        return None if word is None else int(word)
    names = _NAMES.get(index, [])
    return names.index(word.lower()) + (index == 3) if word.lower() in names else -1


def matches(text: str, local: datetime) -> bool:
    """Tell whether an expression means this minute. Of both days, where both are given, one is enough (crontab(5))."""
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = _sets(text)
    if local.minute not in minutes or local.hour not in hours or local.month not in months:
        return False
    on_day, on_weekday = local.day in days, local.isoweekday() % 7 in weekdays
    return on_day and on_weekday if any_day or any_weekday else on_day or on_weekday


def within(
    declared: Iterable[str], zone: str, shown: Iterable[Mapping[str, Any]], begin_s: float, end_s: float
) -> list[dict[str, Any]]:
    """Return what is due from `begin_s` to `end_s`: `name`, and `due` in seconds, the first first."""
    found = [{"name": one["name"], "due": one["due"]} for one in shown if begin_s <= float(one["due"]) <= end_s]
    minutes = range(60 * int(-(-begin_s // 60)), int(end_s) + 1, 60)
    for text in declared:
        found += [
            {"name": text, "due": float(at)}
            for at in minutes
            if matches(text, datetime.fromtimestamp(at, ZoneInfo(zone)))
        ]
    return sorted(found, key=lambda one: (float(one["due"]), str(one["name"])))


def untold(shown: Iterable[Mapping[str, Any]], now_s: float) -> list[str]:
    """Return the entries whose shown time is over: their next one is not told yet."""
    return [str(one["name"]) for one in shown if float(one["due"]) < now_s - LATE_S]


def told(due: Sequence[Mapping[str, Any]]) -> str:
    """Return entries with their times (UTC) for a person."""
    return ", ".join(f"{one['name']} at {datetime.fromtimestamp(one['due'], ZoneInfo('UTC')):%H:%M:%S}" for one in due)
