"""The units of ours that guard: tried for ever, and exposed no more than they must be (by systemd's own measure)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

ROLES = Path(__file__).parents[3] / "roles"
UNITS = {
    "edge/templates/turnout-edge-watch.service": {
        "edge_state_dir": "/var/lib/turnout",
        "edge_map_file": "/etc/haproxy/share.map",
        "edge_textfile": "/var/lib/prometheus/node-exporter/turnout-edge.prom",
    },
    "edge/templates/turnout-edge-peers.service": {},
    "edge/templates/turnout-edge-latency.service": {"edge_latency_dir": "/var/lib/haproxy/turnout-latency"},
    "queue_figures/templates/turnout-queue-figures.service": {
        "ansible_managed": "",
        "queue_figures_textfile": "/var/lib/prometheus/node-exporter/turnout-queues.prom",
    },
    "service_host/templates/turnout-scheduler-watch@.service": {"ansible_managed": ""},
    "page_watch/templates/turnout-page-watch.service": {
        "page_watch_poll_s": 5,
        "page_watch_edge_paths": ["/var/lib/turnout", "/etc/haproxy"],
    },
}
MOST_EXPOSED = 2.5


def rendered(name: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    environment.filters["dirname"] = lambda path: str(Path(path).parent)
    return environment.from_string((ROLES / name).read_text()).render(UNITS[name])


@pytest.mark.parametrize("name", UNITS)
def test_a_guard_is_started_again_for_ever(name: str) -> None:
    unit, service = rendered(name).split("[Service]")
    assert re.search(r"^StartLimitIntervalSec=0$", unit, re.M)
    assert re.search(r"^Restart=always$", service, re.M)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_exposed_no_more_than_it_must_be(name: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program, "there is no systemd-analyze; expected: Debian's; to mend: apt-get install systemd"
    path = tmp_path / Path(name).name
    path.write_text(rendered(name))
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", str(path)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED, done.stdout
