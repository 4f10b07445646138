"""Whether the faults of this release are awake."""

from __future__ import annotations

import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .background import Background
from .config import Faults

POLL_S = 0.25


class Arming:
    """Wakes the faults of answers and jobs, at once or when a Redis key appears.

    A release that answers every request with 500 never passes its smoke tests; to test
    what happens later, it is built armed: good until somebody sets the key.
    """

    def __init__(self, faults: Faults, redis: Redis) -> None:
        self.faults = faults
        self.awake = not faults.armed_by_key
        self._redis = redis

    def follow(self, background: Background) -> None:
        """Follow the key from now on, where one was built in."""
        if self.faults.armed_by_key:
            background.every(lambda: POLL_S, self._look)

    async def _look(self) -> None:
        # Redis out of reach: stay as we are.
        with contextlib.suppress(RedisError, OSError):
            self.awake = bool(await self._redis.exists(self.faults.armed_by_key))
