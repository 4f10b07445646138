# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Read what asynq keeps in Redis: queues, servers, and the entries of schedulers.

Keys as github.com/hibiken/asynq v0.26.0 writes them (internal/base/base.go, internal/rdb/rdb.go); servers and entries
are messages of internal/proto/asynq.proto. Of an entry only schedule, type and next time are taken, never its payload.
"""

from __future__ import annotations

from collections.abc import Iterator

LEASE_GRACE_S = 30
"""recoverer.go takes a task up again when its lease has been over for this long, since clocks differ."""
SILENT_S = 30
"""A server writes its state every 5 s and a scheduler every 10 s, valid for twice that, by clocks that may differ."""


def queues(session, arguments: dict, now: float) -> dict:
    """Return the figures of the queues; a queue that nobody has filled or serves is `missing`."""
    servers = list(_servers(session, now))
    published = set(session.call("SMEMBERS", "asynq:queues"))
    known = sorted(published.union(*(server["queues"] for server in servers)))
    names = arguments.get("queues") or known
    seen = {"what": "queue of asynq", "known": known, "missing": [name for name in names if name not in known]}
    if seen["missing"] or not names:
        return seen
    seen |= {"depth": 0, "active": 0, "retry": 0, "dead": 0, "served": 0, "failed": 0, "oldest_s": 0.0}
    seen |= {"paused": [], "workers": {}, "lost": [], "overdue": 0, "overdue_s": 0.0, "stuck": []}
    for name in names:
        waiting = _queue(session, name, now, float(arguments.get("max_overdue_s") or 0), seen)
        # One that was told to take no more (SIGTSTP) is `stopped`.
        serving = sum(name in server["queues"] for server in servers if server["status"] == "active")
        note_workers(seen, arguments, name, serving, waiting)
    return seen


def _queue(session, name: str, now: float, bound_s: float, seen: dict) -> int:
    key = f"asynq:{{{name}}}:"
    waiting = session.call("LLEN", key + "pending")
    seen["depth"] += waiting
    seen["retry"] += session.call("ZCARD", key + "retry")
    seen["dead"] += session.call("ZCARD", key + "archived")
    seen["served"] += int(session.call("GET", key + "processed") or 0)
    seen["failed"] += int(session.call("GET", key + "failed") or 0)
    if session.call("EXISTS", key + "paused"):
        seen["paused"].append(name)
    oldest = session.call("LINDEX", key + "pending", -1)
    since = session.call("HGET", key + "t:" + oldest, "pending_since") if oldest else None
    if since:
        seen["oldest_s"] = max(seen["oldest_s"], now - int(since) / 1e9)
    held = set(session.call("ZRANGEBYSCORE", key + "lease", now - LEASE_GRACE_S, "+inf"))
    active = session.call("LRANGE", key + "active", 0, -1)
    seen["active"] += len(active)
    seen["lost"] += [f"{name}:{task}" for task in active if task not in held]
    for later in ("scheduled", "retry"):
        note_overdue(session, key + later, now, bound_s, seen)
    # A group is taken up when nothing has come to it for its grace period; one without new tasks for long is stuck.
    for group in session.call("SMEMBERS", key + "groups"):
        newest = session.call("ZRANGE", f"{key}g:{group}", -1, -1, "WITHSCORES")
        if newest and now - float(newest[1]) > bound_s:
            seen["stuck"].append(f"{name}/{group}")
    stale = session.call("ZRANGEBYSCORE", key + "aggregation_sets", "-inf", now - bound_s)
    seen["stuck"] += [f"{name}/{one.removeprefix(key + 'g:')}" for one in stale]
    return waiting


def note_overdue(session, key: str, now: float, bound_s: float, seen: dict) -> None:
    """Count in `seen` the members of a sorted set by time that have been due for longer than `bound_s` seconds."""
    seen["overdue"] += session.call("ZCOUNT", key, 1, now - bound_s)
    first = session.call("ZRANGEBYSCORE", key, 1, now, "WITHSCORES", "LIMIT", 0, 1)
    if first:
        seen["overdue_s"] = max(seen["overdue_s"], now - float(first[1]))


def note_workers(seen: dict, arguments: dict, name: str, count: int, waiting: int) -> None:
    """Note who serves a queue. One that nobody named, filled or serves is a name of before, and does not matter."""
    if arguments.get("queues") or count or waiting:
        seen["workers"][name] = count


def _servers(session, now: float) -> Iterator[dict]:
    for key in session.call("ZRANGEBYSCORE", "asynq:servers", now - SILENT_S, "+inf"):
        state = session.call("GET", key)
        if state:
            told = list(fields(state))
            yield {
                "queues": {_text(dict(fields(value)).get(1, b"")) for number, value in told if number == 5},
                "status": next((_text(value) for number, value in told if number == 7), ""),
            }


def entries(session, now: float) -> list[dict]:
    """Return the entries of all schedulers that live: `name` (task type and schedule) and `due`, in s since the epoch.

    A scheduler tells of them every 10 s, so a time that is over was kept, and the one after it is not told yet.
    """
    found = []
    for key in session.call("ZRANGEBYSCORE", "asynq:schedulers", now - SILENT_S, "+inf"):
        for entry in session.call("LRANGE", key, 0, -1):
            told = dict(fields(entry))
            due = dict(fields(told.get(6, b"")))
            seconds = due.get(1, 0)
            if 0 < seconds < 1 << 63:  # Go's zero time, before the year 1, is none: this entry has no next time
                name = f"{_text(told.get(3, b''))} ({_text(told.get(2, b''))})"
                found.append({"name": name, "due": seconds + due.get(2, 0) / 1e9})
    return sorted(found, key=lambda entry: (entry["due"], entry["name"]))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def fields(message: str | bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of a message of Protocol Buffers (protobuf.dev/programming-guides/encoding)."""
    data = message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield number, data[at : at + size]
        at += size
