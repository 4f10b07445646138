"""What every process of this service that answers HTTP shares: an end that loses no request.

For LAME_S health says 503 and answers close their connection; then nothing new is accepted, what is open is finished
within a stated time, and the process ends.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from aiohttp import web

from . import signals
from .config import log

LAME_S = 0.5
KEEPALIVE_S = 75.0  # longer than any proxy keeps an idle connection: the proxy closes first


class Serving:
    """What is open, and whether the process ends; every answer says the release."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.open = 0
        self.draining = False

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Write what every answer says; for `on_response_prepare`."""
        response.headers["X-Release"] = self.version
        if self.draining:
            # force_close alone closes without a word: aiohttp has written its header by now.
            response.force_close()
            response.headers["Connection"] = "close"

    async def until_stopped(
        self, application: web.Application, bind: str, port: int, drain_s: float,
        end_long: Callable[[], None] | None = None,
    ) -> web.AppRunner:  # fmt: skip
        """Serve until SIGTERM or SIGINT, and drain; the runner's clean-up is the caller's.

        `end_long` is called on SIGUSR1, and once nothing new is accepted.
        """
        stop = asyncio.Event()
        handed = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set}
        signals.hand_over(handed | ({signal.SIGUSR1: end_long} if end_long else {}))
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=KEEPALIVE_S, handle_signals=False)
        await runner.setup()
        # A server of our own, not aiohttp's site: closing a site ends its connections as well,
        # in a way that differs from version to version.
        loop = asyncio.get_running_loop()
        server = await loop.create_server(runner.server, bind, port, backlog=1024, reuse_address=True)
        log("listening", port=port)
        await stop.wait()

        self.draining = True
        log("draining", in_flight=self.open)
        await asyncio.sleep(LAME_S)
        server.close()
        if end_long:
            end_long()
        deadline = time.monotonic() + drain_s
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)  # the last answers are on their way out
        log("stopped", cut_off=self.open)
        return runner
