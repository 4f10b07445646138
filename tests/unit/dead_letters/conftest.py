"""A real Redis for dead letters."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ports import free_port

PROGRAM = Path(sys.executable).parent / "redis-server"


@pytest.fixture(scope="package")
def server() -> Iterator[redis.Redis]:
    assert PROGRAM.exists(), f"there is no {PROGRAM}; expected: Debian's redis-server; to mend: make setup"
    port = free_port()
    running = subprocess.Popen([PROGRAM, "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        running.terminate()
        running.wait(10)


@pytest.fixture
def client(server: redis.Redis) -> redis.Redis:
    """Return a client of a Redis that is empty."""
    server.flushall()
    return server


@pytest.fixture
def url(client: redis.Redis) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
