"""A real Prometheus on loopback and scrape targets that a test moves. `make setup` unpacks Prometheus."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from turnout.judge.prometheus import CounterReader
from turnout.slo import parse

INTERVAL_S = 1.0
PATIENCE_S = 120.0

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: %(name)s}
spec:
  service: sample
  objectives: [{target: 0.99}]
  indicator:
    spec:
      ratioMetric:
        %(role)s:
          metricSource:
            type: Prometheus
            spec: {query: '%(part)s', %(part_more)s}
        total:
          metricSource:
            type: Prometheus
            spec: {query: '%(total)s', %(total_more)s}
"""


class App:
    """A scrape target whose counters a test moves."""

    def __init__(self):
        self.lines: dict[str, float] = {}
        self.lock = threading.Lock()
        self.scrapes = 0
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with app.lock:
                    app.scrapes += 1
                    body = "".join(f"{series} {value}\n" for series, value in app.lines.items()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.handler = Handler
        self.port = 0
        self.start()

    def start(self):
        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def set(self, **series):
        self.replace({**self.lines, **series})

    def replace(self, lines):
        with self.lock:
            self.lines = dict(lines)

    def add(self, series, count):
        with self.lock:
            self.lines[series] = self.lines.get(series, 0) + count


def series(code, path="/", name="http_requests_total"):
    return f'{name}{{code="{code}",path="{path}"}}'


# A metric of their own for tests of several series: what one of them showed is in the history that others read.
ROUTED = "routed_total"
ROUTED_SLO = {"total": f'{ROUTED}{{job="api"}}', "part": f'{ROUTED}{{job="api",code=~"5.."}}'}


def routed(*paths):
    return {series(200, path, ROUTED): 5.0 for path in paths}


class World:
    def __init__(self, url, apps, process, folder):
        self.url, self.apps, self.process, self.folder = url, apps, process, folder

    def slos(self, name="api", role="bad", part=None, total=None, part_more="", total_more=""):
        folder = self.folder / f"slos-{time.monotonic_ns()}"
        folder.mkdir()
        default = 'http_requests_total{job="api"'
        values = {
            "name": name,
            "role": role,
            "part": part or default + ',code=~"5.."}',
            "part_more": part_more or "sumOver: [code], absentIsZero: true",
            "total": total or default + "}",
            "total_more": total_more or "sumOver: [code]",
        }
        (folder / "slo.yml").write_text(SLO % values, encoding="utf-8")
        slos = parse.load(folder)
        parse.check(slos)
        return slos

    def scraped(self, *names):
        """Wait until what these targets show now is in Prometheus: the second scrape from now ends after the first."""
        wanted = {name: self.apps[name].scrapes + 2 for name in names or self.apps}
        end = time.monotonic() + PATIENCE_S
        while any(self.apps[name].scrapes < count for name, count in wanted.items()):
            assert time.monotonic() < end, "Prometheus does not scrape"
            time.sleep(0.05)

    def reader(self, **options):
        return CounterReader(self.url, self.slos(**options), stable="blue", candidate="green")


def until(reader, condition, what):
    """Read until a condition holds, and return the reading: a loaded machine scrapes when it can."""
    end = time.monotonic() + PATIENCE_S
    while True:
        reading = reader.read()
        if condition(reading):
            return reading
        assert time.monotonic() < end, f"{what}; last {reading}"
        time.sleep(INTERVAL_S / 2)


def both(reading, name="api"):
    pair = reading.slos[name]
    return pair.stable is not None and pair.candidate is not None


def grown(before, after, color):
    one, other = (getattr(reading.slos["api"], color) for reading in (before, after))
    return other.total - one.total, other.bad - one.bad
