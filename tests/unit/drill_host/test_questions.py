"""The way into the cage: for one user, for as long as somebody holds it, and told where nobody came."""

from __future__ import annotations

import http.server
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from turnout_drill.isolation import Isolation
from turnout_drill.place import Place
from turnout_drill.questions import GREETING, Questions
from turnout_drill.service import hidden


class Here(Isolation):
    """The host's own network in the place of a namespace."""

    def inside(self, function: Callable[[], Any]) -> Any:
        return function()


class Answering(http.server.BaseHTTPRequestHandler):
    """An API that answers with the path that it was asked for."""

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Questions]:
    """Return an open way to an API that runs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = Place(str(tmp_path), "one")
    place.folder.mkdir()
    place.say = lambda state: (place.folder / "state.json").write_text(json.dumps(state))  # type: ignore[assignment, method-assign]
    place.questions = tmp_path / "q"
    made = Questions(place, Here("none"), server.server_address[1], os.getuid())
    made.open()
    yield made
    server.shutdown()
    server.server_close()


def held(asked: Questions) -> socket.socket:
    """Return a connection that holds the cage, once that is known there."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    holder.connect(str(asked.place.questions / "held"))
    holder.settimeout(10)
    assert holder.recv(64) == GREETING
    return holder


def test_the_api_answers_through_the_socket_and_nobody_else_may_use_it(asked: Questions) -> None:
    folder = asked.place.questions
    assert asked.place.state()["asking"] == {"api": str(folder / "api"), "held": str(folder / "held")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("api", "held")} == {0o600}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(folder / "api"))
        client.sendall(b"GET /tasks HTTP/1.0\r\n\r\n")
        said = b""
        while piece := client.recv(4096):
            said += piece
    assert said.endswith(b"/tasks")


def test_the_cage_stays_while_somebody_holds_it_and_ends_when_the_last_one_goes(asked: Questions) -> None:
    first, second = held(asked), held(asked)
    ended: list[str | None] = []
    waiting = threading.Thread(target=lambda: ended.append(asked.wait(10, 60)))
    waiting.start()
    first.close()
    time.sleep(0.1)
    assert ended == []
    second.close()
    waiting.join(10)
    assert ended == [None]


def test_a_cage_to_which_nobody_came_or_in_which_somebody_stayed_says_so(asked: Questions) -> None:
    assert "nobody came to ask within 0 s" in str(asked.wait(0, 60))
    holder = held(asked)
    assert asked.wait(10, 0) == "the questions took longer than 0 s"
    holder.close()


def test_no_value_of_an_environment_is_told() -> None:
    text = 'DATABASE_URL="postgresql://app:s3cr\\"et@db/shop"\nDEBUG=1\n'
    said = 'cannot log in with s3cr"et at postgresql://app:s3cr"et@db/shop, attempt 1'
    assert hidden(said, [text, ""]) == "cannot log in with [DATABASE_URL] at [DATABASE_URL], attempt 1"
