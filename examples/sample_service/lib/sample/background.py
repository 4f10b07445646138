"""Work that goes on beside the rest of a process until it ends.

Such a loop is asked to end by an event and is not cancelled: the Redis client of Debian 12
cancels its own task at every command (a look at the socket, with a time-out of nothing), and
a cancellation from outside that meets it there is swallowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Background:
    """Loops that end together."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, pause_s: Callable[[], float], action: Callable[[], Awaitable[None]]) -> None:
        """Do `action` again and again, with `pause_s()` seconds between."""
        self._tasks.append(asyncio.create_task(self._repeat(pause_s, action)))

    async def _repeat(self, pause_s: Callable[[], float], action: Callable[[], Awaitable[None]]) -> None:
        while not self.ending.is_set():
            await action()
            await self.sleep(pause_s())

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the end."""
        waiting = asyncio.ensure_future(self.ending.wait())
        await asyncio.wait([waiting], timeout=seconds)
        waiting.cancel()

    async def end(self, timeout_s: float = 3.0) -> None:
        """Ask all loops to end and wait for what they have in hand."""
        self.ending.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
