"""The API: a few endpoints shaped like a household-task service, plus three that exercise an edge.

Stopping (SIGTERM) loses no request (`serving`): what it has in hand is finished in at most API_DRAIN_S.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from aiohttp import web
from redis.exceptions import RedisError

from . import jobs, tokens
from .background import Background
from .config import Identity, Release, begin, identity, load_release, log, number, required
from .database import UNAVAILABLE, Database
from .faults import Arming
from .metrics import ApiMetrics, exposition
from .serving import Serving

STATIC_DATA_TTL_S = 30.0
LONGEST_ANSWER_S = 30.0
LONGEST_BODY = 1 << 20
TITLE_LENGTH = 200
NOT_COUNTED_AS_SERVICE = frozenset({"/api/health/", "/metrics"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ApiSettings:
    """What the API needs to be told."""

    port: int
    bind: str
    database_url: str
    redis_url: str
    secret_key: str
    drain_s: float

    @classmethod
    def read(cls, port: int | None, env: dict[str, str]) -> ApiSettings:
        """From the command line and the environment; ConfigError names what is wrong."""
        return cls(
            port=port or int(number(env, "PORT", 8000, 1, 65535)),
            bind=env.get("BIND", "0.0.0.0"),  # noqa: S104 - the edges reach it from other hosts
            database_url=required(env, "DATABASE_URL"),
            redis_url=required(env, "REDIS_URL"),
            secret_key=required(env, "SECRET_KEY"),
            drain_s=number(env, "API_DRAIN_S", 28, 0, 3600),
        )


def refusal(status: int, text: str) -> web.Response:
    """An error answer."""
    return web.json_response({"error": text}, status=status)


def storable(*texts: str) -> bool:
    """Whether PostgreSQL can hold these texts: no NUL, no half of a pair of surrogates."""
    return not any("\0" in text or any("\ud800" <= char <= "\udfff" for char in text) for text in texts)


def ids_of(request: web.Request) -> dict[str, str]:
    """The request's id and that of its trace, as the edge gave them."""
    trace = request.headers.get("traceparent", "").split("-")
    return {"request": request.headers.get("X-Request-ID", ""), "trace": trace[1] if len(trace) > 1 else ""}


class Api(Serving):
    """The handlers and what they share."""

    def __init__(self, settings: ApiSettings, release: Release, who: Identity) -> None:
        super().__init__(release.version)
        self.settings = settings
        self.release = release
        self.who = who
        self.metrics = ApiMetrics()
        self.database = Database(settings.database_url, application=f"sample-api-{who.color}", size=8)
        self.redis = jobs.connect(settings.redis_url)
        self.producer = jobs.Producer(self.redis)
        self.arming = Arming(release.faults, self.redis)
        self.ready = False
        self._database_state = "connecting"
        self._static_data: bytes | None = None
        self._static_data_at = 0.0

    def application(self) -> web.Application:
        """The routes and what is done around each of them."""
        application = web.Application(middlewares=[self._around], client_max_size=LONGEST_BODY)
        application.on_response_prepare.append(self.stamp)
        application.add_routes(
            [
                web.get("/api/health/", self.health),
                web.post("/api/auth/login/", self.login),
                web.get("/api/tasks/", self.list_tasks),
                web.post("/api/tasks/", self.create_task),
                web.get("/api/static_data/", self.static_data),
                web.get("/api/slow/", self.slow),
                web.get("/api/stream/", self.stream),
                web.post("/api/echo/", self.echo),
                web.get("/metrics", self.expose),
            ]
        )
        for route in application.router.routes():
            if route.resource is not None and route.method != "HEAD":
                self.metrics.expect(route.resource.canonical, route.method)
        return application

    # --- around every request -------------------------------------------------------------

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        self.open += 1
        code = 499  # the client left, unless something below says otherwise
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "unknown"
        self.metrics.started(path, request.method)
        try:
            response = await self._answer(request, handler)
            code = response.status
        except web.HTTPException as error:
            code = error.status
            raise
        finally:
            self.open -= 1
            seconds = time.perf_counter() - started
            self.metrics.answered(path, request.method, code, seconds)
            if request.method != "GET":
                log("request", **ids_of(request), method=request.method, path=path, code=code, s=round(seconds, 4))
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        faults = self.release.faults
        if self.arming.awake and request.path not in NOT_COUNTED_AS_SERVICE:
            if faults.latency_ms:
                await asyncio.sleep(faults.latency_ms / 1000)
            if random.random() < faults.http_5xx_rate:  # noqa: S311 - a fault, not a secret
                return refusal(500, "this release was built to fail")
        try:
            return await handler(request)
        except (ConnectionResetError, web.HTTPException):
            raise
        except UNAVAILABLE as error:
            log("unavailable", path=request.path, cause=type(error).__name__)
            return refusal(503, "the database is out of reach")
        except psycopg.Error as error:
            log("database-error", path=request.path, cause=type(error).__name__, text=str(error))
            return refusal(500, "the database refused")
        except Exception:
            log("failure", path=request.path, trace=traceback.format_exc())
            return refusal(500, "internal error")

    def _user(self, request: web.Request) -> int:
        """The caller; 0 for nobody in particular. A token that is not ours is an error."""
        header = request.headers.get("Authorization", "")
        if not header:
            return 0
        user_id = tokens.read_token(self.settings.secret_key, header.removeprefix("Bearer "))
        if user_id is None:
            raise web.HTTPUnauthorized(text='{"error": "unknown or expired token"}', content_type="application/json")
        return user_id

    # --- health ---------------------------------------------------------------------------

    async def watch_database(self) -> None:
        """Learn how the database does, and keep the static data fresh."""
        try:
            await asyncio.wait_for(self._look_at_database(), timeout=5)
            self._database_state = "ok"
            self.ready = True
        except (TimeoutError, *UNAVAILABLE):
            self._database_state = "unreachable"
        except psycopg.Error as error:
            self._database_state = f"refuses: {type(error).__name__}"

    async def _look_at_database(self) -> None:
        if self._static_data is not None and time.monotonic() - self._static_data_at < STATIC_DATA_TTL_S:
            await self.database.row("SELECT 1")
            return
        row = await self.database.row(
            "SELECT json_build_object('static_data', json_agg(value ORDER BY name))::text FROM static_data"
        )
        self._static_data = row[0].encode() if row else b"{}"
        self._static_data_at = time.monotonic()

    async def health(self, _request: web.Request) -> web.Response:
        """200 while this process can serve.

        The database must have answered once, so a release that cannot reach it is never
        healthy. Later its outage is told in the body but is no reason for 503: it hits
        every process of both colors alike, and taking them all out of service would turn
        a hiccup into an outage and leave a rollback nowhere to go.
        """
        faults = self.release.faults
        healthy = self.ready and not self.draining and not faults.never_healthy and faults.unhealthy_on != self.who.host
        body = {
            "status": "draining" if self.draining else "ok" if healthy else "unhealthy",
            "database": self._database_state,
            "release": self.release.version,
            "color": self.who.color,
        }
        return web.json_response(body, status=200 if healthy else 503)

    # --- the service ----------------------------------------------------------------------

    async def _object(self, request: web.Request) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            body = json.loads(await request.read())
            if isinstance(body, dict):
                return body
        raise web.HTTPBadRequest(text='{"error": "the body must be a JSON object"}', content_type="application/json")

    async def login(self, request: web.Request) -> web.Response:
        """Exchange a name and a password for a token."""
        body = await self._object(request)
        name, password = str(body.get("username", "")), str(body.get("password", ""))
        row = None
        if storable(name, password):
            row = await self.database.row("SELECT user_id, password_hash FROM users WHERE username = %s", (name,))
        if row is None or not tokens.verify_password(password, row[1]):
            return refusal(401, "unknown user or wrong password")
        return web.json_response({"token": tokens.issue_token(self.settings.secret_key, row[0]), "user_id": row[0]})

    async def list_tasks(self, request: web.Request) -> web.Response:
        """The caller's twenty newest tasks."""
        if self.release.faults.bad_smoke:
            return web.json_response({"items": None})
        columns = ["task_id AS id", "title", "created_at"]
        columns += ["notes"] if self.release.reads_notes else []
        columns += ["priority"] if self.release.reads_priority else []
        # PostgreSQL writes the JSON: a third of the work of doing it here.
        row = await self.database.row(
            "SELECT json_build_object('tasks', coalesce(json_agg(t), '[]'))::text FROM"  # noqa: S608 - fixed names
            f" (SELECT {', '.join(columns)} FROM tasks WHERE user_id = %s"
            " ORDER BY task_id DESC LIMIT 20) AS t",
            (self._user(request),),
        )
        return web.Response(text=row[0] if row else "{}", content_type="application/json")

    async def create_task(self, request: web.Request) -> web.Response:
        """Write a task and a job that belongs to it, in one statement; then queue the job."""
        user_id = self._user(request)
        body = await self._object(request)
        title, job_ms, batch = body.get("title"), body.get("job_ms", 10), body.get("batch", "")
        if not isinstance(title, str) or not 0 < len(title) <= TITLE_LENGTH:
            return refusal(400, f"title must be a text of 1 to {TITLE_LENGTH} characters")
        if not isinstance(job_ms, int) or not 0 <= job_ms <= 1000 * LONGEST_ANSWER_S or not isinstance(batch, str):
            return refusal(400, "job_ms must be a whole number from 0 to 30000, batch a text")
        notes = str(body.get("notes", ""))
        if not storable(title, batch, notes):
            return refusal(400, "a text with NUL or half of a pair of surrogates in it")
        columns: dict[str, Any] = {"user_id": user_id, "title": title}
        if self.release.reads_notes:
            columns["notes"] = notes
        if self.release.reads_priority:
            columns["priority"] = 1 if body.get("priority") else 0
        row = await self.database.row(
            f"WITH task AS (INSERT INTO tasks ({', '.join(columns)})"  # noqa: S608 - fixed names
            f" VALUES ({', '.join(f'%({name})s' for name in columns)}) RETURNING task_id)"
            " INSERT INTO jobs_enqueued (kind, payload, batch, by_release, by_color)"
            " SELECT 'task_created', jsonb_build_object('task', task_id, 'ms', %(ms)s::int,"
            " 'request', %(request)s::text),"
            " %(batch)s, %(release)s, %(color)s FROM task"
            " RETURNING job_id, kind, payload, extract(epoch FROM enqueued_at)::float8",
            {
                **columns,
                "ms": job_ms,
                "batch": batch,
                "release": self.who.release,
                "color": self.who.color,
                "request": ids_of(request)["request"],
            },
        )
        assert row is not None  # noqa: S101 - an INSERT of one row returns one
        job = jobs.Job(*row)
        queued = True
        try:
            await self.producer.push(job)
        except (RedisError, OSError) as error:
            # The job is recorded: a worker's sweep will queue it once Redis is back.
            queued = False
            log("queue-unreachable", job=job.job_id, cause=type(error).__name__)
        return web.json_response({"id": job.payload["task"], "job_id": job.job_id, "queued": queued}, status=201)

    async def static_data(self, _request: web.Request) -> web.Response:
        """What every client loads first; from memory, stale rather than absent."""
        if self._static_data is None:
            return refusal(503, "the static data was not loaded yet")
        return web.Response(body=self._static_data, content_type="application/json")

    # --- for tests of an edge -------------------------------------------------------------

    @staticmethod
    def _query_number(request: web.Request, name: str, default: float, high: float) -> float:
        try:
            value = float(request.query.get(name, default))
        except ValueError:
            value = -1.0
        if not 0 <= value <= high:
            raise web.HTTPBadRequest(
                text=json.dumps({"error": f"{name} must be a number from 0 to {high:g}"}),
                content_type="application/json",
            )
        return value

    async def slow(self, request: web.Request) -> web.Response:
        """An answer that takes `s` seconds (5)."""
        seconds = self._query_number(request, "s", 5, LONGEST_ANSWER_S)
        await asyncio.sleep(seconds)
        return web.json_response({"slept_s": seconds})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`n` lines over `s` seconds, chunked; the last line holds the checksum of those before it."""
        seconds = self._query_number(request, "s", 3, LONGEST_ANSWER_S)
        lines = int(self._query_number(request, "n", 30, 10_000))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        checksum = 0
        for index in range(lines):
            line = f"{index} {'.' * 60}\n".encode()
            checksum = zlib.crc32(line, checksum)
            await response.write(line)
            await asyncio.sleep(seconds / lines)
        await response.write(f"end {lines} {checksum:08x}\n".encode())
        await response.write_eof()
        return response

    async def echo(self, request: web.Request) -> web.Response:
        """How long a body was, and its checksum: whether it came through whole."""
        body = await request.read()
        return web.json_response({"bytes": len(body), "crc32": f"{zlib.crc32(body):08x}"})

    async def expose(self, _request: web.Request) -> web.Response:
        """The metrics."""
        self.metrics.in_flight.set(self.open)
        return exposition(self.metrics.registry)


async def serve(api: Api) -> None:
    """Run until SIGTERM or SIGINT, then stop without losing a request."""
    await api.database.open()
    background = Background()
    background.every(lambda: 1.0 if api.ready else 0.1, api.watch_database)
    api.arming.follow(background)
    settings = api.settings
    runner = await api.until_stopped(api.application(), settings.bind, settings.port, settings.drain_s)
    await background.end()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.cleanup(), timeout=1)
    await api.redis.connection_pool.disconnect()
    await api.database.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the API; the exit code of the process."""
    parser = argparse.ArgumentParser(prog="api", description="The sample service's API.")
    parser.add_argument("--port", type=int, help="TCP port to listen on (default: PORT)")
    options = parser.parse_args(arguments)
    env = dict(os.environ)
    release = load_release()
    begin("api", release, env)
    api = Api(ApiSettings.read(options.port, env), release, identity(env, release))
    asyncio.run(serve(api))
    return 0
