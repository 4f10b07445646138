"""The pack `cold` against a real server with a real Redis, which hooks empty, stop and start."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from desk import Desk, declaration
from desk_bed import ask, laid, repeated
from ports import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from turnout.acceptance.hooks import Hooks, call
from turnout.acceptance.outcome import Outcome
from turnout.faults import FaultsError

SERVER = Path(sys.executable).parent / "redis-server"
WARM = {"request": "GET /cached", "within_seconds": 2, "degraded": [503]}


@pytest.fixture
def given(desk: Desk, tmp_path: Path) -> Iterator[Hooks]:
    """A Redis that is the desk's, and the commands that take it away."""
    port, pid = free_port(), tmp_path / "redis.pid"
    client = redis.Redis(port=port, socket_timeout=10, socket_connect_timeout=10, retry=Retry(NoBackoff(), 0))
    start, stop = tmp_path / "start.sh", tmp_path / "stop.sh"
    flush = f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo FLUSHALL >&3; read -r said <&3; [[ $said == +OK* ]]"
    begin = f"{SERVER} --port {port} --save '' --daemonize yes --pidfile {pid} --dir {tmp_path} >/dev/null"
    start.write_text(f"{begin}\nuntil [ -s {pid} ]; do sleep 0.05; done\n")
    stop.write_text(f"p=$(cat {pid}); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.05; done; rm -f {pid}\n")
    assert call(f"sh {start}") == ""
    desk.cache, desk.stopped_before = client, False
    yield Hooks(cache_empty=shlex.join(["bash", "-c", flush]), cache_stop=f"sh {stop}", cache_start=f"sh {start}")
    desk.cache = None
    client.close()
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def asked(desk: Desk, folder: Path, hooks: Hooks, **changed: Any) -> Outcome:
    return ask(desk, folder, declaration("cold", cold={"asks": [{**WARM, **changed}], "recover_seconds": 3}), hooks)


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        ("slow without a cache", ("cache emptied", r"answered 200 after [\d.]+ s; declared: an answer within 2 s")),
        ("no answer without a cache", ("cache stopped", r"answered 500 after .*; declared: an answer or 503 within")),
        ("cache is needed", ("cache started again", r"answered 500 .* 3 s after the cache was there again")),
    ],
)
def test_a_mutant_is_caught_by_its_pack(
    desk: Desk, tmp_path: Path, given: Hooks, mutant: str, told: tuple[str, str]
) -> None:
    field, what = told
    desk.mutants = frozenset({mutant})
    outcome = asked(desk, tmp_path, given)
    found = [one for one in outcome.findings if one.field == field]
    assert [(one.pack, one.operation) for one in found] == [("cold", "GET /cached")], outcome
    assert re.match(what, found[0].what), found
    assert repeated(found[0], outcome).startswith("HTTP/1.1 ")


def test_the_sound_application_passes_each_time(desk: Desk, tmp_path: Path, given: Hooks) -> None:
    for _ in range(3):
        outcome = asked(desk, tmp_path, given, within_seconds=20)
        assert (outcome.verdict, outcome.findings, outcome.unknown) == ("pass", (), ())


def test_without_commands_or_with_those_that_fail_it_is_not_known(desk: Desk, tmp_path: Path, given: Hooks) -> None:
    outcome = asked(desk, tmp_path, Hooks(), within_seconds=5)
    assert (outcome.verdict, outcome.findings) == ("not known", ())
    assert [one.why for one in outcome.unknown] == [
        "it was not emptied: --cache-empty COMMAND is not given",
        "it was not stopped: --cache-stop and --cache-start COMMAND",
    ]
    outcome = asked(desk, tmp_path, replace(given, cache_stop="false"), within_seconds=5)
    assert [one.why for one in outcome.unknown] == ["it was not stopped: the command of --cache-stop: it ended with 1"]


def test_what_is_slow_with_the_cache_proves_nothing(desk: Desk, tmp_path: Path, given: Hooks) -> None:
    outcome = asked(desk, tmp_path, given, request="GET /nowhere")
    assert outcome.verdict == "not known"
    assert re.match(r"answered 404 after [\d.]+ s with the cache", outcome.unknown[0].why)


def test_a_pack_without_what_it_asks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaultsError) as caught:
        laid(tmp_path, declaration("cold"))
    assert [fault.path for fault in caught.value.faults] == ["acceptance.cold"]
