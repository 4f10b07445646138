"""Tasks of asynq as its library writes them (internal/proto/asynq.proto, internal/rdb/rdb.go)."""

from __future__ import annotations

import time

import redis


def _number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def task_message(name: str, *, kind: str, queue: str, payload: bytes, error: str = "", retry: int = 3) -> bytes:
    """Return a TaskMessage in Protocol Buffers' encoding."""
    texts = {1: kind.encode(), 2: payload, 3: name.encode(), 4: queue.encode(), 7: error.encode()}
    numbers = {5: retry, 6: retry, 8: 1800}
    encoded = b"".join(_number(n << 3 | 2) + _number(len(text)) + text for n, text in texts.items() if text)
    return encoded + b"".join(_number(n << 3) + _number(value) for n, value in numbers.items())


class Tasks:
    """asynq's keys of one queue."""

    def __init__(self, client: redis.Redis, queue: str = "mails") -> None:
        self.client, self.queue, self.key = client, queue, f"asynq:{{{queue}}}:"

    def archive(self, name: str, kind: str, payload: str, error: str, at: float) -> None:
        """Put a task into the archive, as a server does with one that has failed for the last time."""
        message = task_message(name, kind=kind, queue=self.queue, payload=payload.encode(), error=error)
        with self.client.pipeline() as pipe:
            pipe.sadd("asynq:queues", self.queue)
            pipe.hset(self.key + "t:" + name, mapping={"msg": message, "state": "archived", "timeout": 1800})
            pipe.zadd(self.key + "archived", {name: at})
            pipe.execute()

    def take(self) -> str | None:
        """Take the oldest pending task, as dequeueCmd does; return its id."""
        name = self.client.rpoplpush(self.key + "pending", self.key + "active")
        if name is None:
            return None
        task = self.key + "t:" + name.decode()
        self.client.hset(task, "state", "active")
        self.client.hdel(task, "pending_since")
        return str(name.decode())

    def finish(self, name: str) -> None:
        """Delete a task that was done, as doneCmd does."""
        self.client.lrem(self.key + "active", 0, name)
        self.client.delete(self.key + "t:" + name)

    def fail(self, name: str) -> None:
        """Put a task that failed again back into the archive, as archiveCmd does."""
        self.client.lrem(self.key + "active", 0, name)
        self.client.zadd(self.key + "archived", {name: time.time()})
        self.client.hset(self.key + "t:" + name, "state", "archived")
