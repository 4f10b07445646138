"""A real Redis, and a real Valkey, for dead letters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis_server import KINDS, running


@pytest.fixture(scope="package", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with running(request.param) as client:
        yield client


@pytest.fixture
def client(server: redis.Redis) -> redis.Redis:
    """Return a client of a Redis that is empty."""
    server.flushall()
    return server


@pytest.fixture
def url(client: redis.Redis) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
