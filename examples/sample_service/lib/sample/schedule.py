"""Which slots of a schedule are due. Standard library only; no clock of its own.

Time is cut into numbered slots, counted from 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .config import number, required

DAY_S = 86_400
HOUR_S = 3_600


@dataclass(frozen=True)
class Schedule:
    """One kind of job, due every `period_s` seconds, `offset_s` after the period's start."""

    kind: str
    period_s: float
    offset_s: float
    make_up: int
    """How many missed slots at most a start makes up for; older ones are given up."""

    def current(self, now_s: float) -> int:
        """The slot that fell due last."""
        return int((now_s - self.offset_s) // self.period_s)

    def due(self, last: int | None, now_s: float) -> range:
        """The slots to enqueue now, given the last one on record (None: there is none).

        Without a record nothing is overdue: the current slot belongs to the time before.
        """
        current = self.current(now_s)
        if last is None:
            last = current
        return range(max(last + 1, current - self.make_up + 1), current + 1)


def schedules(env: Mapping[str, str]) -> list[Schedule]:
    """What to enqueue and when; ConfigError names a wrong variable."""
    hours = {
        "task_reminder": "TASK_REMINDER_HOUR",
        "overdue_reminder": "OVERDUE_REMINDER_HOUR",
        "daily_digest": "DAILY_DIGEST_HOUR",
    }
    found = []
    for kind, name in hours.items():
        required(env, name)
        found.append(Schedule(kind, DAY_S, HOUR_S * int(number(env, name, 0, 0, 23)), make_up=1))
    if tick_s := number(env, "SCHEDULER_TICK_S", 0, 0, DAY_S):
        found.append(Schedule("tick", tick_s, 0.0, make_up=max(1, int(900 / tick_s))))
    return found
