"""A real Redis for tests: a server of their own, which keeps nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from ports import free_port

PROGRAM = Path(sys.executable).parent / "redis-server"


@contextmanager
def running() -> Iterator[redis.Redis]:
    """Run a server on loopback; give a client of it once it answers."""
    assert PROGRAM.exists(), f"there is no {PROGRAM}; expected: Debian's redis-server; to mend: make setup"
    port = free_port()
    server = subprocess.Popen([PROGRAM, "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
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
        server.terminate()
        server.wait(10)
