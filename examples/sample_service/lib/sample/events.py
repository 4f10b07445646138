"""A server of events (text/event-stream): an event every EVENTS_EVERY_S seconds, for as long as a client listens.

`/events/` goes on for ever, `/events/?n=5` for five events. The last event of a stream says why it ends: `end` where
that was asked for, `reconnect` where this process was told to end its streams (SIGUSR1, or its own end). A client then
connects anew, and reaches the color in service.
"""

from __future__ import annotations

import asyncio
import json
import os

from aiohttp import web

from .beside import Beside, begun, serve
from .config import Identity, log, number

MOST_EVENTS = 100_000


class Events:
    """The streams that are open."""

    def __init__(self, who: Identity, every_s: float) -> None:
        self.who = who
        self.every_s = every_s
        self._ending = asyncio.Event()

    def end_streams(self) -> None:
        """End those that are open now; later ones go on."""
        log("ending-streams")
        self._ending.set()
        self._ending = asyncio.Event()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events until they were enough, or until the streams are to end."""
        try:
            wanted = int(request.query.get("n", MOST_EVENTS))
        except ValueError:
            raise web.HTTPBadRequest(text="n must be a whole number\n") from None
        ending = self._ending
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        about = {"release": self.who.release, "color": self.who.color, "host": self.who.host}
        await response.write(f"retry: 100\nevent: hello\ndata: {json.dumps(about)}\n\n".encode())
        for index in range(wanted):
            try:
                await asyncio.wait_for(ending.wait(), self.every_s)
            except TimeoutError:
                await response.write(f"data: {index}\n\n".encode())
                continue
            break
        last = "reconnect" if ending.is_set() else "end"
        await response.write(f"event: {last}\ndata: {self.who.color}\n\n".encode())
        await response.write_eof()
        return response


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code of the process."""
    who, port, drain_s = begun("events", arguments)
    every_s = number(dict(os.environ), "EVENTS_EVERY_S", 1, 0.01, 3600)

    async def run() -> None:
        events, process = Events(who, every_s), Beside(who, "/events/")
        process.application.router.add_get("/events/", events.stream)
        await serve(process, port, drain_s, events.end_streams)

    asyncio.run(run())
    return 0
