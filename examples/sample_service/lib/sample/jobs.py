"""Jobs: how one is recorded, queued, taken, given back and finished.

PostgreSQL holds the truth, Redis the order. A job is first a row of `jobs_enqueued`
(open), then an entry of the Redis list `queue`. A worker moves the entry to its own list
`held:<worker>` in one atomic step and removes it only after the job's end was recorded,
so that a killed worker leaves its jobs where others find them.

Three things keep a job from running twice:

* an entry exists at most once: pushing is one script that adds the id to the set
  `known` and pushes only if it was not there; it leaves the set when the job is done;
* a run begins with a row of `job_runs`, written only if `jobs_done` has no row;
* the list of a silent worker is taken over only after it was seen silent, without a
  break, for longer than any pause of Redis itself explains.

One thing keeps a job from being lost, even when Redis loses everything: open jobs that
are not `known` are pushed again (`sweep`).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from .config import Identity
from .database import Database

PREFIX = "sample:"
QUEUE = PREFIX + "queue"
KNOWN = PREFIX + "known"
DELAYED = PREFIX + "delayed"
WORKERS = PREFIX + "workers"
SWEEP_LOCK = PREFIX + "sweeping"

LEASE_S = 10.0
"""A worker is silent when its heartbeat is older than this."""
SILENT_FOR_S = 5.0
"""... and dead when it was seen silent for this long on end."""
SWEEP_AGE_S = 15.0
"""An open job is looked for in Redis when it is older than this."""

# KEYS: known, queue. ARGV: id, entry, id, entry, ... Returns how many were pushed.
PUSH = """
local pushed = 0
for i = 1, #ARGV, 2 do
  if redis.call('SADD', KEYS[1], ARGV[i]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[i + 1])
    pushed = pushed + 1
  end
end
return pushed
"""

# KEYS: delayed, queue. ARGV: now (s). Returns how many became due.
WAKE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 100)
for _, entry in ipairs(due) do
  redis.call('ZREM', KEYS[1], entry)
  redis.call('LPUSH', KEYS[2], entry)
end
return #due
"""

# KEYS: held list, queue, heartbeat, workers. ARGV: worker. Gives a list back, oldest
# entry first in line again; -1 when the worker is alive after all.
RECLAIM = """
if redis.call('EXISTS', KEYS[3]) == 1 then
  return -1
end
local moved = 0
while redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do
  moved = moved + 1
end
redis.call('SREM', KEYS[4], ARGV[1])
return moved
"""

# KEYS: held list, delayed. ARGV: entry, when (s). A job is put off only by its holder.
PUT_OFF = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
end
"""


@dataclass(frozen=True)
class Job:
    """One job as it travels through Redis."""

    job_id: int
    kind: str
    payload: dict[str, Any]
    enqueued_at_s: float

    def entry(self) -> str:
        """The entry of the Redis list; the same bytes every time for the same job."""
        return json.dumps(
            {"id": self.job_id, "kind": self.kind, "payload": self.payload, "at": self.enqueued_at_s},
            sort_keys=True,
            separators=(",", ":"),
        )

    @classmethod
    def from_entry(cls, entry: str) -> Job:
        """Read an entry made by `entry` of any version of this service."""
        data = json.loads(entry)
        return cls(data["id"], data["kind"], data["payload"], data["at"])


def connect(url: str) -> Redis:
    """A Redis client that gives up after 2 s instead of hanging."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2)


class Producer:
    """Pushes recorded jobs to the queue."""

    def __init__(self, redis: Redis) -> None:
        self._push = redis.register_script(PUSH)

    async def push(self, *jobs: Job) -> int:
        """Push the jobs that are not known to Redis yet; returns how many that were."""
        arguments: list[str] = []
        for job in jobs:
            arguments += [str(job.job_id), job.entry()]
        return int(await self._push(keys=[KNOWN, QUEUE], args=arguments))


async def sweep(database: Database, redis: Redis, producer: Producer) -> int:
    """Push open jobs that Redis does not know (a producer died, or Redis lost its data)."""
    if not await redis.set(SWEEP_LOCK, "1", nx=True, px=9_000):
        return 0
    pushed = 0
    last = 0
    while page := await database.rows(
        "SELECT job_id FROM jobs_enqueued WHERE open AND job_id > %s"
        " AND enqueued_at < now() - make_interval(secs => %s) ORDER BY job_id LIMIT 1000",
        (last, SWEEP_AGE_S),
    ):
        ids = [row[0] for row in page]
        last = ids[-1]
        known = await redis.smismember(KNOWN, [str(job_id) for job_id in ids])
        missing = [job_id for job_id, is_known in zip(ids, known, strict=True) if not is_known]
        if missing:
            found = await database.rows(
                "SELECT job_id, kind, payload, extract(epoch FROM enqueued_at)::float8"
                " FROM jobs_enqueued WHERE open AND job_id = ANY(%s)",
                (missing,),
            )
            pushed += await producer.push(*(Job(*row) for row in found))
    return pushed


class Holder:
    """One worker's hold on jobs: its list, its heartbeat, and the lists of the dead."""

    def __init__(self, redis: Redis, blocking: Redis, worker: str) -> None:
        self.worker = worker
        self.held = f"{PREFIX}held:{worker}"
        self._heartbeat = f"{PREFIX}worker:{worker}"
        self._redis = redis
        self._blocking = blocking
        self._wake = redis.register_script(WAKE)
        self._reclaim = redis.register_script(RECLAIM)
        self._put_off = redis.register_script(PUT_OFF)
        self._silent_since: dict[str, float] = {}

    async def take(self, wait_s: float) -> str | None:
        """Move the next entry to this worker's list; None when there was none for `wait_s`."""
        return await self._blocking.blmove(QUEUE, self.held, wait_s, "RIGHT", "LEFT")

    async def holding(self) -> list[str]:
        """The entries of this worker's list, oldest last."""
        return await self._redis.lrange(self.held, 0, -1)

    async def done(self, job_id: int, entry: str) -> None:
        """Forget a job whose end is recorded."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrem(self.held, 1, entry)
            pipe.srem(KNOWN, str(job_id))
            await pipe.execute()

    async def put_off(self, entry: str, delay_s: float) -> None:
        """Give a job back, to be taken by anyone after `delay_s`."""
        await self._put_off(keys=[self.held, DELAYED], args=[entry, time.time() + delay_s])

    async def beat(self) -> bool:
        """Renew the heartbeat; False when others took this worker for dead meanwhile."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._heartbeat, "1", px=int(LEASE_S * 1000))
            pipe.sadd(WORKERS, self.worker)
            _, added = await pipe.execute()
        return not added

    async def wake_delayed(self) -> None:
        """Put delayed jobs that are due back into the queue."""
        await self._wake(keys=[DELAYED, QUEUE], args=[time.time()])

    async def reclaim(self) -> dict[str, int]:
        """Take the lists of dead workers back into the queue; worker -> jobs.

        Dead is who was silent in every look for SILENT_FOR_S. One look is not enough:
        after an outage of Redis everybody's heartbeat has run out, and a living worker
        needs a moment to renew it. The caller must call `forget_silence` after any error.
        """
        names = sorted(await self._redis.smembers(WORKERS) - {self.worker})
        now = time.monotonic()
        taken: dict[str, int] = {}
        beating = await self._redis.mget([f"{PREFIX}worker:{name}" for name in names]) if names else []
        silent = {name for name, beat in zip(names, beating, strict=True) if beat is None}
        self._silent_since = {name: self._silent_since.get(name, now) for name in silent}
        for name, since in self._silent_since.items():
            if now - since >= SILENT_FOR_S:
                moved = await self._reclaim(
                    keys=[f"{PREFIX}held:{name}", QUEUE, f"{PREFIX}worker:{name}", WORKERS], args=[name]
                )
                if moved >= 0:
                    taken[name] = moved
        return taken

    def forget_silence(self) -> None:
        """Start judging silence afresh: we were cut off ourselves."""
        self._silent_since.clear()

    async def leave(self) -> int:
        """Give everything back and sign off; how many entries were given back."""
        await self._redis.delete(self._heartbeat)
        return int(await self._reclaim(keys=[self.held, QUEUE, self._heartbeat, WORKERS], args=[self.worker]))

    async def queue_depth(self) -> int:
        """How many jobs wait to be taken."""
        return int(await self._redis.llen(QUEUE))


class Ledger:
    """The record of runs, in PostgreSQL."""

    def __init__(self, database: Database, who: Identity, worker: str) -> None:
        self._database = database
        self._who = who
        self._worker = worker

    async def begin(self, job_id: int) -> tuple[int, int] | None:
        """Record the start of a run: (run, attempt from 1), or None if the job is done already."""
        row = await self._database.row(
            "INSERT INTO job_runs (job_id, executed_by, release, color)"
            " SELECT %(job)s, %(by)s, %(release)s, %(color)s"
            " WHERE NOT EXISTS (SELECT 1 FROM jobs_done WHERE job_id = %(job)s)"
            " RETURNING run_id, 1 + (SELECT count(*) FROM job_runs WHERE job_id = %(job)s)",
            {"job": job_id, "by": self._worker, "release": self._who.release, "color": self._who.color},
        )
        return (row[0], row[1]) if row else None

    async def close_run(self, run_id: int, result: str) -> None:
        """Record the end of a run whose job is not done for good."""
        await self._database.run(
            "UPDATE job_runs SET finished_at = now(), result = %s WHERE run_id = %s", (result, run_id)
        )

    async def finish(self, job_id: int, run_id: int, attempt: int, result: str) -> None:
        """Record the end of a run and of its job, in one statement."""
        await self._database.run(
            "WITH run AS (UPDATE job_runs SET finished_at = now(), result = %(result)s"
            " WHERE run_id = %(run)s), job AS (UPDATE jobs_enqueued SET open = false WHERE job_id = %(job)s)"
            " INSERT INTO jobs_done (job_id, executed_by, release, color, run_count, result)"
            " VALUES (%(job)s, %(by)s, %(release)s, %(color)s, %(attempt)s, %(result)s)"
            " ON CONFLICT DO NOTHING",
            {
                "job": job_id,
                "run": run_id,
                "attempt": attempt,
                "result": result,
                "by": self._worker,
                "release": self._who.release,
                "color": self._who.color,
            },
        )
