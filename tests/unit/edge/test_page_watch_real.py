"""The guard between deploys beside a real Prometheus and a real Alertmanager, with the rules that Turnout writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from alertmanager_server import alertmanager_program
from edge_model import ModelEdge, edge_confirmed, hand_over
from ports import free_port
from turnout.slo import rules
from turnout_edge.store import Clock

sys.path.insert(0, str(Path(__file__).parents[3] / "roles" / "page_watch" / "files"))

import turnout_page_watch as guard

WAIT_S = 60.0


class Monitoring:
    """Prometheus and Alertmanager on loopback; the SLO's bad ratio is what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"prometheus": free_port(), "alertmanager": free_port(), "cluster": free_port()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def set_ratio(self, ratio: float) -> None:
        """Write the rules: recorded ratios of one height, and the alert that Turnout writes for the fastest burn."""
        burn = rules.BURNS[0]
        named = {"slo": "api", "service": "sample"}
        recorded = [{"record": "slo:objective", "expr": "vector(0.99)", "labels": named}] + [
            {"record": f"slo:bad_ratio:rate{window}", "expr": f"vector({ratio})", "labels": named}
            for window in (burn.long, burn.short)
        ]
        limit, matching = 14.4 * 0.01, '{slo="api",service="sample"}'
        alert = {
            "alert": rules.ALERT,
            "expr": f"slo:bad_ratio:rate1h{matching} > {limit} and slo:bad_ratio:rate5m{matching} > {limit}",
            "labels": {**named, "severity": "page", "burn": "14.4", "long": burn.long, "short": burn.short},
            "annotations": {"summary": "sample: API burns 14.4 times its budget"},
        }
        group = {"name": "slo", "interval": "1s", "rules": [*recorded, alert]}
        (self.folder / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))

    def start(self) -> None:
        self.set_ratio(0.0)
        target = {"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": [str(self.folder / "rules.yml")],
            "alerting": {"alertmanagers": [target]},
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        route = {"route": {"receiver": "none", "group_wait": "0s"}, "receivers": [{"name": "none"}]}
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(route))
        prometheus = shutil.which("prometheus")
        assert prometheus, "prometheus is not installed; expected: the real one; to mend: make setup"
        self.run(
            "prometheus",
            prometheus,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
            "--web.enable-lifecycle",
        )
        self.run(
            "alertmanager",
            str(alertmanager_program(self.folder)),
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}",
            "--cluster.listen-address=",
        )
        until(lambda: self.recorded() == 0.0, "the first recorded ratio")
        until(lambda: fetched(f"{self.address('alertmanager')}/-/ready") is not None, "Alertmanager")

    def run(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)

    def reload(self) -> None:
        request = urllib.request.Request(f"{self.address('prometheus')}/-/reload", method="POST")  # noqa: S310 - on loopback
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the address is written above
            assert answer.status == 200

    def recorded(self) -> float | None:
        """Return the ratio that Prometheus has recorded."""
        raw = fetched(f"{self.address('prometheus')}/api/v1/query?query=slo:bad_ratio:rate5m")
        result = json.loads(raw)["data"]["result"] if raw else []
        return float(result[0]["value"][1]) if result else None

    def forge(self, slo: str = "api") -> None:
        """Post a page to Alertmanager, as anybody who reaches it can."""
        alert = {
            "labels": {
                "alertname": rules.ALERT,
                "severity": "page",
                "service": "sample",
                "slo": slo,
                "burn": "14.4",
                "long": "1h",
                "short": "5m",
            },
            "annotations": {"summary": "sample: API burns 14.4 times its budget"},
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": (datetime.now(UTC) + timedelta(minutes=5)).isoformat(),
        }
        request = urllib.request.Request(  # noqa: S310 - on loopback
            f"{self.address('alertmanager')}/api/v2/alerts",
            data=json.dumps([alert]).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the address is written above
            assert answer.status == 200

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def fetched(url: str) -> bytes | None:
    """Return what an address answers, None while it does not."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the address is written above
            return bytes(answer.read())
    except OSError:
        return None


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    made = Monitoring(tmp_path_factory.mktemp("monitoring"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def guarded(monitoring: Monitoring) -> tuple[ModelEdge, guard.PageWatch]:
    """An edge whose green was confirmed now, by the clock that Prometheus has, and its guard."""
    edge = edge_confirmed()
    edge.run("lock release --run A")
    edge.run("rollback")
    edge.clock = Clock()
    edge.run("lock take --run B")
    edge.run("prepare --run B --color green", release={"release": "1.2.0", "complete": True, "sha256": "ab"})
    edge.run("move --run B --share-bp 10000")
    hand_over(edge, "green", "B")
    edge.run("lock release --run B")
    settings = {
        "alertmanagers": [monitoring.address("alertmanager")],
        "prometheus": monitoring.address("prometheus"),
        "warm_s": 3600,
        "poll_s": 1,
    }
    return edge, guard.PageWatch(edge, settings)


def test_a_forged_page_moves_nobody_and_a_true_burn_does(
    monitoring: Monitoring, capsys: pytest.CaptureFixture[str]
) -> None:
    edge, watch = guarded(monitoring)
    time.sleep(1.1)
    monitoring.forge()
    until(watch.pages, "the forged page in Alertmanager")
    for _ in range(3):
        watch.tick()
    said = capsys.readouterr().err
    assert edge.load_state().stable == "green", said
    assert "does not see the budget of api burn" in said
    assert edge.run("show")["quarantine"] == {}

    monitoring.set_ratio(0.5)
    monitoring.reload()
    until(lambda: monitoring.recorded() == 0.5, "the burn in Prometheus")
    watch.tick()
    assert edge.load_state().stable == "blue", capsys.readouterr().err
    (held,) = edge.run("show")["quarantine"].values()
    assert held["release"] == "1.2.0"

    # The next release comes while it still burns: a page about that is not its fault, whenever it says it began.
    edge, watch = guarded(monitoring)
    time.sleep(1.1)
    monitoring.forge()
    forged = guard.Page("api", "14.4", "", time.time())
    assert watch.burning([forged], guard.hindrance(edge, 3600)[1]) == (
        [],
        "Prometheus saw the budget of api burn before the release was confirmed",
    )
    watch.tick()
    assert edge.load_state().stable == "green"


def test_with_prometheus_gone_nothing_moves(monitoring: Monitoring, capsys: pytest.CaptureFixture[str]) -> None:
    edge, watch = guarded(monitoring)
    watch.prometheus = f"http://127.0.0.1:{free_port()}"
    time.sleep(1.1)
    monitoring.forge("worker")  # which Prometheus itself says nothing of
    until(watch.pages, "the forged page in Alertmanager")
    watch.tick()
    assert edge.load_state().stable == "green"
    assert "does not answer" in capsys.readouterr().err
