#!/usr/bin/env python3
"""Generate load on one or several edges, and report every request that was not answered right.

    python tests/load/load.py --edge 10.77.0.11 --edge 10.77.0.12 --rate 300 --seconds 60 --out load.json

Open loop: requests are sent when the schedule says so, whether or not earlier ones were
answered, and latency is counted from the schedule. A slow answer therefore cannot hide
those that would have come during it. SIGINT or SIGTERM ends the run early and still reports.
Exit code: 0 no request failed; 1 some failed; 2 wrong usage, or no run possible.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import json
import os
import random
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from load import mix as mixes
from load.http1 import Connection, HttpFault, request_bytes
from load.report import Mark, Record, read_marks, summary

LONGEST_RUN_S = 4 * 3600.0
IDLE_S = 3.0  # below every proxy's keep-alive time-out: a connection in use is never a stale one
MOST_IN_FLIGHT = 4000
LOGINS_AT_ONCE = 8
LONGEST_NOMINAL_S = 30.0


class LoadError(Exception):
    """The run cannot be made; the text says what to change."""


@dataclass(frozen=True)
class LoadConfig:
    """What to send, where, how often and for how long."""

    edges: tuple[str, ...]
    rate: float = 300.0
    """Requests a second."""
    seconds: float = 60.0
    mix: mixes.Mix = field(default_factory=lambda: mixes.Mix.of(mixes.DEFAULT))
    users: int = 200
    authorization: str = "login"
    """`login`: tokens of the sample service; `plain`: one made-up header for each user; `none`."""
    new_connections: float = 0.3
    """Share of requests that open a connection of their own and close it."""
    host: str = ""
    """Host header; the edge's address when empty."""
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    """Time for an answer beyond what it is meant to take."""
    seed: int = 1
    with_parent: bool = False
    """End when the process that started this one is gone."""


def split_address(edge: str) -> tuple[str, int]:
    """`address` or `address:port`; the port is 80 unless given."""
    address, colon, port = edge.rpartition(":")
    if not colon:
        return edge, 80
    if not address or not port.isdigit():
        raise LoadError(f"--edge {edge}: expected ADDRESS or ADDRESS:PORT")
    return address, int(port)


class Edge:
    """One edge and the idle connections to it."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host or name
        self.address, self.port = split_address(name)
        self._idle: deque[Connection] = deque()

    async def connection(self, *, fresh: bool) -> Connection:
        """An idle connection (the last used first, so that the others may age), or a new one."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.open and time.monotonic() - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return await Connection.connect(self.address, self.port)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if connection.open:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        # The oldest lie at the left; drop those that nobody will use any more.
        while self._idle and (not self._idle[0].open or time.monotonic() - self._idle[0].idle_since >= IDLE_S):
            self._idle.popleft().close()

    def close(self) -> None:
        """Close all that is idle."""
        while self._idle:
            self._idle.pop().close()


class Load:
    """One run."""

    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self.records: list[Record] = []
        self.stopping = asyncio.Event()
        self._random = random.Random(config.seed)  # noqa: S311 - a load, not a secret
        self._edges = [Edge(name, config.host) for name in config.edges]
        self._authorization: list[str] = []
        self._in_flight: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Give every user an Authorization header."""
        users = range(self.config.users)
        if self.config.authorization == "plain":
            self._authorization = [f"Bearer load-user-{user}" for user in users]
        elif self.config.authorization == "login":
            turns = asyncio.Semaphore(LOGINS_AT_ONCE)

            async def log_in(user: int) -> str:
                async with turns:
                    return await self._log_in(user)

            self._authorization = list(await asyncio.gather(*(log_in(user) for user in users)))

    async def _log_in(self, user: int) -> str:
        edge = self._edges[user % len(self._edges)]
        request = mixes.KINDS["login"](self._random, user)
        wire = self._wire(request, edge, user, fresh=False)
        try:
            connection = await edge.connection(fresh=False)
            answer = await connection.ask(wire, self.config.timeout_s)
            edge.give_back(connection)
            if answer.status == 200 and b'"token"' in answer.body:
                return f"Bearer {json.loads(answer.body)['token']}"
            seen = f"status {answer.status}: {answer.body[:200]!r}"
        except (HttpFault, ValueError) as fault:
            seen = str(fault)
        raise LoadError(
            f"user{user + 1} cannot log in at {edge.name}: {seen}; expected the sample service with its"
            " demonstration users (for any other service: --authorization plain and --mix get:/path=1)"
        )

    def _wire(self, request: mixes.Request, edge: Edge, user: int, *, fresh: bool) -> bytes:
        headers = {**self.config.headers, **(request.headers or {})}
        if self._authorization and not request.logs_in:
            headers["Authorization"] = self._authorization[user]
        return request_bytes(request.method, request.path, edge.host, headers=headers, body=request.body, close=fresh)

    async def _send(self, due: float, kind: int, edge: Edge, user: int, *, fresh: bool) -> None:
        request = self.config.mix.makers[kind](self._random, user)
        wire = self._wire(request, edge, user, fresh=fresh)
        start = time.monotonic()
        status, color, release, error = 0, "", "", ""
        try:
            connection = await edge.connection(fresh=fresh)
            try:
                answer = await connection.ask(wire, self.config.timeout_s + request.nominal_s)
            except BaseException:
                connection.close()
                raise
            end = time.monotonic()
            status = answer.status
            color = answer.headers.get("x-turnout-color", "")
            release = answer.headers.get("x-release", "")
            if not 200 <= status < 300:
                error = f"status-{status}"
            else:
                try:
                    error = request.check(answer)
                except ValueError:
                    error = "wrong-body"
            if fresh:
                connection.close()  # it was announced; the other side closes as well
            else:
                edge.give_back(connection)
        except HttpFault as fault:
            end = time.monotonic()
            error = fault.name
        except asyncio.CancelledError:
            end = time.monotonic()
            error = "abandoned"
        self.records.append(
            Record(
                due,
                start,
                end,
                request.nominal_s,
                self.config.mix.names[kind],
                edge.name,
                status,
                color,
                release,
                error,
                fresh,
            )
        )

    def _start_one(self, due: float, number: int) -> None:
        edge = self._edges[number % len(self._edges)]
        if len(self._in_flight) >= MOST_IN_FLIGHT:
            now = time.monotonic()
            self.records.append(Record(due, now, now, 0, "none", edge.name, 0, "", "", "not-sent", False))
            return
        kind = self._random.choices(range(len(self.config.mix.names)), self.config.mix.weights)[0]
        user = self._random.randrange(self.config.users)
        fresh = self._random.random() < self.config.new_connections
        task = asyncio.create_task(self._send(due, kind, edge, user, fresh=fresh))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def run(self) -> None:
        """Send until the time is over or `stopping` is set; then wait for what is under way."""
        parent = os.getppid()
        begun = due = time.monotonic()
        number = 0
        while not self.stopping.is_set():
            # Arrivals of a Poisson process: what many independent users look like.
            due += self._random.expovariate(self.config.rate)
            if due - begun > self.config.seconds or (self.config.with_parent and os.getppid() != parent):
                break
            pause = due - time.monotonic()
            if pause > 0:
                # No shorter naps than a millisecond: waking costs more than it gains.
                await asyncio.sleep(max(pause, 0.001))
            elif number % 64 == 0:
                await asyncio.sleep(0)  # behind schedule: let answers in all the same
            self._start_one(due, number)
            number += 1
        if self._in_flight:
            longest = self.config.timeout_s + LONGEST_NOMINAL_S
            _, late = await asyncio.wait(set(self._in_flight), timeout=longest)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for edge in self._edges:
            edge.close()


def unix_offset_s() -> float:
    """What to add to the monotonic clock to get seconds since 1970."""
    return time.time() - time.monotonic()


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    records: list[Record]
    cpu_s: float
    """CPU time that the generator used."""
    unix_offset_s: float

    def summary(self, marks: Sequence[Mark] = ()) -> dict[str, Any]:
        """Everything that the run is judged by."""
        return summary(self.records, marks, self.unix_offset_s, self.cpu_s)


def cpu_s() -> float:
    """CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run_load(config: LoadConfig, ready: Callable[[], None] = lambda: None) -> Run:
    """Log the users in, call `ready`, and send until the end, SIGINT or SIGTERM.

    LoadError when the users cannot log in. Records that exist by then are all kept.
    """
    load = Load(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, load.stopping.set)
    await load.prepare()
    # What exists now lives to the end: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    before = cpu_s()
    ready()
    await load.run()
    return Run(load.records, cpu_s() - before, unix_offset_s())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--edge", action="append", required=True, metavar="ADDRESS[:PORT]", help="repeat for several edges")
    add("--rate", type=float, default=300, help="requests a second over all edges (default 300)")
    add("--seconds", type=float, default=60, help="how long (default 60)")
    add("--mix", help=f"KIND=SHARE,…; kinds: {', '.join(mixes.KINDS)}, get:/path")
    add("--users", type=int, default=200, help="users with an Authorization header each (default 200)")
    add("--authorization", choices=["login", "plain", "none"], default="login")
    add("--new-connections", type=float, default=0.3, help="share of requests on a connection of their own")
    add("--host", default="", help="Host header (default: the edge's address)")
    add("--header", action="append", default=[], metavar="NAME: VALUE")
    add("--timeout", type=float, default=30, help="seconds for an answer beyond what it is meant to take")
    add("--seed", type=int, default=1)
    add("--marks", type=Path, help='file with lines {"t0":…,"t1":…,"name":…}, read when the run has ended')
    add("--out", type=Path, help="write the summary here (default: stdout)")
    add("--records", type=Path, help="write every request here, JSON lines, gzip")
    add("--with-parent", action="store_true", help="end when the starting process is gone")
    add("--ready-file", type=Path, help="made when the users are logged in and the load begins")
    return parser.parse_args(arguments)


def config_of(options: argparse.Namespace) -> LoadConfig:
    """The configuration; LoadError names the option that is wrong."""
    if not 0 < options.rate <= 10_000:
        raise LoadError(f"--rate {options.rate:g}: expected more than 0, at most 10000")
    if not 0 < options.seconds <= LONGEST_RUN_S:
        raise LoadError(f"--seconds {options.seconds:g}: expected more than 0, at most {LONGEST_RUN_S:g}")
    if not 1 <= options.users <= 2000:
        raise LoadError(f"--users {options.users}: expected 1 to 2000, the demonstration users")
    if not 0 <= options.new_connections <= 1:
        raise LoadError(f"--new-connections {options.new_connections:g}: expected 0 to 1")
    try:
        chosen = mixes.Mix.parse(options.mix) if options.mix else mixes.Mix.of(mixes.DEFAULT)
    except ValueError as error:
        raise LoadError(f"--mix: {error}") from None
    headers = {}
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon:
            raise LoadError(f"--header {header!r}: expected NAME: VALUE")
        headers[name.strip()] = value.strip()
    for edge in options.edge:
        split_address(edge)
    return LoadConfig(
        edges=tuple(options.edge),
        rate=options.rate,
        seconds=options.seconds,
        mix=chosen,
        users=options.users,
        authorization=options.authorization,
        new_connections=options.new_connections,
        host=options.host,
        headers=headers,
        timeout_s=options.timeout,
        seed=options.seed,
        with_parent=options.with_parent,
    )


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write all records as gzipped JSON lines."""
    with gzip.open(path, "wt", compresslevel=3, encoding="utf-8") as file:
        for record in sorted(records):
            file.write(json.dumps(record._asdict()) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parse(arguments)
    try:
        config = config_of(options)
        run = asyncio.run(run_load(config, lambda: options.ready_file and options.ready_file.touch()))
        if options.records:
            write_records(options.records, run.records)
        found = run.summary(read_marks(options.marks) if options.marks else ())
    except (LoadError, ValueError, OSError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    text = json.dumps(found, indent=2) + "\n"
    if options.out:
        fresh = options.out.with_name(options.out.name + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(options.out)
    else:
        sys.stdout.write(text)
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
