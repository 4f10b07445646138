"""The sample's processes beside the API, as processes: how an event stream ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port

SERVICE = Path(__file__).resolve().parents[3] / "examples" / "sample_service"


@contextmanager
def running(program: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    env = {**os.environ, "PORT": str(port), "BIND": "127.0.0.1", "EVENTS_EVERY_S": "0.05", "TURNOUT_COLOR": "blue"}
    process = subprocess.Popen(
        [sys.executable, str(SERVICE / "bin" / program)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        while "listening" not in process.stdout.readline():
            assert process.poll() is None
        yield process, port
    finally:
        process.kill()
        process.communicate()


def opened(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    return response


def test_streams_end_by_their_own_word_and_the_process_goes_on() -> None:
    with running("events") as (process, port):
        assert opened(port, "/events/?n=2").read().decode().split("\n\n")[1:4] == [
            "data: 0", "data: 1", "event: end\ndata: blue",
        ]  # fmt: skip
        first, second = opened(port, "/events/"), opened(port, "/events/")
        assert json.loads(first.readline() + first.readline() and first.readline()[6:])["color"] == "blue"
        process.send_signal(signal.SIGUSR1)
        for stream in (first, second):
            assert stream.read().decode().endswith("event: reconnect\ndata: blue\n\n")
        assert opened(port, "/events/health/").read()
        third = opened(port, "/events/")
        process.send_signal(signal.SIGTERM)
        assert third.read().decode().endswith("event: reconnect\ndata: blue\n\n")
        assert process.wait(10) == 0


def test_a_stop_is_seen_by_health_checks_first() -> None:
    with running("admin") as (process, port):
        assert b"in blue" in opened(port, "/admin/").read()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/admin/health/")
        assert connection.getresponse().status == 503
        connection.close()
        assert process.wait(10) == 0
