"""The reader against a real Prometheus on loopback (apt-get install prometheus): without it these fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from shutil import which

import pytest
import requests
import yaml
from turnout.errors import TurnoutError
from turnout.judge.core import Judge
from turnout.judge.model import Verdict
from turnout.judge.prometheus import Reader
from turnout.slo import parse

INTERVAL_S = 0.5
PATIENCE_S = 60.0

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
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with app.lock:
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


def series(code, path="/"):
    return f'http_requests_total{{code="{code}",path="{path}"}}'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    assert which("prometheus"), "prometheus is needed: apt-get install prometheus"
    folder = tmp_path_factory.mktemp("prometheus")
    apps = {name: App() for name in ("blue1", "blue2", "green1", "edge")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jobs = [
        {
            "job_name": "api",
            "static_configs": [
                {
                    "targets": [f"127.0.0.1:{app.port}"],
                    "labels": {"color": name[:-1], "host": f"app{name[-1]}"},
                }
                for name, app in apps.items()
                if name != "edge"
            ],
        },
        {"job_name": "haproxy", "static_configs": [{"targets": [f"127.0.0.1:{apps['edge'].port}"]}]},
    ]
    interval = f"{int(INTERVAL_S * 1000)}ms"
    config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                if requests.get(f"{url}/-/ready", timeout=1).ok:
                    break
            except requests.RequestException:
                pass
            assert time.monotonic() < end, "Prometheus did not become ready"
            time.sleep(0.1)
        yield World(url, apps, process, folder)
    finally:
        process.kill()
        process.wait()
        for app in apps.values():
            app.server.shutdown()


class World:
    def __init__(self, url, apps, process, folder):
        self.url, self.apps, self.process, self.folder = url, apps, process, folder

    def slos(self, name="api", role="bad", part=None, total=None, part_more="", total_more=""):  # noqa: PLR0917
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

    def reader(self, **options):
        return Reader(self.url, self.slos(**options), stable="blue", candidate="green")


@pytest.fixture
def fresh(world):
    """All targets up, counting from zero, and scraped so."""
    for name, app in world.apps.items():
        app.replace({series(200): 0.0} if name != "edge" else {})
    yield world
    os.kill(world.process.pid, signal.SIGCONT)


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


def test_counts_are_exact_over_targets_codes_and_colors(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    fresh.apps["blue1"].add(series(200), 100)
    fresh.apps["blue2"].add(series(200), 50)
    fresh.apps["blue2"].add(series(503), 2)
    fresh.apps["green1"].add(series(200), 9)
    fresh.apps["green1"].add(series(500), 1)
    after = until(
        reader,
        lambda r: both(r) and grown(before, r, "stable")[0] >= 152 and grown(before, r, "candidate")[0] >= 10,
        "the counts",
    )
    assert grown(before, after, "stable") == (152, 2)
    assert grown(before, after, "candidate") == (10, 1)
    assert after.problems == ()
    after.require(("blue", "green"))


def test_a_restart_of_one_of_two_processes_is_no_burst(fresh):
    for name in ("blue1", "blue2"):
        fresh.apps[name].set(**{series(200): 1e6, series(500): 1e4})
    reader = fresh.reader()
    before = until(reader, lambda r: both(r) and r.slos["api"].stable.total >= 0, "both colors")
    time.sleep(3 * INTERVAL_S)
    before = until(reader, both, "both colors")
    fresh.apps["blue2"].replace({series(200): 7.0})
    fresh.apps["blue1"].add(series(200), 5)
    after = until(reader, lambda r: both(r) and grown(before, r, "stable")[0] >= 12, "the counts")
    assert grown(before, after, "stable") == (12, 0)


def test_a_good_query_and_a_color_from_another_label(fresh):
    proxy = 'http_total{proxy="api-%s",code="%s"}'
    edge = fresh.apps["edge"]
    edge.replace({proxy % (color, code): 0.0 for color in ("blue", "green") for code in ("2xx", "5xx")})
    more = "colorLabel: proxy, colorValue: 'api-{color}'"
    reader = fresh.reader(
        role="good",
        part='http_total{job="haproxy",code="2xx"}',
        part_more=more,
        total='http_total{job="haproxy"}',
        total_more=f"{more}, sumOver: [code]",
    )
    before = until(reader, both, "both colors")
    edge.add(proxy % ("blue", "2xx"), 30)
    edge.add(proxy % ("green", "2xx"), 8)
    edge.add(proxy % ("green", "5xx"), 2)
    after = until(reader, lambda r: both(r) and grown(before, r, "candidate")[0] >= 10, "the counts")
    assert grown(before, after, "candidate") == (10, 2)
    assert grown(before, after, "stable") == (30, 0)


def problem_of(reading, color="green"):
    (found,) = [p for p in reading.problems if p.color == color]
    return found


def test_a_target_that_is_gone_is_missing_and_comes_back(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    fresh.apps["green1"].stop()
    gone = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert gone.slos["api"].stable is not None
    assert "up is 0" in problem_of(gone).seen or "last scraped" in problem_of(gone).seen
    with pytest.raises(TurnoutError) as caught:
        gone.require(("blue", "green"))
    assert "slo.yml:" in caught.value.observed
    fresh.apps["green1"].add(series(200), 6)
    fresh.apps["green1"].start()
    after = until(reader, lambda r: both(r) and grown(before, r, "candidate")[0] >= 6, "the candidate to be back")
    assert grown(before, after, "candidate") == (6, 0)


def test_series_that_are_gone_from_a_target_that_answers_are_missing(fresh):
    reader = fresh.reader()
    until(reader, both, "both colors")
    fresh.apps["green1"].replace({"other_total": 1.0})
    gone = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert "had no series" in problem_of(gone).seen


def test_a_query_that_returns_nothing_is_an_error_that_names_its_place(fresh):
    reader = fresh.reader(total='http_reqests_total{job="api"}')
    reading = reader.read()
    assert reading.slos["api"].stable is None
    with pytest.raises(TurnoutError) as caught:
        reading.require(("blue", "green"))
    assert caught.value.code == "query-nothing"
    assert "slo.yml:17: spec.indicator.spec.ratioMetric.total.metricSource.spec.query" in caught.value.observed
    assert 'http_reqests_total{job="api",color="blue"} returned no series' in caught.value.observed
    assert "match[]=" in caught.value.remedy


def test_a_query_that_returns_several_kinds_of_series_is_an_error_that_names_the_labels(fresh):
    reader = fresh.reader()
    until(reader, both, "both colors")
    fresh.apps["green1"].set(**{series(200, path="/other"): 5.0})
    several = until(reader, lambda r: r.slos["api"].candidate is None, "the candidate to be missing")
    assert problem_of(several).code == "query-several"
    assert "differ in path" in problem_of(several).seen
    assert "sumOver: [path]" in problem_of(several).remedy
    assert several.slos["api"].stable is not None


def test_a_prometheus_that_does_not_answer_makes_everything_missing_and_time_goes_on(fresh):
    reader = fresh.reader()
    before = until(reader, both, "both colors")
    os.kill(fresh.process.pid, signal.SIGSTOP)
    silent = reader.read()
    later = reader.read()
    assert silent.slos["api"] == later.slos["api"] == type(silent.slos["api"])(None, None)
    assert {p.code for p in silent.problems} == {"prometheus-unreachable"}
    assert before.at_s < silent.at_s < later.at_s
    os.kill(fresh.process.pid, signal.SIGCONT)
    until(reader, both, "both colors again")


def test_no_prometheus_at_all(fresh):
    reader = Reader("http://127.0.0.1:9", fresh.slos(), stable="blue", candidate="green")
    with pytest.raises(TurnoutError, match="gave no answer") as caught:
        reader.read().require(("blue", "green"))
    assert caught.value.code == "prometheus-unreachable"
    with pytest.raises(TurnoutError):
        reader.history()


def test_history_is_stables_readings_at_times_below_zero(fresh):
    reader = fresh.reader()
    start = until(reader, both, "both colors")
    for _ in range(6):
        for name in ("blue1", "blue2"):
            fresh.apps[name].add(series(200), 10)
            fresh.apps[name].add(series(500), 1)
        time.sleep(INTERVAL_S)
    until(reader, lambda r: both(r) and grown(start, r, "stable")[0] >= 132, "the counts")
    history = reader.history(seconds=60.0)
    known = [s.slos["api"].stable for s in history if s.slos["api"].stable is not None]
    assert all(s.t_s < 0 for s in history)
    assert [s.t_s for s in history] == sorted(s.t_s for s in history)
    assert len(known) >= 6
    # The targets began anew for this test, so only growth is compared.
    assert known[-1].bad - min(k.bad for k in known) >= 12
    assert all(a.total <= b.total for a, b in pairwise(known))


def test_from_the_scrape_to_the_verdict(fresh):
    slos = fresh.slos()
    reader = Reader(fresh.url, slos, stable="blue", candidate="green")
    first = until(reader, both, "both colors")
    judge = Judge([slo.for_judge() for slo in slos.values()])
    state, verdicts = judge.begin(), []
    end = time.monotonic() + PATIENCE_S
    while Verdict.ROLLBACK not in verdicts:
        assert time.monotonic() < end, verdicts
        fresh.apps["blue1"].add(series(200), 95)
        fresh.apps["green1"].add(series(500), 5)
        time.sleep(INTERVAL_S)
        scrape = reader.read().scrape(started_s=first.at_s, share_bp=500, next_share_bp=2500)
        state, judgement = judge.observe(state, scrape)
        verdicts.append(judgement.verdict)
    assert Verdict.PROMOTE not in verdicts
