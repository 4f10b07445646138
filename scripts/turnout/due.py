"""When a scheduler enqueues: by the times that a service file declares, or that its library shows. Pure.

Times are in seconds since the epoch, by the clock of the host that runs the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from turnout.keys import Wrong

LATE_S = 2.0
"""An entry that is due now is given this long to be enqueued."""
_NAMED = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


def cron(text: object) -> str:
    """Return a cron expression as it was written. Raises Wrong where it is none."""
    _times(text, datetime.now(UTC))
    return str(text)


def _times(text: object, after: datetime) -> CronSim:
    """Return the times of a cron expression after a moment, in its time zone, as Debian's cron has them."""
    expected, remedy = "five fields as in crontab(5): minute, hour, day, month, weekday", 'write "0 9 * * 1-5"'
    # crontab(5) has the names, and libraries `?`; CronSim leaves out both, and would take seconds in front.
    fields = _NAMED.get(text.strip(), text.replace("?", "*")) if isinstance(text, str) else ""
    try:
        if len(fields.split()) == 5:
            return CronSim(fields, after)
        raise Wrong("no cron expression", expected, remedy)
    except CronSimError as error:
        raise Wrong(f"{text} ({str(error).lower()})", expected, remedy) from None


def within(
    declared: Iterable[str], zone: str, shown: Iterable[Mapping[str, Any]], begin_s: float, end_s: float
) -> list[dict[str, Any]]:
    """Return what is due from `begin_s` to `end_s`: `name`, and `due` in seconds, the first first."""
    found = [{"name": one["name"], "due": one["due"]} for one in shown if begin_s <= float(one["due"]) <= end_s]
    for text in declared:
        for at in _times(text, datetime.fromtimestamp(begin_s - 60, ZoneInfo(zone))):
            if at.timestamp() > end_s:
                break
            if at.timestamp() >= begin_s:
                found.append({"name": text, "due": at.timestamp()})
    return sorted(found, key=lambda one: (float(one["due"]), str(one["name"])))


def untold(shown: Iterable[Mapping[str, Any]], now_s: float) -> list[str]:
    """Return the entries whose shown time is over: their next one is not told yet."""
    return [str(one["name"]) for one in shown if float(one["due"]) < now_s - LATE_S]


def told(due: Sequence[Mapping[str, Any]]) -> str:
    """Return entries with their times (UTC) for a person."""
    return ", ".join(f"{one['name']} at {datetime.fromtimestamp(one['due'], UTC):%H:%M:%S}" for one in due)
