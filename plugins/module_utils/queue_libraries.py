# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Read what RQ, Sidekiq, Celery and BullMQ keep in Redis, each by its own keys.

RQ 2.10 and 3.0 (rq/queue.py, registry.py, worker_registration.py, intermediate_queue.py), Sidekiq 6.4 to 8.1
(lib/sidekiq/api.rb, launcher.rb), Celery by kombu 5.6 and 5.7 (kombu/transport/redis.py), BullMQ 5.81
(commands/*.lua).
"""

from __future__ import annotations

import datetime
import hashlib
import json

from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.asynq import note_overdue, note_workers

SIDEKIQ_SILENT_S = 30  # launcher.rb: a process tells of itself every 10 s
KOMBU_SWEEP_S = 100  # kombu looks for messages to give back every 10 s x 10
KOMBU_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
BULLMQ_PER_S = 1000 * 0x1000  # the score of a job that waits for its time: 0x1000 for each ms since the epoch


def rq(session, arguments: dict, now: float) -> dict:
    """Return the figures of RQ's queues. A worker that was killed is known as live for up to 8 minutes."""
    serving = [_texts(session.call("HGET", key, "queues")) for key in _rq_workers(session)]
    filled = {key.removeprefix("rq:queue:") for key in session.call("SMEMBERS", "rq:queues")}
    seen, names = _begin("queue of RQ", arguments, sorted(filled.union(*serving)))
    if not names:
        return seen
    if session.call("EXISTS", "rq:suspended"):
        seen["paused"] = list(names)
    for name in names:
        key = f"rq:queue:{name}"
        waiting = session.call("LLEN", key)
        seen["depth"] += waiting
        seen["dead"] += session.call("ZCOUNT", f"rq:failed:{name}", now, "+inf")
        first = session.call("LINDEX", key, 0)
        since = session.call("HGET", f"rq:job:{first}", "enqueued_at") if first else None
        if since:
            seen["oldest_s"] = max(seen["oldest_s"], now - datetime.datetime.fromisoformat(since).timestamp())
        started = session.call("ZRANGEBYSCORE", f"rq:wip:{name}", "-inf", "+inf")
        seen["active"] += len(started)
        seen["lost"] += session.call("ZRANGEBYSCORE", f"rq:wip:{name}", 0, now)
        jobs = {one.rpartition(":")[0] or one for one in started}
        seen["lost"] += [one for one in session.call("LRANGE", key + ":intermediate", 0, -1) if one not in jobs]
        note_overdue(session, f"rq:scheduled:{name}", now, float(arguments.get("max_overdue_s") or 0), seen)
        note_workers(seen, arguments, name, sum(name in queues for queues in serving), waiting)
    return seen


def _rq_workers(session) -> list[str]:
    return [key for key in session.call("SMEMBERS", "rq:workers") if not session.call("HGET", key, "death")]


def _texts(joined: str | None) -> list[str]:
    return [name for name in (joined or "").split(",") if name]


def sidekiq(session, arguments: dict, now: float) -> dict:
    """Return the figures of Sidekiq's queues. Scheduled, repeated and dead jobs of all queues lie in one set each."""
    prefix = arguments.get("prefix") or ""
    serving, lost = [], []
    for process in session.call("SMEMBERS", prefix + "processes"):
        info, beat = (session.call("HGET", prefix + process, field) for field in ("info", "beat"))
        if not info or now - float(beat or 0) > SIDEKIQ_SILENT_S:
            for key in (f"{prefix}{process}:work", f"{prefix}{process}:workers"):  # the second before version 7
                lost += [(f"{process}:{thread}", work) for thread, work in pairs(session.call("HGETALL", key))]
        elif session.call("HGET", prefix + process, "quiet") != "true":
            serving.append(_of_process(json.loads(info)))
    filled = set(session.call("SMEMBERS", prefix + "queues"))
    seen, names = _begin("queue of Sidekiq", arguments, sorted(filled.union(*serving)))
    if not names:
        return seen
    seen["lost"] = [one for one, work in lost if json.loads(work)["queue"].removeprefix("queue:") in names]
    seen["paused"] = [name for name in session.call("SMEMBERS", prefix + "paused") if name in names]
    seen["retry"] = session.call("ZCARD", prefix + "retry")
    seen["dead"] = session.call("ZCARD", prefix + "dead")
    for later in ("schedule", "retry"):
        note_overdue(session, prefix + later, now, float(arguments.get("max_overdue_s") or 0), seen)
    for name in names:
        key = f"{prefix}queue:{name}"
        waiting = session.call("LLEN", key)
        seen["depth"] += waiting
        oldest = session.call("LINDEX", key, -1)
        if oldest:
            seen["oldest_s"] = max(seen["oldest_s"], now - stamp(oldest, "enqueued_at"))
        note_workers(seen, arguments, name, sum(name in queues for queues in serving), waiting)
    return seen


def _of_process(info: dict) -> set[str]:
    """Return the queues of a process: of all its capsules since 8.0.8, and told as a list before."""
    capsules = info.get("capsules") or {}
    return set(info.get("queues") or ()).union(*(capsule["weights"] for capsule in capsules.values()))


def celery(session, arguments: dict, now: float) -> dict:
    """Return the figures of Celery's queues. Redis shows neither workers, nor ages, nor tasks that wait for a time."""
    prefix = arguments.get("prefix") or ""
    seen, names = _begin("queue of Celery", arguments, _bound_queues(session, prefix + "_kombu.binding."))
    if not names:
        return seen
    for name in ("oldest_s", "workers", "overdue", "overdue_s", "dead"):
        del seen[name]
    seen["depth"] = sum(session.call("LLEN", prefix + name + step) for name in names for step in KOMBU_PRIORITIES)
    seen["head"] = digest(
        session.call("LINDEX", prefix + name + step, -1) for name in names for step in KOMBU_PRIORITIES
    )
    seen["active"] = session.call("HLEN", prefix + "unacked")
    before = now - float(arguments["held_s"]) - KOMBU_SWEEP_S
    seen["lost"] = session.call("ZRANGEBYSCORE", prefix + "unacked_index", "-inf", before)
    return seen


def bullmq(session, arguments: dict, now: float) -> dict:
    """Return the figures of BullMQ's queues. Redis shows no workers, and retries are among what waits for its time."""
    prefix = (arguments.get("prefix") or "bull") + ":"
    known = sorted(key.removeprefix(prefix).removesuffix(":meta") for key in scan(session, prefix, ":meta"))
    seen, names = _begin("queue of BullMQ", arguments, known)
    if not names:
        return seen
    del seen["workers"]
    bound = now - float(arguments.get("max_overdue_s") or 0)
    heads = []
    for name in names:
        key = f"{prefix}{name}:"
        seen["depth"] += sum(session.call("LLEN", key + where) for where in ("wait", "paused"))
        seen["depth"] += session.call("ZCARD", key + "prioritized")
        seen["dead"] += session.call("ZCARD", key + "failed")
        if session.call("HGET", key + "meta", "paused") is not None:
            seen["paused"].append(name)
        next_ones = [session.call("LINDEX", key + where, -1) for where in ("wait", "paused")]
        next_ones += session.call("ZRANGE", key + "prioritized", 0, 0)
        heads += next_ones
        for since in [session.call("HGET", key + job, "timestamp") for job in next_ones if job]:
            seen["oldest_s"] = max(seen["oldest_s"], now - float(since or 1000 * now) / 1000)
        active = session.call("LRANGE", key + "active", 0, -1)
        seen["active"] += len(active)
        seen["lost"] += [f"{name}:{job}" for job in active if not session.call("EXISTS", f"{key}{job}:lock")]
        seen["overdue"] += session.call("ZCOUNT", key + "delayed", 1, bound * BULLMQ_PER_S)
        first = session.call("ZRANGEBYSCORE", key + "delayed", 1, now * BULLMQ_PER_S, "WITHSCORES", "LIMIT", 0, 1)
        if first:
            seen["overdue_s"] = max(seen["overdue_s"], now - float(first[1]) / BULLMQ_PER_S)
    seen["head"] = digest(heads)
    return seen


def digest(entries) -> str:
    """Return what tells whether the oldest entries are still the same ones, and nothing of what they hold."""
    return hashlib.sha256("\0".join(entry or "" for entry in entries).encode(errors="replace")).hexdigest()[:16]


def _bound_queues(session, prefix: str) -> list[str]:
    """Return the queues that an exchange leads to, without those of Celery's own remote control and events."""
    found = {one.split("\x06\x16")[-1] for key in scan(session, prefix) for one in session.call("SMEMBERS", key)}
    return sorted(name for name in found if not name.endswith(".pidbox") and not name.startswith("celeryev"))


def scan(session, prefix: str, suffix: str = "") -> set[str]:
    """Return the keys that begin and end so."""
    pattern = "*".join(
        "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in part) for part in (prefix, suffix)
    )
    found, cursor = set(), "0"
    while True:
        cursor, keys = session.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found |= set(keys)
        if cursor == "0":
            return found


def _begin(what: str, arguments: dict, known: list[str]) -> tuple[dict, list[str]]:
    """Return the figures to fill and the queues to look at: none where one of them is not known."""
    names = arguments.get("queues") or known
    missing = [name for name in names if name not in known]
    seen: dict = {"what": what, "known": known, "missing": missing}
    if missing or not names:
        return seen, []
    seen |= {"depth": 0, "active": 0, "dead": 0, "oldest_s": 0.0, "paused": [], "workers": {}}
    seen |= {"lost": [], "overdue": 0, "overdue_s": 0.0}
    return seen, names


def pairs(flat: list) -> list[tuple[str, str]]:
    """Return what Redis told one after the other, two by two."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def stamp(entry: str, field: str | None):
    """Return the time in an entry's JSON in seconds since the epoch: a number at `field`, in s, ms, µs or ns."""
    if field is None:
        return None
    try:
        value = json.loads(entry)
        for part in field.split("."):
            value = value[part]
        return in_seconds(float(value))
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeError("error", f"the oldest entry has no number at {field}") from error


def in_seconds(since: float) -> float:
    """Return a time since the epoch in seconds, that was given in s, ms, µs or ns."""
    for _ in range(3):
        if since > 1e11:  # the year 5138 in seconds: it was a finer unit
            since /= 1000
    return since
