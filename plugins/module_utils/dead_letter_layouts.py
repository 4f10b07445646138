# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Where each library keeps the jobs that it gave up, and how one of them goes back or away.

Each move is one Lua script, so that a program that is killed leaves a job on one side or the other, never on both and
never on neither: the script that finds the job no longer among the dead does nothing.

asynq 0.26 (internal/rdb/inspect.go, rdb.go, asynq.proto), RQ 1.x to 3.0 (rq/registry.py, queue.py, results.py), Sidekiq
6.4 to 8.1 (lib/sidekiq/api.rb, client.rb), BullMQ 5.81 and 6 (commands/reprocessJob-8.lua, removeJob-2.lua).
"""

from __future__ import annotations

import base64
import collections
import datetime
import hashlib
import json
import time
import zlib
from typing import NamedTuple

from ansible_collections.turnout.ops.plugins.module_utils import asynq
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.queue_libraries import in_seconds, pairs, scan

CHUNK = 500
"""Jobs that are asked for in one go: some hundred kB."""


class Letter(NamedTuple):
    """One job that was given up. `at` is in seconds since the epoch, None where nothing tells; payloads are text."""

    id: str
    queue: str
    type: str
    cause: str
    at: float | None
    payload: str | None
    raw: str
    key: str


class Move(NamedTuple):
    """A Lua script with its keys and arguments; it returns 1 where it moved the job."""

    script: str
    keys: list
    arguments: list


def _chunks(items: list) -> list:
    return [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]


def _missing(what: str, names: list, known: list) -> None:
    absent = [name for name in names if name not in known]
    if absent:
        there = ", ".join(known) or "none at all"
        raise ProbeError("missing", f"Redis knows no {what} called {', '.join(absent)}; there are: {there}")


class Layout:
    """What all layouts have in common."""

    HIDDEN_S = 0.0
    """Seconds in which a job that was taken is seen nowhere, although it is neither done nor dead."""

    def identity(self, letter: Letter) -> tuple:
        """Return what the same job has each time that it is dead."""
        return letter.key, letter.id

    def dead_again(self, sent: list, expected: collections.Counter) -> int:
        """Return how many jobs of the types that were sent are dead now and not `expected` to be, by identity."""
        types = {letter.type for letter in sent}
        dead = collections.Counter(self.identity(one) for one in self.read() if one.type in types)
        return sum((dead - expected).values())

    def refusal(self, letter: Letter, do: str) -> str | None:
        """Return why a job cannot be sent again (`do` is `replay`) or deleted (`drop`) from here, None where it can."""
        return None


class Asynq(Layout):
    """Archived tasks. The library itself keeps at most 10,000 in a queue, and each for 90 days."""

    REPLAY = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], 'state', 'pending', 'pending_since', ARGV[2])
return 1
"""
    DROP = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
local lock = redis.call('HGET', KEYS[2], 'unique_key')
if lock and lock ~= '' and redis.call('GET', lock) == ARGV[1] then redis.call('DEL', lock) end
redis.call('DEL', KEYS[2])
return 1
"""

    def __init__(self, session, arguments: dict) -> None:
        self.session = session
        known = sorted(session.call("SMEMBERS", "asynq:queues"))
        self.queues = arguments.get("queues") or known
        _missing("queue of asynq", self.queues, known)

    def read(self) -> list:
        """Return every archived task as a Letter."""
        found = []
        for queue in self.queues:
            key = f"asynq:{{{queue}}}:"
            flat = self.session.call("ZRANGE", key + "archived", 0, -1, "WITHSCORES")
            members = pairs(flat)
            for part in _chunks(members):
                messages = self.session.call_many([("HGET", f"{key}t:{one}", "msg") for one, _ in part])
                for (one, score), message in zip(part, messages, strict=True):
                    found.append(self._letter(queue, one, float(score), message))
        return found

    def _letter(self, queue: str, one: str, at: float, message: str | None) -> Letter:
        try:
            fields = dict(asynq.fields(message or ""))
        except IndexError:  # a message that is cut off, or none of asynq's
            fields = {}
        texts = {
            number: value.decode("utf-8", "replace") for number, value in fields.items() if isinstance(value, bytes)
        }
        return Letter(one, queue, texts.get(1, "?"), texts.get(7, ""), at, texts.get(2), message or "",
                      f"asynq:{{{queue}}}:archived")  # fmt: skip

    def replay(self, letter: Letter) -> Move:
        """Return how the task goes back to its queue: it is tried once more."""
        key = f"asynq:{{{letter.queue}}}:"
        return Move(self.REPLAY, [letter.key, key + "pending", f"{key}t:{letter.id}"], [letter.id, time.time_ns()])

    def drop(self, letter: Letter) -> Move:
        """Return how the task is deleted, with the lock of a unique one."""
        return Move(self.DROP, [letter.key, f"asynq:{{{letter.queue}}}:t:{letter.id}"], [letter.id])

    def waiting(self, letters: list) -> set:
        """Return the ids of those that are neither done nor dead again."""
        states = self._states(letters)
        return {
            one.id for one, state in zip(letters, states, strict=True) if state not in (None, "completed", "archived")
        }

    def dead_again(self, sent: list, expected: collections.Counter) -> int:
        """Return how many of those that were sent are archived again: a look at them alone, not at thousands."""
        return self._states(sent).count("archived")

    def _states(self, letters: list) -> list:
        return self.session.call_many([("HGET", f"asynq:{{{one.queue}}}:t:{one.id}", "state") for one in letters])


class Rq(Layout):
    """The registry of failed jobs of each queue."""

    REPLAY = """
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[3], 'status', 'queued', 'enqueued_at', ARGV[2], 'started_at', '', 'ended_at', '')
redis.call('HDEL', KEYS[3], 'exc_info')
if not redis.call('HGET', KEYS[3], 'ttl') then redis.call('PERSIST', KEYS[3]) end
redis.call('SADD', 'rq:queues', KEYS[2])
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
"""
    DROP = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 1
"""
    FIELDS = ("description", "exc_info", "ended_at", "rate_limit_key")

    def __init__(self, session, arguments: dict) -> None:
        self.session = session
        known = sorted(key.removeprefix("rq:queue:") for key in session.call("SMEMBERS", "rq:queues"))
        self.queues = arguments.get("queues") or known
        _missing("queue of RQ", self.queues, known)

    def read(self) -> list:
        """Return every failed job as a Letter; those whose job is gone are none, as for RQ itself."""
        found = []
        for queue in self.queues:
            key = f"rq:failed:{queue}"
            for part in _chunks(self.session.call("ZRANGE", key, 0, -1)):
                jobs = self.session.call_many([("HMGET", f"rq:job:{one}", *self.FIELDS) for one in part])
                results = self.session.call_many(
                    [("XREVRANGE", f"rq:results:{one}", "+", "-", "COUNT", 1) for one in part]
                )
                for one, job, result in zip(part, jobs, results, strict=True):
                    if any(value is not None for value in job):
                        found.append(self._letter(queue, key, one, job, result))
        return found

    def _letter(self, queue: str, key: str, one: str, job: list, result: list | None) -> Letter:
        described, failed, ended, limited = job
        cause = _unpacked(failed)
        if result and not cause:
            words = result[0][1]
            told = dict(pairs(words)).get("exc_string")
            cause = _unpacked(base64.b64decode(told)) if told else ""
        lines = [line for line in cause.splitlines() if line.strip()]
        at = datetime.datetime.fromisoformat(ended).timestamp() if ended else None
        # What it was called with is pickled; the description repeats it, without names of its own.
        name = (described or "?").partition("(")[0]
        return Letter(one, queue, name, lines[-1] if lines else "", at, None, "limited" if limited else "", key)

    def refusal(self, letter: Letter, do: str) -> str | None:
        """Return why a job with a rate limit is not sent again: RQ itself counts those."""
        if do == "replay" and letter.raw == "limited":
            return f"job {letter.id} has a rate limit, which RQ alone counts; to mend: rq requeue {letter.id}"
        return None

    def replay(self, letter: Letter) -> Move:
        """Return how the job goes back to its queue: it is tried once more."""
        keys = [letter.key, f"rq:queue:{letter.queue}", f"rq:job:{letter.id}"]
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return Move(self.REPLAY, keys, [letter.id, now])

    def drop(self, letter: Letter) -> Move:
        """Return how the job is deleted with its results and what depended on it."""
        names = ("job:{}", "results:{}", "job:{}:dependents", "executions:{}")
        return Move(self.DROP, [letter.key, *(f"rq:{name.format(letter.id)}" for name in names)], [letter.id])

    def waiting(self, letters: list) -> set:
        """Return the ids of those that are neither done nor dead again."""
        states = self._states(letters)
        over = (None, "finished", "failed", "stopped", "canceled")
        return {one.id for one, state in zip(letters, states, strict=True) if state not in over}

    def dead_again(self, sent: list, expected: collections.Counter) -> int:
        """Return how many of those that were sent have failed again."""
        return self._states(sent).count("failed")

    def _states(self, letters: list) -> list:
        return self.session.call_many([("HGET", f"rq:job:{one.id}", "status") for one in letters])


def _unpacked(text: str | bytes | None) -> str:
    """Return what zlib packed; text of before RQ 1.0 as it is."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text or b""
    try:
        return zlib.decompress(data).decode("utf-8", "replace")
    except zlib.error:
        return data.decode("utf-8", "replace")


class Sidekiq(Layout):
    """The sets `dead` and, where it is asked for, `retry`. Jobs of all queues lie in one set each."""

    REPLAY = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('LPUSH', KEYS[3], ARGV[3])
return 1
"""
    DROP = "return redis.call('ZREM', KEYS[1], ARGV[1])"

    def __init__(self, session, arguments: dict) -> None:
        self.session, self.prefix = session, arguments.get("prefix") or ""
        known = sorted(session.call("SMEMBERS", self.prefix + "queues"))
        self.queues = arguments.get("queues") or known
        self.names = arguments.get("sets") or ["dead"]
        self.sent: dict = {}
        _missing("queue of Sidekiq", self.queues, known)

    def read(self) -> list:
        """Return every job of the sets that belongs to the queues as a Letter."""
        found = []
        for name in self.names:
            flat = self.session.call("ZRANGE", self.prefix + name, 0, -1, "WITHSCORES")
            for raw, score in pairs(flat):
                letter = self._letter(name, raw, float(score))
                if letter.queue in self.queues:
                    found.append(letter)
        return found

    def _letter(self, name: str, raw: str, score: float) -> Letter:
        job = _object(raw)
        cause = ": ".join(str(job[key]) for key in ("error_class", "error_message") if job.get(key))
        failed = job.get("failed_at")
        at = in_seconds(float(failed)) if isinstance(failed, int | float) else score
        # What runs for Active Job has the job's own class beside that of its adapter.
        kind = job.get("wrapped") or job.get("class") or "?"
        payload = json.dumps(job.get("args", []))
        return Letter(str(job.get("jid", "?")), str(job.get("queue", "?")), str(kind), cause, at, payload, raw,
                      self.prefix + name)  # fmt: skip

    def replay(self, letter: Letter) -> Move:
        """Return how the job goes back to its queue: it is tried once more."""
        job = _object(letter.raw)
        if job.get("retry_count"):
            job["retry_count"] -= 1
        # Milliseconds since version 8, seconds before: as the job itself has them.
        fine = isinstance(job.get("enqueued_at"), int)
        job["enqueued_at"] = time.time_ns() // 1_000_000 if fine else time.time()
        text = self.sent[letter.id] = json.dumps(job, ensure_ascii=False, separators=(",", ":"))
        keys = [letter.key, self.prefix + "queues", f"{self.prefix}queue:{letter.queue}"]
        return Move(self.REPLAY, keys, [letter.raw, letter.queue, text])

    def drop(self, letter: Letter) -> Move:
        """Return how the job is deleted."""
        return Move(self.DROP, [letter.key], [letter.raw])

    def waiting(self, letters: list) -> set:
        """Return the ids of those that wait in their queue, or that a process works at."""
        asked = [("LPOS", f"{self.prefix}queue:{one.queue}", self.sent.get(one.id, "")) for one in letters]
        found = {one.id for one, at in zip(letters, self.session.call_many(asked), strict=True) if at is not None}
        for process in self.session.call("SMEMBERS", self.prefix + "processes"):
            for key in (f"{self.prefix}{process}:work", f"{self.prefix}{process}:workers"):
                for work in self.session.call("HGETALL", key)[1::2]:
                    payload = _object(work).get("payload")
                    job = payload if isinstance(payload, dict) else _object(str(payload))
                    found |= {one.id for one in letters if one.id == job.get("jid")}
        return found


class BullMq(Layout):
    """The set of failed jobs of each queue: those that the library tries no more."""

    REPLAY = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], 'finishedOn', 'processedOn', 'failedReason')
redis.call(ARGV[2], KEYS[3], ARGV[1])
local most = redis.call('HGET', KEYS[5], 'concurrency')
if not most or redis.call('LLEN', KEYS[4]) < tonumber(most) then redis.call('ZADD', KEYS[6], 0, '0') end
redis.call('XADD', KEYS[7], 'MAXLEN', '~', redis.call('HGET', KEYS[5], 'opts.maxLenEvents') or 10000, '*',
  'event', 'waiting', 'jobId', ARGV[1], 'prev', 'failed')
return 1
"""
    DROP = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
if #KEYS == 7 and redis.call('GET', KEYS[6]) == ARGV[1] then redis.call('DEL', KEYS[6], KEYS[7]) end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', redis.call('HGET', KEYS[4], 'opts.maxLenEvents') or 10000, '*',
  'event', 'removed', 'jobId', ARGV[1], 'prev', 'failed')
return 1
"""
    FIELDS = ("name", "data", "failedReason", "finishedOn", "opts", "parentKey", "deid")
    CHILDREN = (":dependencies", ":processed", ":failed", ":unsuccessful")

    def __init__(self, session, arguments: dict) -> None:
        self.session, self.prefix = session, (arguments.get("prefix") or "bull") + ":"
        keys = scan(session, self.prefix, ":meta")
        known = sorted(key.removeprefix(self.prefix).removesuffix(":meta") for key in keys)
        self.queues = arguments.get("queues") or known
        _missing("queue of BullMQ", self.queues, known)
        metas = [("HGET", f"{self.prefix}{name}:meta", "paused") for name in self.queues]
        told = session.call_many(metas)
        self.paused = [name for name, paused in zip(self.queues, told, strict=True) if paused is not None]

    def read(self) -> list:
        """Return every failed job as a Letter; `raw` is what is needed to move it, as JSON."""
        found = []
        for queue in self.queues:
            key = f"{self.prefix}{queue}:"
            for part in _chunks(pairs(self.session.call("ZRANGE", key + "failed", 0, -1, "WITHSCORES"))):
                jobs = self.session.call_many([("HMGET", key + one, *self.FIELDS) for one, _ in part])
                kin = self.session.call_many(
                    [("EXISTS", *(key + one + end for end in self.CHILDREN)) for one, _ in part]
                )
                for (one, score), job, children in zip(part, jobs, kin, strict=True):
                    if any(value is not None for value in job):
                        found.append(self._letter(queue, one, float(score), job, bool(children)))
        return found

    def _letter(self, queue: str, one: str, score: float, job: list, children: bool) -> Letter:
        name, data, reason, finished, options, parent, deduplicated = job
        raw = {"flow": bool(parent) or children, "last": bool(_object(options or "").get("lifo")), "once": deduplicated}
        at = _since(finished) or score / 1000
        return Letter(one, queue, name or "?", reason or "", at, data, json.dumps(raw), f"{self.prefix}{queue}:failed")

    def refusal(self, letter: Letter, do: str) -> str | None:
        """Return why a job of a flow is refused, which others wait for, and why a queue that is paused is."""
        if _object(letter.raw)["flow"]:
            call = {"replay": "retry()", "drop": "remove()"}[do]
            return (
                f"job {letter.id} belongs to a flow, which BullMQ alone keeps; to mend: job.{call} in the application"
            )
        if do == "replay" and letter.queue in self.paused:
            return (
                f"the queue {letter.queue} is paused, its jobs would wait; to mend: queue.resume() in the application"
            )
        return None

    def replay(self, letter: Letter) -> Move:
        """Return how the job goes back to its queue: it is tried once more, as by `job.retry()`."""
        key = f"{self.prefix}{letter.queue}:"
        keys = [letter.key, key + letter.id, *(key + name for name in ("wait", "active", "meta", "marker", "events"))]
        return Move(self.REPLAY, keys, [letter.id, "RPUSH" if _object(letter.raw)["last"] else "LPUSH"])

    def drop(self, letter: Letter) -> Move:
        """Return how the job is deleted with its log, and with the lock of one that is deduplicated."""
        key = f"{self.prefix}{letter.queue}:"
        keys = [letter.key, key + letter.id, f"{key}{letter.id}:logs", key + "meta", key + "events"]
        once = _object(letter.raw)["once"]
        return Move(self.DROP, keys + ([f"{key}de:{once}", f"{key}dn:{once}"] if once else []), [letter.id])

    def waiting(self, letters: list) -> set:
        """Return the ids of those that are neither done nor dead again."""
        asked = []
        for one in letters:
            key = f"{self.prefix}{one.queue}:"
            asked += [("EXISTS", key + one.id), ("ZSCORE", key + "completed", one.id), ("ZSCORE", one.key, one.id)]
        told = self.session.call_many(asked)
        states = zip(told[::3], told[1::3], told[2::3], strict=True)
        return {
            one.id
            for one, (there, done, dead) in zip(letters, states, strict=True)
            if there and done is None and dead is None
        }

    def dead_again(self, sent: list, expected: collections.Counter) -> int:
        """Return how many of those that were sent have failed again."""
        told = self.session.call_many([("ZSCORE", one.key, one.id) for one in sent])
        return sum(score is not None for score in told)


def _object(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _at(entry: dict, path: str | None):
    """Return what stands at `a.b` in an entry; None where nothing does."""
    value: object = entry
    for part in (path or "").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _since(value: object) -> float | None:
    """Return a number of s, ms, µs or ns since the epoch in seconds."""
    try:
        return in_seconds(float(str(value)))
    except ValueError:
        return None


class Plain(Layout):
    """Plain lists and streams. `type_field`, `error_field` and `time_field` say where an entry tells of itself."""

    LIST_REPLAY = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call(ARGV[2], KEYS[2], ARGV[1])
return 1
"""
    LIST_DROP = "return redis.call('LREM', KEYS[1], 1, ARGV[1])"
    STREAM_REPLAY = """
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(found[1][2]))
return redis.call('XDEL', KEYS[1], ARGV[1])
"""
    STREAM_DROP = "return redis.call('XDEL', KEYS[1], ARGV[1])"

    HIDDEN_S = 2.0  # what a worker has taken from a list is in no key that is known here

    def __init__(self, session, arguments: dict) -> None:
        self.session, self.arguments = session, arguments
        self.stream = arguments["layout"] == "stream"
        self.kind = "stream" if self.stream else "list"
        self.target, self.queues = arguments["keys"][0], list(arguments["keys"])
        if not arguments.get("dead_keys"):
            raise ProbeError("missing", "its dead letters have no key: name it in checklist.queues[].dead_keys")
        for key in (*arguments["dead_keys"], self.target):
            kind = session.call("TYPE", key)
            if kind not in (self.kind, "none"):
                raise ProbeError("error", f"{key} is a {kind} and no {self.kind}")

    def read(self) -> list:
        """Return every entry of the keys of dead letters."""
        found = []
        for key in self.arguments["dead_keys"]:
            if self.stream:
                after = "-"
                while page := self.session.call("XRANGE", key, after, "+", "COUNT", CHUNK):
                    found += [self._of_stream(key, one, words) for one, words in page]
                    after = "(" + page[-1][0]
            else:
                seen: dict = {}
                for raw in self.session.call("LRANGE", key, 0, -1):
                    seen[raw] = seen.get(raw, 0) + 1
                    found.append(self._of_list(key, raw, seen[raw]))
        return found

    def _of_list(self, key: str, raw: str, copy: int) -> Letter:
        # An entry has no id of its own: its text, and which one it is of several with the same.
        name = hashlib.sha256(raw.encode("utf-8", "surrogateescape")).hexdigest()[:16] + (
            f"-{copy}" if copy > 1 else ""
        )
        entry = _object(raw)
        # What is no object has no keys by which a part of it could be hidden.
        return self._letter(key, entry, None)._replace(id=name, payload=raw if entry else None, raw=raw)

    def _of_stream(self, key: str, one: str, words: list) -> Letter:
        entry = dict(pairs(words))
        at = int(one.partition("-")[0]) / 1000
        return self._letter(key, entry, at)._replace(id=one, payload=json.dumps(entry))

    def identity(self, letter: Letter) -> tuple:
        """Return its text: of a list, entries with the same text are alike."""
        return letter.key, letter.id if self.stream else letter.raw

    def _letter(self, key: str, entry: dict, at: float | None) -> Letter:
        kind, cause = (_at(entry, self.arguments.get(name)) for name in ("type_field", "error_field"))
        told = _since(_at(entry, self.arguments.get("time_field")))
        return Letter("", self.target, str(kind or "?"), str(cause or ""), told or at, None, "", key)

    def replay(self, letter: Letter) -> Move:
        """Return how the entry goes to the end at which new ones come in, as it is."""
        if self.stream:
            return Move(self.STREAM_REPLAY, [letter.key, self.target], [letter.id])
        push = "LPUSH" if self.arguments.get("oldest", "right") == "right" else "RPUSH"
        return Move(self.LIST_REPLAY, [letter.key, self.target], [letter.raw, push])

    def drop(self, letter: Letter) -> Move:
        """Return how the entry is deleted."""
        if self.stream:
            return Move(self.STREAM_DROP, [letter.key], [letter.id])
        return Move(self.LIST_DROP, [letter.key], [letter.raw])

    def waiting(self, letters: list) -> set:
        """Return the ids of those that nobody has taken; of a stream that is known for all of them together."""
        if not self.stream:
            asked = [("LPOS", self.target, one.raw) for one in letters]
            return {one.id for one, at in zip(letters, self.session.call_many(asked), strict=True) if at is not None}
        groups = [dict(pairs(one)) for one in self.session.call("XINFO", "GROUPS", self.target)]
        wanted = self.arguments.get("group")
        busy = any(int(g["pending"]) or int(g.get("lag") or 0) for g in groups if wanted in (None, g["name"]))
        return {one.id for one in letters} if busy else set()


LAYOUTS = {"asynq": Asynq, "rq": Rq, "sidekiq": Sidekiq, "bullmq": BullMq, "list": Plain, "stream": Plain}
