"""A real Prometheus that scrapes a small file server: what it shows, a test moves."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from shutil import which

import pytest
import requests
import yaml
from observe_world import PATIENCE_S, Exporter, Watcher
from ports import free_port
from turnout.observe import load, rules


@pytest.fixture(scope="session")
def watcher(tmp_path_factory):
    assert which("prometheus"), "prometheus is needed: make setup"
    folder: Path = tmp_path_factory.mktemp("observe")
    exporter, port = Exporter(), free_port()
    (folder / "rules.yml").write_text(rules.files(load.load().alerts)[0][rules.NAME], encoding="utf-8")
    target = f"127.0.0.1:{exporter.server.server_port}"
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [
            {"job_name": "all", "honor_labels": True, "static_configs": [{"targets": [target]}]},
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                if requests.get(f"{url}/-/ready", timeout=5).ok:
                    break
            except requests.RequestException:
                pass
            assert time.monotonic() < end, "Prometheus did not become ready"
            time.sleep(0.1)
        yield Watcher(url, exporter)
    finally:
        process.kill()
        process.wait()
        exporter.server.shutdown()
        exporter.server.server_close()
