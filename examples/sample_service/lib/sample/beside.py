"""What web processes beside the API share: a health check, their arguments, and the end that `serving` gives them.

What is open is finished in at most WEB_DRAIN_S.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from .config import Identity, begin, identity, load_release, number
from .serving import Serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Beside(Serving):
    """A web process: who it is, what is open, and whether it ends."""

    def __init__(self, who: Identity, prefix: str) -> None:
        super().__init__(who.release)
        self.who = who
        self.application = web.Application(middlewares=[self._around])
        self.application.on_response_prepare.append(self.stamp)
        self.application.router.add_get(f"{prefix}health/", self.health)

    async def health(self, _request: web.Request) -> web.Response:
        """200 while this process serves."""
        body = {"status": "draining" if self.draining else "ok", "release": self.who.release, "color": self.who.color}
        return web.json_response(body, status=503 if self.draining else 200)

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.open += 1
        try:
            return await handler(request)
        finally:
            self.open -= 1


async def serve(process: Beside, port: int, drain_s: float, end_long: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT; `end_long` is called on SIGUSR1, and at the end."""
    bind = os.environ.get("BIND", "0.0.0.0")  # noqa: S104 - the edges reach it from other hosts
    await process.until_stopped(process.application, bind, port, drain_s, end_long)


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
