"""A real Prometheus for the tests of the reader and of the judge's process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from shutil import which

import pytest
import requests
import yaml
from ports import free_port
from prometheus_world import INTERVAL_S, PATIENCE_S, App, World, series


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    assert which("prometheus"), "prometheus is needed: make setup"
    folder = tmp_path_factory.mktemp("prometheus")
    apps = {name: App() for name in ("blue1", "blue2", "green1", "edge")}
    port = free_port()
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


@pytest.fixture
def fresh(world):
    """All targets up, counting from zero, and scraped so."""
    for name, app in world.apps.items():
        app.replace({series(200): 0.0} if name != "edge" else {})
    world.scraped()
    yield world
    os.kill(world.process.pid, signal.SIGCONT)
