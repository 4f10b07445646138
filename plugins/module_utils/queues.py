# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Look at a queue in Redis: depth, oldest job, retries, dead letters, and how fast it fills and empties.

Layouts: `asynq` (github.com/hibiken/asynq: a list of pending ids, sorted sets for retry and archived, a hash for each
task with `pending_since` in nanoseconds, counters of what was processed and failed), `list` (plain lists) and `stream`
(consumer groups). Rates come from two looks, `sample_s` apart.
"""

from __future__ import annotations

import json
import time

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session


def look(arguments: dict, limit_s: float) -> dict:
    """Return what was seen: counts in jobs, ages in seconds (None where the layout does not tell), rates in jobs/s."""
    sample_s = min(float(arguments.get("sample_s", 1.0)), max(0.2, limit_s / 2))
    session = Session(arguments["url"], limit_s, arguments.get("ca_file"))
    try:
        reader = {"asynq": _asynq, "list": _list, "stream": _stream}[arguments["layout"]]
        first, began = reader(session, arguments), time.monotonic()
        time.sleep(sample_s)
        second = reader(session, arguments)
        passed_s = time.monotonic() - began
    finally:
        session.close()
    seen = {name: value for name, value in second.items() if name not in ("arrived", "served")}
    seen["net_per_s"] = (second["depth"] - first["depth"]) / passed_s
    served, arrived = second.get("served"), second.get("arrived")
    if served is not None and first.get("served") is not None:
        seen["served_per_s"] = (served - first["served"]) / passed_s
        seen["arrived_per_s"] = max(0.0, seen["served_per_s"] + seen["net_per_s"])
    if arrived is not None and first.get("arrived") is not None:
        seen["arrived_per_s"] = (arrived - first["arrived"]) / passed_s
    seen["sample_s"] = round(passed_s, 2)
    return seen


def _redis_now(session: Session) -> float:
    seconds, micros = session.call("TIME")
    return int(seconds) + int(micros) / 1e6


def _asynq(session: Session, arguments: dict) -> dict:
    queues = arguments.get("queues") or sorted(session.call("SMEMBERS", "asynq:queues"))
    if not queues:
        raise ProbeError("error", "Redis knows no queue of asynq (the set asynq:queues is empty)")
    now = _redis_now(session)
    total = {"depth": 0, "active": 0, "retry": 0, "dead": 0, "served": 0, "failed": 0, "paused": [], "oldest_s": 0.0}
    for name in queues:
        key = f"asynq:{{{name}}}:"
        total["depth"] += session.call("LLEN", key + "pending")
        total["active"] += session.call("LLEN", key + "active")
        total["retry"] += session.call("ZCARD", key + "retry")
        total["dead"] += session.call("ZCARD", key + "archived")
        total["served"] += int(session.call("GET", key + "processed") or 0)
        total["failed"] += int(session.call("GET", key + "failed") or 0)
        if session.call("EXISTS", key + "paused"):
            total["paused"].append(name)
        oldest = session.call("LINDEX", key + "pending", -1)
        since = session.call("HGET", key + "t:" + oldest, "pending_since") if oldest else None
        if since:
            total["oldest_s"] = max(total["oldest_s"], now - int(since) / 1e9)
    return total


def _list(session: Session, arguments: dict) -> dict:
    """Read plain lists. The oldest entry is at the end from which workers take (`oldest`: right or left)."""
    now = _redis_now(session)
    at = -1 if arguments.get("oldest", "right") == "right" else 0
    ages = []
    for key in arguments["keys"]:
        entry = session.call("LINDEX", key, at)
        stamp = _stamp(entry, arguments.get("time_field")) if entry else None
        if stamp is not None:
            ages.append(now - stamp)
    depth = sum(session.call("LLEN", key) for key in arguments["keys"])
    known = arguments.get("time_field") is not None or depth == 0
    return {
        "depth": depth,
        "retry": sum(_size(session, key) for key in arguments.get("retry_keys", [])),
        "dead": sum(_size(session, key) for key in arguments.get("dead_keys", [])),
        "oldest_s": max(ages, default=0.0 if known and depth == 0 else None),
        "served": _counter(session, arguments.get("served_key")),
    }


def _counter(session: Session, key: str | None):
    return None if key is None else int(session.call("GET", key) or 0)


def _size(session: Session, key: str) -> int:
    kind = session.call("TYPE", key)
    command = {"list": "LLEN", "zset": "ZCARD", "set": "SCARD", "stream": "XLEN", "hash": "HLEN"}.get(kind)
    return session.call(command, key) if command else 0


def _stamp(entry: str, field: str | None):
    """Return the time of an entry in seconds since the epoch: a number in its JSON, in s, ms, µs or ns."""
    if field is None:
        return None
    try:
        value = json.loads(entry)
        for part in field.split("."):
            value = value[part]
        stamp = float(value)
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeError("error", f"the oldest entry has no number at {field}") from error
    for _ in range(3):
        if stamp > 1e11:  # the year 5138 in seconds: it was a finer unit
            stamp /= 1000
    return stamp


def _stream(session: Session, arguments: dict) -> dict:
    now = _redis_now(session)
    total = {"depth": 0, "retry": 0, "dead": 0, "oldest_s": 0.0, "arrived": 0, "served": 0}
    for key in arguments["keys"]:
        facts = _pairs(session.call("XINFO", "STREAM", key))
        total["arrived"] += int(facts.get("entries-added") or 0)
        groups = [_pairs(group) for group in session.call("XINFO", "GROUPS", key)]
        wanted = arguments.get("group")
        groups = [group for group in groups if wanted in (None, group["name"])]
        if not groups:
            raise ProbeError("error", f"stream {key} has no consumer group {wanted or ''}".rstrip())
        for group in groups:
            pending, lag = int(group["pending"]), group.get("lag")
            if lag is None:
                raise ProbeError("error", f"Redis cannot tell how far group {group['name']} of {key} is behind")
            total["depth"] += int(lag)
            total["retry"] += pending
            total["served"] += int(group.get("entries-read") or 0) - pending
            if int(lag):
                after = session.call("XRANGE", key, "(" + group["last-delivered-id"], "+", "COUNT", 1)
                total["oldest_s"] = max([total["oldest_s"], *(now - int(e[0].split("-")[0]) / 1000 for e in after)])
    total["dead"] = sum(_size(session, key) for key in arguments.get("dead_keys", []))
    return total


def _pairs(flat: list) -> dict:
    return dict(zip(flat[::2], flat[1::2], strict=True))
