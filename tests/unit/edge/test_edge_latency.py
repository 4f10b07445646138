"""Answers and their times by color and route, counted by the real mtail from the real HAProxy's log."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.turnout.ops.plugins.filter.edge import latency_bounds, route_faults, route_regex
from click.testing import CliRunner
from ports import free_port
from real_edge import REPOSITORY, RealEdge
from turnout.cli import cli
from turnout.judge.core import Judge
from turnout.judge.model import Judgement, Verdict
from turnout.judge.prometheus import CounterReader
from turnout.slo import parse

ROUTES = [
    {"name": "post-item", "path": "/items/{id}", "methods": ["POST", "PUT"]},
    {"name": "item", "path": "/items/{id}"},
    {"name": "static", "path": "/static/*"},
    {"name": "stream", "path": "/stream/{tenths}"},
    {"name": "dotted", "path": "/v1.0/a+b"},
]
COUNTER = "turnout_edge_requests_total"
HISTOGRAM = "turnout_edge_request_duration_seconds"
Series = dict[tuple[str, str, str], float]


class CountingEdge(RealEdge):
    """An edge with what counts beside it, as its unit starts it."""

    def __init__(self, folder: Path, **variables: Any) -> None:
        variables = {"edge_latency_routes": ROUTES, **variables}
        super().__init__(folder, **variables)
        programs = folder / "programs"
        programs.mkdir()
        (programs / "turnout.mtail").write_text(self.render(variables, "turnout.mtail.j2"))
        self.begin = folder / "begin.py"
        self.begin.write_text(self.render(variables, "turnout-edge-latency-begin.j2"))
        self.mtail: subprocess.Popen[bytes] | None = None

    def start_mtail(self) -> None:
        program = shutil.which("mtail")
        assert program, "mtail is not installed; expected: the real one; to mend: make setup"
        for name in ("log", "http"):
            (self.folder / name).unlink(missing_ok=True)
        words = [
            program, "--progs", str(self.folder / "programs"), "--logs", f"unix://{self.folder}/log",
            "--unix_socket", f"{self.folder}/http", "--poll_interval", "50ms", "--emit_prog_label=false",
            "--vm_logs_runtime_errors=false", "--logtostderr",
        ]  # fmt: skip
        said = (self.folder / "mtail.log").open("ab")
        self.mtail = subprocess.Popen(words, stdout=said, stderr=said)
        subprocess.run([sys.executable, self.begin, f"{self.folder}/log"], check=True, timeout=30)

    def kill_mtail(self) -> None:
        assert self.mtail is not None
        self.mtail.kill()
        self.mtail.wait()

    def stop(self) -> None:
        if self.mtail is not None and self.mtail.poll() is None:
            self.kill_mtail()
        super().stop()

    def scrape(self, path: str = "/latency") -> str:
        with socket.create_connection(("127.0.0.1", self.metrics_port), timeout=5) as to:
            to.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: to.recv(65536), b"")).decode()

    def series(self, name: str = COUNTER, **wanted: str) -> Series:
        """Return the series of a name by color, route and code; empty while nothing answers."""
        head, _, body = self.scrape().partition("\r\n\r\n")
        if " 200 " not in head.splitlines()[0]:
            return {}
        found = [
            (dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
            for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", body, re.M)
        ]
        return {
            (labels["color"], labels["route"], labels["code"]): value
            for labels, value in found
            if wanted.items() <= labels.items()
        }

    def counted(self) -> Series:
        return {labels: value for labels, value in self.series().items() if value}

    def wait_counted(self, total: float) -> Series:
        self.wait_for(lambda: sum(self.series().values()) >= total, f"{total:g} counted requests")
        time.sleep(0.2)  # too many would be wrong too
        counted = self.counted()
        assert sum(counted.values()) == total, counted
        return counted

    def get_items(self, count: int) -> None:
        for _ in range(count):
            self.get("/items/1")

    def say(self, request: bytes) -> bytes:
        """Send bytes to the frontend as they are."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as to:
            to.sendall(request)
            return b"".join(iter(lambda: to.recv(65536), b""))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[CountingEdge]:
    edge = CountingEdge(tmp_path)
    try:
        edge.start_mtail()
        edge.start()
        yield edge
    finally:
        edge.stop()


def test_a_connection_that_stayed_open_is_no_slow_answer_and_no_failure_however_it_ends(tmp_path: Path) -> None:
    events = {"route": {"path": "/events"}, "long": {"end": "keep"}}
    edge = CountingEdge(tmp_path, web={"events": events}, edge_latency_routes=[])
    try:
        edge.start_mtail()
        edge.start()
        assert edge.series()["green", "web-events", "5xx"] == 0, "there at zero"
        assert edge.get("/events/hold/1")[0] == 200  # ended by its protocol
        cut = edge.say(b"GET /events/cut HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"data: open" in cut
        assert not cut.endswith(b"0\r\n\r\n"), "its process was stopped while it was open"
        upgrade = b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n"
        assert edge.say(b"GET /events/tunnel HTTP/1.1\r\nHost: x\r\n" + upgrade).endswith(b"hello")
        with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as leaves:
            leaves.sendall(b"GET /events/hold/1.5 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in leaves.recv(4096)
            time.sleep(0.5)
        assert edge.wait_counted(4) == {
            ("blue", "web-events", "2xx"): 3, ("blue", "web-events", "1xx"): 1,
        }  # fmt: skip
        assert sum(edge.series(f"{HISTOGRAM}_bucket", le="0.3").values()) == 4, "until the answer's headers"
        blue = edge.ask("show")["backends"]["blue"]
        assert (blue["hrsp_5xx"], blue["hrsp_2xx"], blue["hrsp_1xx"]) == (0, 3, 1)
    finally:
        edge.stop()


def test_answers_and_times_are_counted_by_color_and_route(edge: CountingEdge) -> None:
    names = [*(route["name"] for route in ROUTES), "other"]
    begun = edge.series()
    assert begun == {(c, r, k): 0 for c in ("blue", "green") for r in names for k in ("2xx", "5xx")}, "there at zero"

    for path in ("/items/7", "/items/7?secret=1", "/items/", "/items/7/8", "/static/", "/static/a/b", "/v1.0/a+b"):
        edge.get(path, X_Turnout_Color="green")
    edge.get("/v1x0/aab")
    edge.say(b"POST /items/9 HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
    edge.get("/stream/5")  # its headers come at once, its end after half a second
    assert edge.wait_counted(10) == {
        ("green", "item", "2xx"): 2,
        ("green", "static", "2xx"): 2,
        ("green", "dotted", "2xx"): 1,
        ("green", "other", "2xx"): 2,
        ("blue", "other", "2xx"): 1,
        ("blue", "post-item", "2xx"): 1,
        ("blue", "stream", "2xx"): 1,
    }
    assert edge.series(f"{HISTOGRAM}_count") == edge.counted(), "one histogram beside the counter"
    assert edge.series(f"{HISTOGRAM}_bucket", le="0.3")["blue", "stream", "2xx"] == 1, "until the answer's headers"
    assert edge.series(f"{HISTOGRAM}_bucket", le="+Inf") == edge.counted()


def test_a_color_without_a_server_counts_as_errors(edge: CountingEdge) -> None:
    edge.services["green"].healthy = False
    edge.wait_for(lambda: edge.get(X_Turnout_Color="green")[0] == 503, "green out of service")
    edge.wait_for(lambda: ("green", "other", "5xx") in edge.counted(), "the error")


def test_no_client_makes_a_series_or_breaks_the_reading(edge: CountingEdge) -> None:
    known = set(edge.series())
    line = b'1.2.3.4:5 [a] public b/s 0/0/0/1/1 200 1 ---- 1/1/1/1/0 0/0 {green|evil} "GET / HTTP/1.1"'
    hostile = [
        b"GET /{green|evil}%20" + line.replace(b" ", b"%20") + b" HTTP/1.0\r\n\r\n",
        b"GET /\x80\xff{blue|evil}\x01 HTTP/1.0\r\n\r\n",
        b'GET /" {green|evil} "?{green|evil} HTTP/1.0\r\n\r\n',
        b"GET /a HTTP/1.0\r\nUser-Agent: " + line + b"\r\nHost: {green|evil}\r\nX-Turnout-Route: evil\r\n\r\n",
        b"GET /" + b"a" * 6000 + b" HTTP/1.0\r\n\r\n",
        b"GET http://evil/items/1?x HTTP/1.0\r\n\r\n",
        b"begin green evil 2xx\r\n\r\n",
        b"GET /\nbegin green evil 2xx\n HTTP/1.0\r\n\r\n",
        b"EVIL" + b"L" * 60 + b" /items/1 HTTP/1.0\r\n\r\n",
    ]
    for request in hostile:
        edge.say(request)
    edge.get_items(5)
    edge.wait_for(lambda: edge.counted().get(("blue", "item", "2xx"), 0) >= 6, "what came after them")
    time.sleep(0.2)
    assert {labels[:2] for labels in edge.series()} == {labels[:2] for labels in known}
    assert {labels for labels in edge.counted() if labels[0] == "green"} == set()
    said = (edge.folder / "mtail.log").read_text()
    assert "evil" not in said, "no text of a request in the journal"


def test_a_long_path_counts_like_any_other(edge: CountingEdge) -> None:
    edge.get("/items/" + "a" * 5000)
    assert edge.wait_counted(1) == {("blue", "item", "2xx"): 1}


def test_nothing_is_lost_while_mtail_is_away_and_nothing_counts_twice(edge: CountingEdge) -> None:
    edge.get_items(20)
    edge.wait_counted(20)
    edge.kill_mtail()
    edge.get_items(30)
    edge.start_mtail()
    assert edge.wait_counted(30) == {("blue", "item", "2xx"): 30}, "a restart begins at zero with what waited"


def test_a_reload_of_haproxy_counts_on(edge: CountingEdge) -> None:
    edge.get_items(10)
    edge.wait_counted(10)
    edge.reload()
    edge.get_items(10)
    edge.wait_counted(20)


def test_haproxy_serves_without_mtail_and_says_that_there_are_no_figures(tmp_path: Path) -> None:
    edge = CountingEdge(tmp_path)
    try:
        edge.start()
        assert edge.get("/items/1")[0] == 200
        assert " 503 " in edge.scrape().splitlines()[0]
        assert " 200 " in edge.scrape("/metrics").splitlines()[0]
    finally:
        edge.stop()


def test_only_the_figures_of_mtail_are_passed_on(edge: CountingEdge) -> None:
    for path in ("/latency/../debug/pprof/", "/debug/vars", "/debug/pprof/", "/json", "/latency/"):
        assert " 200 " not in edge.scrape(path).splitlines()[0]


PROMETHEUS = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: edge-latency
    metrics_path: /latency
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{host: edge1}}}}]
"""


def test_a_slow_color_is_rolled_back_by_the_figures_of_the_edge_alone(tmp_path: Path) -> None:
    """With the objectives that `turnout init` writes, a real Prometheus, and an application without metrics."""
    words = [
        "--service",
        "shop",
        "--edge",
        "e=192.0.2.1",
        "--api",
        "e",
        "--api-command",
        "bin/api",
        "--health",
        "/health",
    ]
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "ops"), *words])
    assert done.exit_code == 0, done.output
    slos = parse.load(tmp_path / "ops/inventories/production/slos")
    health = {"name": "health", "path": "/health"}
    edge = CountingEdge(tmp_path, edge_latency_routes=[health], edge_latency_bounds=["0.1", "0.5", "1"])
    try:
        edge.start_mtail()
        edge.start()
        (tmp_path / "prometheus.yml").write_text(PROMETHEUS.format(port=edge.metrics_port))
        port = free_port()
        words = [
            "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ]  # fmt: skip
        edge.children.append(subprocess.Popen(words, text=True))
        reader = CounterReader(f"http://127.0.0.1:{port}", slos, stable="blue", candidate="green")
        judge = Judge([slo.for_judge() for slo in slos.values()])
        state = judge.begin()

        def judged() -> Judgement:
            nonlocal state
            with ThreadPoolExecutor(20) as users:
                list(users.map(lambda color: edge.get("/items/7", X_Turnout_Color=color), ["blue", "green"] * 20))
            scrape = reader.read().scrape(started_s=began, share_bp=5000, next_share_bp=None)
            state, judgement = judge.observe(state, scrape)
            return judgement

        edge.wait_for(lambda: not reader.read().problems, "both colors in Prometheus")
        began = time.time()
        healthy = [judged().verdict for _ in range(3)]
        assert Verdict.ROLLBACK not in healthy
        edge.services["green"].delay_s = 0.6
        deadline = time.monotonic() + 60
        while (last := judged()).verdict != Verdict.ROLLBACK:
            assert time.monotonic() < deadline, last
        worst = max(last.slos, key=lambda each: min(each.e_abs, each.e_rel))
        assert worst.name == "api-latency"
    finally:
        edge.stop()


@pytest.mark.parametrize("latency", [True, False])
def test_the_query_is_in_no_line_of_the_log(tmp_path: Path, latency: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "journal"))
        log.settimeout(10)
        extra = f"log {tmp_path}/journal len 2048 format raw local0"
        edge = CountingEdge(tmp_path, edge_latency=latency, edge_extra_frontend=extra)
        try:
            edge.start()
            edge.get("/items/7?token=s3cret")
            line = log.recv(4096).decode()
        finally:
            edge.stop()
    assert re.search(r'"GET /items/7 HTTP/1\.1"\n?$', line), line
    assert "s3cret" not in line
    assert ("{blue|item}" in line) == latency


def test_without_counting_nothing_is_left_of_it(tmp_path: Path) -> None:
    edge = CountingEdge(tmp_path, edge_latency=False)
    try:
        text = edge.haproxy_cfg.read_text()
        assert "ring turnout" not in text
        assert "txn.turnout_route" not in text
        edge.start()
        assert edge.get("/items/1")[0] == 200
    finally:
        edge.stop()


@pytest.mark.parametrize(
    ("path", "regex"),
    [
        ("/", "^/$"),
        ("/a/{id}", "^/a/[^/]+$"),
        ("/v1.0/{a}/b+c/", "^/v1[.]0/[^/]+/b[+]c/$"),
        ("/static/*", "^/static/"),
        ("/*", "^/"),
    ],
)
def test_a_path_is_a_pattern(path: str, regex: str) -> None:
    assert route_regex(path) == regex


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"name": "other", "path": "/"}, "'other'"),
        ({"name": "A", "path": "/"}, "name 'A'"),
        ({"path": "/"}, "name None"),
        ({"name": "a", "path": "/[a-z]+"}, "path '/[a-z]+'"),
        ({"name": "a", "path": "a"}, "path 'a'"),
        ({"name": "a", "path": "/a*b"}, "path"),
        ({"name": "a", "path": "/a*"}, "path"),
        ({"name": "a", "path": "/a b"}, "path"),
        ({"name": "a", "path": "/a\n"}, "path"),
        ({"name": "a", "path": "/a", "methods": ["get"]}, "methods"),
        ({"name": "a", "path": "/a", "methods": "GET"}, "methods"),
        ({"name": "a", "path": "/a", "method": "GET"}, "method"),
        ("/a", "'/a'"),
    ],
)
def test_a_route_that_cannot_be_is_told(route: Any, says: str) -> None:
    (fault,) = route_faults([route])
    assert says in fault


def test_routes_are_few_and_have_names_of_their_own() -> None:
    assert route_faults(ROUTES) == []
    assert "twice" in route_faults([ROUTES[1], ROUTES[1]])[0]
    assert route_faults([{"name": f"r{n}", "path": f"/{n}"} for n in range(31)]) == [
        "edge_latency_routes has 31 routes"
    ]


SLO = (REPOSITORY / "inventories/lab/slos/latency-tasks.yml").read_text()


def slo(folder: Path, matchers: str) -> Path:
    part = f"turnout_edge_request_duration_seconds_bucket{{{matchers}}}"
    text = re.sub(r"query: 'http_request_duration_seconds_bucket.*", f"query: '{part}'", SLO)
    (folder / "slo.yml").write_text(text)
    return folder


def test_every_threshold_of_an_slo_is_a_bound(tmp_path: Path) -> None:
    assert latency_bounds([1, 0.1], tmp_path / "missing") == ["0.1", "1"]
    assert latency_bounds([1, 0.1], slo(tmp_path, 'route="item",le="0.35"'), ROUTES) == ["0.1", "0.35", "1"]
    assert latency_bounds([1, 0.1], slo(tmp_path, 'route=~"item|gone",le="0.1"'), ROUTES) == ["0.1", "1"]


@pytest.mark.parametrize(
    ("matchers", "says"),
    [
        ('le="0.350"', r'error\[edge-slo-threshold\]: .*slo\.yml:\d+: .*le="0\.35"'),
        ('le="300ms"', r"error\[edge-slo-threshold\]"),
        ('le=~"0.3"', r"error\[edge-slo-threshold\]"),
        (
            'route="itemz",le="0.3"',
            r"error\[edge-slo-route\]: .*slo\.yml:\d+: .*no route is route=\"itemz\".*item, other",
        ),
    ],
)
def test_what_can_never_be_counted_is_refused(tmp_path: Path, matchers: str, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        latency_bounds([1], slo(tmp_path, matchers), ROUTES)


def test_a_bound_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleFilterError, match=r"error\[edge-buckets\]"):
        latency_bounds([0, 1], tmp_path / "missing")
