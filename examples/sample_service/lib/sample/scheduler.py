"""The scheduler: enqueues reminders at their hours, each exactly once.

It keeps no lock: exactly one process of it may run, and whoever deploys the service must
see to that. What it did is in the table scheduler_enqueues, one row for each enqueue, so
that a slot that is missing (nobody ran) or doubled (two ran) can be found afterwards.

A start goes on after the last slot on record, so that slots that fell due during a
handover are made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping

import psycopg
from redis.exceptions import RedisError

from . import jobs, signals
from .config import Identity, Release, begin, identity, load_release, log, required
from .database import UNAVAILABLE, Database
from .schedule import schedules

LONGEST_PAUSE_S = 1.0


class Scheduler:
    """The one scheduler process."""

    def __init__(self, env: Mapping[str, str], release: Release, who: Identity) -> None:
        self.who = who
        self.schedules = schedules(env)
        self.database = Database(required(env, "DATABASE_URL"), application=f"sample-scheduler-{who.color}", size=1)
        self.redis = jobs.connect(required(env, "REDIS_URL"))
        self.producer = jobs.Producer(self.redis)
        self.release = release
        self._last: dict[str, int] = {}
        self._stop = asyncio.Event()

    async def _remember(self) -> None:
        """Read the last slot of each kind from the record."""
        rows = await self.database.rows("SELECT kind, max(slot) FROM scheduler_enqueues GROUP BY kind")
        self._last = dict(rows)
        for schedule in self.schedules:
            last = self._last.setdefault(schedule.kind, schedule.current(time.time()))
            given_up = schedule.due(last, time.time()).start - (last + 1)
            if given_up > 0:
                log("slots-given-up", kind=schedule.kind, slots=given_up)

    async def _enqueue(self, kind: str, slot: int) -> None:
        """Record the slot and its job in one statement, then queue the job."""
        row = await self.database.row(
            "WITH slot AS (INSERT INTO scheduler_enqueues (kind, slot, by_release, by_color)"
            " VALUES (%(kind)s, %(slot)s, %(release)s, %(color)s))"
            " INSERT INTO jobs_enqueued (kind, payload, by_release, by_color)"
            " VALUES (%(kind)s, jsonb_build_object('slot', %(slot)s::bigint, 'ms', 10),"
            " %(release)s, %(color)s)"
            " RETURNING job_id, kind, payload, extract(epoch FROM enqueued_at)::float8",
            {"kind": kind, "slot": slot, "release": self.who.release, "color": self.who.color},
        )
        self._last[kind] = slot
        assert row is not None  # noqa: S101 - an INSERT of one row returns one
        try:
            await self.producer.push(jobs.Job(*row))
        except (RedisError, OSError) as error:
            log("queue-unreachable", job=row[0], cause=type(error).__name__)  # a worker's sweep queues it

    async def run(self) -> None:
        """Enqueue what falls due until SIGTERM; never stops between a record and its queueing."""
        signals.hand_over({signal.SIGTERM: self._stop.set, signal.SIGINT: self._stop.set})
        await self.database.open()
        known = False
        while not self._stop.is_set():
            try:
                if not known:
                    await self._remember()
                    known = True
                for schedule in self.schedules:
                    for slot in schedule.due(self._last[schedule.kind], time.time()):
                        if self._stop.is_set():
                            break
                        await self._enqueue(schedule.kind, slot)
            except (*UNAVAILABLE, psycopg.Error) as error:
                # Whether a statement whose answer got lost was carried out, the record knows.
                known = False
                log("waiting", cause=type(error).__name__)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), timeout=self._pause_s(time.time()))
        await self.redis.connection_pool.disconnect()
        await self.database.close()
        log("stopped")

    def _pause_s(self, now_s: float) -> float:
        """Until the next slot falls due, but no longer than LONGEST_PAUSE_S."""
        waits = [
            (schedule.current(now_s) + 1) * schedule.period_s + schedule.offset_s - now_s for schedule in self.schedules
        ]
        return max(0.01, min(LONGEST_PAUSE_S, *waits))


def main() -> int:
    """Run the scheduler; the exit code of the process."""
    env = dict(os.environ)
    release = load_release()
    begin("scheduler", release, env)

    async def run() -> None:
        await Scheduler(env, release, identity(env, release)).run()

    asyncio.run(run())
    return 0
