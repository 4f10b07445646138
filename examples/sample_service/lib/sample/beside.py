"""What web processes beside the API share: a health check, and an end that loses no request.

Stopping is as in the API: for LAME_S health says 503 and answers close their connection; then nothing new is
accepted, what is open is finished (at most WEB_DRAIN_S), and the process exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from . import signals
from .config import Identity, begin, identity, load_release, log, number

LAME_S = 0.5
KEEPALIVE_S = 75.0  # longer than any proxy keeps an idle connection: the proxy closes first

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Beside:
    """A web process: who it is, what is open, and whether it ends."""

    def __init__(self, who: Identity, prefix: str) -> None:
        self.who = who
        self.open = 0
        self.draining = False
        self.application = web.Application(middlewares=[self._around])
        self.application.on_response_prepare.append(self._stamp)
        self.application.router.add_get(f"{prefix}health/", self.health)

    async def health(self, _request: web.Request) -> web.Response:
        """200 while this process serves."""
        body = {"status": "draining" if self.draining else "ok", "release": self.who.release, "color": self.who.color}
        return web.json_response(body, status=503 if self.draining else 200)

    async def _stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Release"] = self.who.release
        if self.draining:
            response.force_close()
            response.headers["Connection"] = "close"

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.open += 1
        try:
            return await handler(request)
        finally:
            self.open -= 1


async def serve(process: Beside, port: int, drain_s: float, end_long: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT; `end_long` is called on SIGUSR1, and at the end."""
    stop = asyncio.Event()
    signals.hand_over({signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGUSR1: end_long})
    runner = web.AppRunner(process.application, access_log=None, keepalive_timeout=KEEPALIVE_S, handle_signals=False)
    await runner.setup()
    bind = os.environ.get("BIND", "0.0.0.0")  # noqa: S104 - the edges reach it from other hosts
    server = await asyncio.get_running_loop().create_server(runner.server, bind, port, backlog=1024, reuse_address=True)
    log("listening", port=port)
    await stop.wait()
    process.draining = True
    log("draining", open=process.open)
    await asyncio.sleep(LAME_S)
    server.close()
    end_long()
    deadline = time.monotonic() + drain_s
    while process.open and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)  # the last answers are on their way out
    log("stopped", cut_off=process.open)


def begun(program: str, arguments: list[str] | None) -> tuple[Identity, int, float]:
    """Say what starts; return who it is, its port and how long it may take to end."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--port", type=int, help="TCP port to listen on (default: PORT)")
    options = parser.parse_args(arguments)
    env = dict(os.environ)
    release = load_release()
    begin(program, release, env)
    port = options.port or int(number(env, "PORT", 8000, 1, 65535))
    return identity(env, release), port, number(env, "WEB_DRAIN_S", 10, 0, 3600)
