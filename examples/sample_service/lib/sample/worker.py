"""The worker: takes jobs, runs them side by side, records each run.

SIGUSR1: take no new jobs, finish what is held, stay (quiesced). SIGUSR2: take jobs again.
SIGTERM: as SIGUSR1, then exit 0; what is unfinished after WORKER_DRAIN_S is given back.
Its state (`running`, `quiescing`, `idle`) is in its log and, where systemd gives a runtime
directory, in the file `worker-state.json` there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from . import jobs, signals
from .background import Background
from .config import Identity, Release, begin, identity, load_release, log, number, required
from .database import UNAVAILABLE, Database
from .faults import Arming
from .metrics import WorkerMetrics, exposition

TAKE_WAIT_S = 0.5  # how long one look at an empty queue lasts: bounds the time to quiesce
HEARTBEAT_S = 0.5
RECLAIM_S = 2.0
SWEEP_S = 10.0
RETRY_AFTER_S = 1.0
ATTEMPTS = 3
KINDS = frozenset({"task_created", "tick", "task_reminder", "overdue_reminder", "daily_digest"})


@dataclass(frozen=True)
class WorkerSettings:
    """What the worker needs to be told."""

    database_url: str
    redis_url: str
    concurrency: int
    drain_s: float
    metrics_port: int
    bind: str
    state_file: Path | None

    @classmethod
    def read(cls, env: dict[str, str]) -> WorkerSettings:
        """From the environment; ConfigError names what is wrong."""
        runtime = env.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return cls(
            database_url=required(env, "DATABASE_URL"),
            redis_url=required(env, "REDIS_URL"),
            concurrency=int(number(env, "WORKER_CONCURRENCY", 16, 1, 1000)),
            drain_s=number(env, "WORKER_DRAIN_S", 25, 0, 3600),
            metrics_port=int(number(env, "METRICS_PORT", 0, 0, 65535)),
            bind=env.get("BIND", "0.0.0.0"),  # noqa: S104 - Prometheus reaches it from another host
            state_file=Path(runtime, "worker-state.json") if runtime else None,
        )


Result = TypeVar("Result")


class JobFailed(Exception):
    """A job did not succeed."""


class Worker:
    """One worker process."""

    def __init__(self, settings: WorkerSettings, release: Release, who: Identity) -> None:
        self.settings = settings
        self.release = release
        self.name = who.executor
        self.metrics = WorkerMetrics()
        self.database = Database(settings.database_url, application=f"sample-worker-{who.color}", size=6)
        self.redis = jobs.connect(settings.redis_url)
        # Its own connection, because it is blocked most of the time.
        self._blocking = Redis.from_url(settings.redis_url, decode_responses=True, socket_timeout=10)
        self.holder = jobs.Holder(self.redis, self._blocking, self.name)
        self.ledger = jobs.Ledger(self.database, who, self.name)
        self.producer = jobs.Producer(self.redis)
        self.arming = Arming(release.faults, self.redis)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._taking = True
        self._stopping = False
        self._out_of_time = False
        self._changed = asyncio.Event()
        self._state = ""
        self._next_sweep = 0.0

    # --- what signals ask for -------------------------------------------------------------

    def quiesce(self) -> None:
        """Take no new jobs from now on."""
        self._taking = False
        self._note_change()

    def resume(self) -> None:
        """Take jobs again."""
        self._taking = not self._stopping
        self._note_change()

    def stop(self) -> None:
        """Take no new jobs, and leave when those held are finished."""
        self._stopping = True
        self.quiesce()

    def _note_change(self) -> None:
        self._changed.set()
        state = "running" if self._taking else "quiescing" if self._running else "idle"
        if state == self._state:
            return
        self._state = state
        self.metrics.quiesced.set(0 if state == "running" else 1)
        log("state", state=state, held=len(self._running))
        if self.settings.state_file:
            with contextlib.suppress(OSError):
                fresh = self.settings.state_file.with_suffix(".new")
                fresh.write_text(json.dumps({"state": state, "held": len(self._running)}) + "\n", encoding="utf-8")
                fresh.replace(self.settings.state_file)

    # --- taking jobs ----------------------------------------------------------------------

    async def take_jobs(self) -> None:
        """Take and start jobs until told to stop; returns when no job is half taken."""
        while not self._stopping:
            idle = not self._taking or self.release.faults.worker_idle
            if idle or len(self._running) >= self.settings.concurrency:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                # Never cancelled: a job that Redis moved to our list must be noticed.
                entry = await self.holder.take(TAKE_WAIT_S)
            except (RedisError, OSError) as error:
                log("queue-unreachable", cause=type(error).__name__)
                await asyncio.sleep(0.5)
                await self._adopt()
            else:
                if entry is not None:
                    self._start(entry)

    async def _adopt(self) -> None:
        """Start what is on our list unknown to us: its move's answer got lost with a connection."""
        with contextlib.suppress(RedisError, OSError):
            for entry in await self.holder.holding():
                self._start(entry)

    def _start(self, entry: str) -> None:
        if entry not in self._running:
            task = asyncio.create_task(self._handle(entry))
            self._running[entry] = task
            task.add_done_callback(lambda _task: self._ended(entry))

    def _ended(self, entry: str) -> None:
        del self._running[entry]
        self._note_change()

    # --- running one ----------------------------------------------------------------------

    async def _handle(self, entry: str) -> None:
        """Run the job of one entry and record it; the entry leaves our list last of all."""
        try:
            job = jobs.Job.from_entry(entry)
        except (ValueError, KeyError, TypeError):
            log("not-a-job", entry=entry)
            await self._insist(lambda: self.holder.done(0, entry))
            return
        if job.kind not in KINDS:
            # From a newer version's producer: leave it to a worker that knows it.
            await self._insist(lambda: self.holder.put_off(entry, RETRY_AFTER_S))
            return
        begun = await self._insist(lambda: self.ledger.begin(job.job_id))
        if begun is None:
            await self._insist(lambda: self.holder.done(job.job_id, entry))
            return
        run_id, attempt = begun
        if attempt == 1:
            self.metrics.delay.observe(max(0.0, time.time() - job.enqueued_at_s))
        started = time.monotonic()
        try:
            await self._execute(job)
            result = "ok"
        except JobFailed:
            result = "failed"
        except asyncio.CancelledError:
            # Out of time; `leave` gives the entry back.
            self.metrics.jobs.labels("interrupted").inc()
            with contextlib.suppress(psycopg.Error, *UNAVAILABLE, asyncio.TimeoutError):
                await asyncio.wait_for(self.ledger.close_run(run_id, "interrupted"), timeout=1)
            raise
        self.metrics.jobs.labels(result).inc()
        self.metrics.seconds.observe(time.monotonic() - started)
        if request := job.payload.get("request"):
            log("job", job=job.job_id, request=request, result=result, attempt=attempt)
        if result == "failed" and attempt < ATTEMPTS:
            await self._insist(lambda: self.ledger.close_run(run_id, result))
            await self._insist(lambda: self.holder.put_off(entry, RETRY_AFTER_S * attempt))
            return
        await self._insist(lambda: self.ledger.finish(job.job_id, run_id, attempt, result))
        await self._insist(lambda: self.holder.done(job.job_id, entry))

    async def _execute(self, job: jobs.Job) -> None:
        faults = self.release.faults
        if self.arming.awake:
            await asyncio.sleep(faults.slow_jobs_ms / 1000)
            if random.random() < faults.failing_jobs_rate:  # noqa: S311 - a fault, not a secret
                raise JobFailed
        await asyncio.sleep(job.payload.get("ms", 0) / 1000)

    async def _insist(self, action: Callable[[], Awaitable[Result]]) -> Result:
        """Do `action` until PostgreSQL and Redis let it succeed; each is safe to repeat."""
        while True:
            try:
                return await action()
            except (*UNAVAILABLE, psycopg.Error, RedisError) as error:
                if self._out_of_time:
                    raise asyncio.CancelledError from error
                log("waiting", cause=type(error).__name__)
                await asyncio.sleep(0.5)

    # --- housekeeping ---------------------------------------------------------------------

    async def heartbeat(self) -> None:
        """Say that this worker lives, and wake jobs whose delay is over."""
        try:
            if not await self.holder.beat():
                # Others may have run our jobs meanwhile; finishing records each once.
                log("lease-lost", held=len(self._running))
            self.metrics.depth.set(await self.holder.queue_depth())
            await self.holder.wake_delayed()
        except (RedisError, OSError) as error:
            log("heartbeat-failed", cause=type(error).__name__)

    async def look_after_others(self) -> None:
        """Give back what dead workers held and, now and then, what Redis forgot."""
        try:
            for worker, count in (await self.holder.reclaim()).items():
                log("reclaimed", worker=worker, jobs=count)
            if self._taking and time.monotonic() >= self._next_sweep:
                self._next_sweep = time.monotonic() + SWEEP_S
                if pushed := await jobs.sweep(self.database, self.redis, self.producer):
                    log("swept", jobs=pushed)
        except (*UNAVAILABLE, RedisError, psycopg.Error) as error:
            self.holder.forget_silence()
            log("housekeeping-failed", cause=type(error).__name__)

    async def _expose(self, _request: web.Request) -> web.Response:
        self.metrics.in_flight.set(len(self._running))
        return exposition(self.metrics.registry)

    def _act_out(self, background: Background) -> None:
        """Let the faults begin that end a worker: quietly, with exit code 0, or by its memory."""
        faults, eaten = self.release.faults, []

        async def eat() -> None:
            try:
                eaten.append(bytearray(os.urandom(1024)) * int(faults.worker_eats_mb_per_s * 1024 / 10))
            except MemoryError:  # a limit of its address space; the kernel ends it so at a limit of its memory
                os.kill(os.getpid(), signal.SIGKILL)

        if faults.worker_eats_mb_per_s:
            background.every(lambda: 0.1, eat)
        if faults.worker_ends_after_s:
            asyncio.get_running_loop().call_later(faults.worker_ends_after_s, os._exit, 0)

    async def serve_metrics(self) -> web.AppRunner | None:
        """Serve the metrics where a port was given."""
        if not self.settings.metrics_port:
            return None
        application = web.Application()
        application.add_routes([web.get("/metrics", self._expose)])
        runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(
            runner, self.settings.bind, self.settings.metrics_port, shutdown_timeout=0.5, reuse_address=True
        ).start()
        return runner

    async def run(self) -> None:
        """Work until told to stop; then finish, give back the rest and sign off."""
        signals.hand_over(
            {
                signal.SIGUSR1: self.quiesce,
                signal.SIGUSR2: self.resume,
                signal.SIGTERM: self.stop,
                signal.SIGINT: self.stop,
            }
        )
        await self.database.open()
        await self._insist(self.holder.beat)
        background = Background()
        background.every(lambda: HEARTBEAT_S, self.heartbeat)
        # Not all workers at once.
        background.every(lambda: RECLAIM_S * random.uniform(0.8, 1.2), self.look_after_others)  # noqa: S311
        self.arming.follow(background)
        metrics = await self.serve_metrics()
        self._act_out(background)
        self._note_change()
        await self.take_jobs()

        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=self.settings.drain_s)
        await background.end()
        self._out_of_time = True
        unfinished = list(self._running.values())
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=2)
        try:
            returned = await self.holder.leave()
        except (RedisError, OSError):
            returned = len(unfinished)  # the others will find them on our list
        log("stopped", given_back=returned)
        if metrics:
            await metrics.cleanup()
        for redis in (self.redis, self._blocking):
            await redis.connection_pool.disconnect()
        await self.database.close()


def main() -> int:
    """Run the worker; the exit code of the process."""
    env = dict(os.environ)
    release = load_release()
    begin("worker", release, env)
    settings = WorkerSettings.read(env)
    who = identity(env, release)

    async def run() -> None:
        await Worker(settings, release, who).run()

    asyncio.run(run())
    return 0
