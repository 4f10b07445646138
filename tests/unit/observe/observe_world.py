"""What a small file server shows, and the Prometheus that scrapes it."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from turnout.observe import expression, load
from turnout.slo import selector
from turnout.slo.promtests import example

PATIENCE_S = 120.0
BUCKETS = "turnout_edge_request_duration_seconds_bucket"


def series_of(text: str) -> str:
    """Return a series that a selector selects."""
    wanted = selector.parse(text)
    labels = example(wanted)
    assert labels is not None, text
    return wanted.metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def everything() -> list[str]:
    """Return a series for whatever the built-in panels and alerts read."""
    watched = load.load()
    texts = [query.expr for panel in watched.panels for query in panel.queries]
    texts += [alert.expr for alert in watched.alerts]
    texts += [one.where for one in (*watched.panels, *watched.alerts) if one.where]
    found = {series_of(one.text) for text in texts for one in expression.selectors(text)}
    # What goes together only with labels in common, or in buckets.
    found = {one for one in found if not one.startswith(("node_filesystem_", f"{BUCKETS}{{"))}
    found |= {f'node_filesystem_{what}_bytes{{fstype="ext4"}}' for what in ("avail", "size")}
    found |= {f'{BUCKETS}{{route="login",le="{bound}"}}' for bound in ("0.5", "+Inf")}
    return sorted(found)


class Exporter:
    """A scrape target."""

    def __init__(self) -> None:
        self.body = b""
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.body
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def show(self, series: list[str]) -> None:
        self.body = "".join(f"{one} 1\n" for one in series).encode()


class Watcher:
    """The Prometheus, and what it scrapes."""

    def __init__(self, url: str, exporter: Exporter) -> None:
        self.url, self.exporter = url, exporter

    def ask(self, expr: str) -> list[Any]:
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=10)
        answer.raise_for_status()
        return list(answer.json()["data"]["result"])

    def until(self, expr: str, *, there: bool) -> None:
        """Wait until an expression has a result, or none."""
        end = time.monotonic() + PATIENCE_S
        while bool(self.ask(expr)) is not there:
            assert time.monotonic() < end, f"{expr} is {'not there' if there else 'still there'}"
            time.sleep(0.1)

    def show(self, series: list[str]) -> None:
        """Show exactly these series, and wait until Prometheus has them, twice: for what needs two samples."""
        mark = f'shown{{at="{time.monotonic_ns()}"}}'
        self.exporter.show([*series, mark])
        self.until(f"count_over_time({mark}[5m]) > 2", there=True)
