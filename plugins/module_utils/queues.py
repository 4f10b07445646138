# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Look at a queue in Redis: depth, oldest job, retries, dead letters, workers, what is overdue or lost, and its rates.

Layouts: `asynq` (asynq.py), `rq`, `sidekiq`, `celery` and `bullmq` (queue_libraries.py), `list` (plain lists) and
`stream` (consumer groups). Rates come from two looks, `sample_s` apart, and lost is what both of them saw so.
"""

from __future__ import annotations

import time

from ansible_collections.turnout.ops.plugins.module_utils import asynq, queue_libraries
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.queue_libraries import digest, pairs, stamp
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session

MOST_COUNTED = 10_000
"""Entries of a stream that are counted one by one; each comes with its content."""


def look(arguments: dict, limit_s: float) -> dict:
    """Return what was seen: counts in jobs, ages in seconds (None where the layout does not tell), rates in jobs/s.

    Where a name is not known there is nothing but `missing`, `known` and `what` they are names of.
    """
    sample_s = min(float(arguments.get("sample_s", 1.0)), max(0.2, limit_s / 2))
    session = Session(arguments["url"], limit_s, arguments.get("ca_file"))
    reader = READERS[arguments["layout"]]
    try:
        first, began = reader(session, arguments, redis_now(session)), time.monotonic()
        if "depth" not in first:
            return first
        time.sleep(sample_s)
        now = redis_now(session)
        second = reader(session, arguments, now)
        passed_s = time.monotonic() - began
    finally:
        session.close()
    if "depth" not in second:
        return second
    seen = {name: value for name, value in second.items() if name not in ("arrived", "served", "known", "missing")}
    if "lost" in seen:
        seen["lost"] = len(set(first["lost"]) & set(second["lost"]))
    if second.get("oldest_s") and second["depth"]:
        seen["oldest_at"] = now - second["oldest_s"]  # the same as long as it is the same job, unlike its age
    seen["net_per_s"] = (second["depth"] - first["depth"]) / passed_s
    served, arrived = second.get("served"), second.get("arrived")
    if served is not None and first.get("served") is not None:
        seen["served_per_s"] = (served - first["served"]) / passed_s
        seen["arrived_per_s"] = max(0.0, seen["served_per_s"] + seen["net_per_s"])
    if arrived is not None and first.get("arrived") is not None:
        seen["arrived_per_s"] = (arrived - first["arrived"]) / passed_s
    seen["sample_s"] = round(passed_s, 2)
    return seen


def redis_now(session: Session) -> float:
    """Return the server's clock, in seconds since the epoch."""
    seconds, micros = session.call("TIME")
    return int(seconds) + int(micros) / 1e6


def _list(session: Session, arguments: dict, now: float) -> dict:
    """Read plain lists. The oldest entry is at the end from which workers take (`oldest`: right or left).

    An empty list is no key at all in Redis, so a name that is not there is told (`absent`), and is no fault.
    """
    kinds = {key: session.call("TYPE", key) for key in arguments["keys"]}
    for key, kind in kinds.items():
        if kind not in ("list", "none"):
            raise ProbeError("error", f"{key} is a {kind} and no list")
    at = -1 if arguments.get("oldest", "right") == "right" else 0
    ages, heads = [], []
    for key in arguments["keys"]:
        entry = session.call("LINDEX", key, at)
        heads.append(entry)
        since = stamp(entry, arguments.get("time_field")) if entry else None
        if since is not None:
            ages.append(now - since)
    depth = sum(session.call("LLEN", key) for key in arguments["keys"])
    known = arguments.get("time_field") is not None or depth == 0
    return {
        "depth": depth,
        "retry": sum(_size(session, key) for key in arguments.get("retry_keys", [])),
        "dead": sum(_size(session, key) for key in arguments.get("dead_keys", [])),
        "oldest_s": max(ages, default=0.0 if known and depth == 0 else None),
        "served": _counter(session, arguments.get("served_key")),
        "head": digest(heads),
        "absent": [key for key, kind in kinds.items() if kind == "none"],
    }


def _counter(session: Session, key: str | None):
    return None if key is None else int(session.call("GET", key) or 0)


def _size(session: Session, key: str) -> int:
    kind = session.call("TYPE", key)
    command = {"list": "LLEN", "zset": "ZCARD", "set": "SCARD", "stream": "XLEN", "hash": "HLEN"}.get(kind)
    return session.call(command, key) if command else 0


def _stream(session: Session, arguments: dict, now: float) -> dict:
    """Read consumer groups. What a consumer has held for `held_s` without a word (XPENDING's idle time) is lost."""
    total: dict = {"depth": 0, "retry": 0, "dead": 0, "oldest_s": 0.0, "arrived": 0, "served": 0, "lost": []}
    holders = set()
    for key in arguments["keys"]:
        kind = session.call("TYPE", key)
        if kind != "stream":
            return {"what": "stream" if kind == "none" else f"stream (it is a {kind})", "missing": [key], "known": []}
        facts = dict(pairs(session.call("XINFO", "STREAM", key)))
        if total["arrived"] is not None:
            total["arrived"] += int(facts.get("entries-added") or 0)
        every = [dict(pairs(group)) for group in session.call("XINFO", "GROUPS", key)]
        wanted = arguments.get("group")
        groups = [group for group in every if wanted in (None, group["name"])]
        if not groups:
            known = sorted(group["name"] for group in every)
            return {"what": f"consumer group of stream {key}", "missing": [wanted] if wanted else [], "known": known}
        for group in groups:
            pending, lag, read = int(group["pending"]), group.get("lag"), group.get("entries-read")
            if lag is None:
                lag = _behind(session, key, group)
            total["depth"] += int(lag)
            total["retry"] += pending
            if read is None or total["served"] is None:
                total["served"] = total["arrived"] = None  # what was taken is known by the depth alone
            else:
                total["served"] += int(read) - pending
            if int(lag):
                after = session.call("XRANGE", key, "(" + group["last-delivered-id"], "+", "COUNT", 1)
                total["oldest_s"] = max([total["oldest_s"], *(now - int(e[0].split("-")[0]) / 1000 for e in after)])
            idle_ms = int(1000 * float(arguments["held_s"]))
            held = session.call("XPENDING", key, group["name"], "IDLE", idle_ms, "-", "+", 10_000)
            total["lost"] += [f"{key}:{group['name']}:{entry[0]}" for entry in held]
            holders |= {entry[1] for entry in held}
    total["dead"] = sum(_size(session, key) for key in arguments.get("dead_keys", []))
    total["holders"] = sorted(holders)
    return total


def _behind(session: Session, key: str, group: dict) -> int:
    """Count what a group has not read, where Redis does not: entries were deleted, or it began in the middle."""
    found, last = 0, group["last-delivered-id"]
    while found <= MOST_COUNTED:
        page = session.call("XRANGE", key, "(" + last, "+", "COUNT", 1000)
        if not page:
            return found
        found, last = found + len(page), page[-1][0]
    raise ProbeError("error", f"group {group['name']} of {key} is behind by more than {MOST_COUNTED} entries")


READERS = {
    "asynq": asynq.queues,
    "rq": queue_libraries.rq,
    "sidekiq": queue_libraries.sidekiq,
    "celery": queue_libraries.celery,
    "bullmq": queue_libraries.bullmq,
    "list": _list,
    "stream": _stream,
}
