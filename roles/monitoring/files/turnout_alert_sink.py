#!/usr/bin/python3
"""A receiver of alerts that keeps what it got: for staging and labs, where a drill asks whether a page came.

    turnout_alert_sink.py 127.0.0.1 9099

A POST is kept, the last thousand of them, in memory alone. `GET /?mark=TEXT` returns those that hold the text, one JSON
object a line with `at` (seconds since the epoch) and `body`; without a mark all. It needs no key to anything.
"""

from __future__ import annotations

import collections
import json
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEPT = 1000
LARGEST = 1_000_000  # bytes of a page
IDLE_S = 30

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Sink(ThreadingHTTPServer):
    """The pages that came."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.pages: collections.deque[tuple[float, str]] = collections.deque(maxlen=KEPT)
        self.lock = threading.Lock()
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Sink
    timeout = IDLE_S

    def do_POST(self) -> None:
        """Keep a page."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= LARGEST:
            self._answer(413, b"")
            return
        body = self.rfile.read(length).decode("utf-8", "replace")
        with self.server.lock:
            self.server.pages.append((time.time(), body))
        self._answer(200, b"")

    def do_GET(self) -> None:
        """Show the pages that hold a mark."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        mark = (query.get("mark") or [""])[0]
        with self.server.lock:
            pages = [(at, body) for at, body in self.server.pages if mark in body]
        text = "".join(json.dumps({"at": round(at, 3), "body": body}) + "\n" for at, body in pages)
        self._answer(200, text.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no line for a request: pages may be private."""


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal; return the exit code."""
    try:
        host, port = arguments[0], int(arguments[1])
    except (IndexError, ValueError):
        print("usage: turnout_alert_sink.py ADDRESS PORT", file=sys.stderr)
        return 2
    Sink((host, port)).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
