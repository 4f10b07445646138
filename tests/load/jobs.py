#!/usr/bin/env python3
"""Enqueue jobs of the sample service over its API, and prove afterwards what became of each.

    jobs.py enqueue --edge 10.77.0.11 --edge 10.77.0.12 --rate 10 --seconds 600 --batch b1 --out b1.json
    jobs.py verify --jobs b1.json --psql "ssh root@data1 sudo -u postgres psql -d sample"

`verify` reads PostgreSQL alone, not what workers say of themselves: a job is lost when it was
acknowledged and is not done, doubled when it succeeded twice, rerun when a second run was
begun for any reason. It also checks that the scheduler's tick slots (SCHEDULER_TICK_S) of the
same time are neither missing nor doubled. Exit code: 0 all as it must be; 1 not; 2 cannot tell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from load.http1 import Connection, HttpFault, request_bytes
from load.load import LONGEST_RUN_S, split_address

SHORTEST_MS, LONGEST_MS = 10, 5000
ANSWER_TIMEOUT_S = 30.0
SETTLE_S = 3.0  # a slot that fell due this shortly before the end may still be on its way


class JobsError(Exception):
    """The tool cannot do what was asked; the text says why."""


# --- enqueue ------------------------------------------------------------------------------


def duration_ms(random_: random.Random) -> int:
    """How long a job lasts: 10 ms to 5 s, each decade as likely as the next (mean 0.8 s)."""
    return round(SHORTEST_MS * (LONGEST_MS / SHORTEST_MS) ** random_.random())


@dataclass
class Enqueued:
    """What was sent, and what was acknowledged."""

    batch: str
    since_unix: float
    until_unix: float = 0.0
    acknowledged: list[int] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    """Requests without a 201; the job of such a request may exist all the same."""


class Enqueuer:
    """Sends jobs at a steady rate, each request on a connection of its own."""

    def __init__(self, edges: Sequence[str], batch: str, seed: int) -> None:
        self._edges = edges
        self._random = random.Random(seed)  # noqa: S311 - a load, not a secret
        self.stopping = asyncio.Event()
        self.found = Enqueued(batch, time.time())

    async def _send(self, edge: str) -> None:
        body = json.dumps({"title": "a job", "job_ms": duration_ms(self._random), "batch": self.found.batch}).encode()
        address, port = split_address(edge)
        try:
            connection = await Connection.connect(address, port)
            headers = {"Content-Type": "application/json"}
            wire = request_bytes("POST", "/api/tasks/", edge, headers=headers, body=body, close=True)
            answer = await connection.ask(wire, ANSWER_TIMEOUT_S)
            if answer.status == 201:
                self.found.acknowledged.append(json.loads(answer.body)["job_id"])
                return
            fault = f"status-{answer.status}"
        except HttpFault as error:
            fault = error.name
        self.found.faults[fault] = self.found.faults.get(fault, 0) + 1

    async def run(self, rate: float, seconds: float, count: int) -> Enqueued:
        """Send until `seconds` are over, `count` are sent (0: no limit) or `stopping` is set."""
        begun = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while not self.stopping.is_set() and (not count or number < count):
            due = begun + number / rate
            if due - begun > seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._send(self._edges[number % len(self._edges)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        if tasks:
            await asyncio.wait(tasks, timeout=ANSWER_TIMEOUT_S + 5)
        self.found.until_unix = time.time()
        return self.found


# --- verify -------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobRow:
    """One job as PostgreSQL knows it."""

    job_id: int
    ok: int
    failed: int
    interrupted: int
    unended: int
    """Runs that began and have no end: under way, or their worker was killed."""
    result: str | None
    """How the job ended for good; None while it is open."""

    @property
    def runs(self) -> int:
        """How often it was begun."""
        return self.ok + self.failed + self.interrupted + self.unended


def judge_jobs(rows: Iterable[JobRow], acknowledged: Iterable[int]) -> dict[str, Any]:
    """What became of the jobs; lists hold job ids."""
    by_id = {row.job_id: row for row in rows}
    acknowledged = list(acknowledged)
    unrecorded = sorted(set(acknowledged) - by_id.keys())
    undone = sorted(row.job_id for row in by_id.values() if row.result is None)
    return {
        "acknowledged": len(acknowledged),
        "recorded": len(by_id),
        "done": sum(1 for row in by_id.values() if row.result is not None),
        "lost": unrecorded + undone,
        "doubled": sorted(row.job_id for row in by_id.values() if row.ok > 1),
        "rerun": sorted(row.job_id for row in by_id.values() if row.runs > 1 and row.ok <= 1),
        "failed": sorted(row.job_id for row in by_id.values() if row.result == "failed"),
    }


def judge_slots(slots: Iterable[int], tick_s: float, since_unix: float, until_unix: float) -> dict[str, Any]:
    """Which tick slots that fell due from `since` to `until` are missing, and which came more than once."""
    first, last = math.ceil(since_unix / tick_s), math.floor(until_unix / tick_s)
    seen = Counter(slots)
    return {
        "expected": max(0, last - first + 1),
        "missing": [slot for slot in range(first, last + 1) if not seen[slot]],
        "doubled": sorted(slot for slot, times in seen.items() if times > 1 and first <= slot <= last),
    }


JOBS_SQL = """
SELECT coalesce(json_agg(json_build_array(e.job_id,
    (SELECT count(*) FROM job_runs r WHERE r.job_id = e.job_id AND r.result = 'ok'),
    (SELECT count(*) FROM job_runs r WHERE r.job_id = e.job_id AND r.result = 'failed'),
    (SELECT count(*) FROM job_runs r WHERE r.job_id = e.job_id AND r.result = 'interrupted'),
    (SELECT count(*) FROM job_runs r WHERE r.job_id = e.job_id AND r.result IS NULL),
    d.result) ORDER BY e.job_id), '[]')
FROM jobs_enqueued e LEFT JOIN jobs_done d USING (job_id) WHERE e.batch = '{batch}'
"""
OPEN_SQL = (
    "SELECT json_build_array(count(*)) FROM jobs_enqueued e LEFT JOIN jobs_done d USING (job_id)"
    " WHERE e.batch = '{batch}' AND d.job_id IS NULL"
)
SLOTS_SQL = (
    "SELECT coalesce(json_agg(slot), '[]') FROM scheduler_enqueues"
    " WHERE kind = 'tick' AND slot BETWEEN {first} AND {last}"
)
BY_SQL = (
    "SELECT coalesce(json_agg(x), '[]') FROM (SELECT d.release, d.color, count(*) FROM jobs_enqueued e"
    " JOIN jobs_done d USING (job_id) WHERE e.batch = '{batch}' GROUP BY 1, 2 ORDER BY 1, 2) AS x"
)
Query = Callable[[str], Any]


def psql(command: str) -> Query:
    """A way to ask PostgreSQL by running `command` (a psql, near or far) with SQL on its stdin."""
    words = shlex.split(command)

    def query(sql: str) -> Any:
        done = subprocess.run(
            [*words, "-XAtq", "-v", "ON_ERROR_STOP=1"],
            input=sql + ";",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise JobsError(f"{words[0]} … ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)

    return query


def connected(dsn: str) -> Query:
    """A way to ask PostgreSQL over a connection of our own."""
    import psycopg  # noqa: PLC0415 - only this way needs it

    def query(sql: str) -> Any:
        with psycopg.connect(dsn, connect_timeout=10) as connection:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return row[0]

    return query


def verify(query: Query, enqueued: Enqueued, *, wait_s: float, tick_s: float) -> dict[str, Any]:
    """Wait (at most `wait_s`) until the jobs of a batch are done, and judge what happened."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", enqueued.batch):
        raise JobsError(f"batch {enqueued.batch!r}: expected 1 to 60 letters, digits, dots, dashes")
    deadline = time.monotonic() + wait_s
    while (still := query(OPEN_SQL.format(batch=enqueued.batch))[0]) and time.monotonic() < deadline:
        time.sleep(1)
    rows = [JobRow(*values) for values in query(JOBS_SQL.format(batch=enqueued.batch))]
    found = {
        "batch": enqueued.batch,
        "open": still,
        "faults": enqueued.faults,
        **judge_jobs(rows, enqueued.acknowledged),
        "by": query(BY_SQL.format(batch=enqueued.batch)),
    }
    if tick_s:
        until = enqueued.until_unix - SETTLE_S
        first, last = math.ceil(enqueued.since_unix / tick_s), math.floor(until / tick_s)
        slots = query(SLOTS_SQL.format(first=first, last=last))
        found["slots"] = judge_slots(slots, tick_s, enqueued.since_unix, until)
    return found


def as_it_must_be(found: dict[str, Any], *, reruns_allowed: bool) -> bool:
    """Whether nothing was lost or doubled."""
    wrong = [found["lost"], found["doubled"], found["failed"]]
    wrong += [found["slots"]["missing"], found["slots"]["doubled"]] if "slots" in found else []
    return not any(wrong) and (reruns_allowed or not found["rerun"])


# --- command line -------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("enqueue", help="send jobs").add_argument
    add("--edge", action="append", required=True, metavar="ADDRESS[:PORT]")
    add("--rate", type=float, default=10, help="jobs a second (default 10)")
    add("--seconds", type=float, default=60)
    add("--count", type=int, default=0, help="no more than this many (default: no limit)")
    add("--batch", required=True, help="a name for these jobs, not used before")
    add("--seed", type=int, default=1)
    add("--out", type=Path, required=True)
    add = commands.add_parser("verify", help="prove what became of them").add_argument
    add("--jobs", type=Path, required=True, help="what `enqueue --out` wrote")
    add("--psql", help="command that runs psql on the service's database (default: DATABASE_URL)")
    add("--wait", type=float, default=60, help="seconds to wait for open jobs (default 60)")
    add("--tick-s", type=float, default=0, help="SCHEDULER_TICK_S of the service, to check its slots")
    add("--allow-reruns", action="store_true", help="where workers were killed: a second run is right then")
    return parser.parse_args(arguments)


async def enqueue(options: argparse.Namespace) -> Enqueued:
    """Carry out `enqueue`."""
    enqueuer = Enqueuer(options.edge, options.batch, options.seed)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, enqueuer.stopping.set)
    return await enqueuer.run(options.rate, min(options.seconds, LONGEST_RUN_S), options.count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parse(arguments)
    try:
        if options.command == "enqueue":
            sent = asyncio.run(enqueue(options))
            options.out.write_text(json.dumps(vars(sent)) + "\n", encoding="utf-8")
            print(json.dumps({"acknowledged": len(sent.acknowledged), "faults": sent.faults}))
            return 1 if sent.faults else 0
        dsn = os.environ.get("DATABASE_URL", "")
        if not options.psql and not dsn:
            raise JobsError("set DATABASE_URL, or give --psql a command that reaches the database")
        query = psql(options.psql) if options.psql else connected(dsn)
        sent = Enqueued(**json.loads(options.jobs.read_text(encoding="utf-8")))
        found = verify(query, sent, wait_s=options.wait, tick_s=options.tick_s)
    except (JobsError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"jobs: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0 if as_it_must_be(found, reruns_allowed=options.allow_reruns) else 1


if __name__ == "__main__":
    sys.exit(main())
