"""What counting answers at the edge costs: mtail's processor time for 1,000 requests/s, its memory, and its series.

Feeds the role's own program the lines that HAProxy writes, for every color, route and status class that there can be,
at 1,000 lines a second, and reads what the kernel has counted. Prints one JSON object; exit code 1 above the limits.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jinja2
import yaml

ROLE = Path(__file__).parents[2] / "roles/edge"
RATE, SECONDS = 1000, 20
ROUTES = 10
MOST_CPU_PERCENT, MOST_MEMORY_MB = 15.0, 80.0
LINE = (
    "203.0.113.{client}:50000 [30/Nov/2026:09:30:03.850] public shop-{color}/app1 0/0/0/{ms}/{ms} {status} 210 ---- "
    '9/9/0/0/0 0/0 {{{color}|{route}}} "GET /api/orders/{client}0000/positions HTTP/1.1"\n'
)


def rendered(bounds: list[float]) -> str:
    """Return the role's program for mtail."""
    template = (ROLE / "templates/turnout.mtail.j2").read_text(encoding="utf-8")
    return jinja2.Environment().from_string(template).render(edge_latency_bounds=bounds)  # noqa: S701 - no HTML


def connected(path: Path) -> socket.socket:
    """Return a connection to mtail's socket, once it listens."""
    deadline = time.monotonic() + 20
    while True:
        to = socket.socket(socket.AF_UNIX)
        try:
            to.connect(str(path))
        except OSError:
            to.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return to


def feed(to: socket.socket) -> int:
    """Send lines at the rate for the time; return how many."""
    routes = [*(f"route{n}" for n in range(ROUTES)), "other"]
    kinds = [(c, r, s) for c in ("blue", "green") for r in routes for s in (200, 302, 404, 500)]
    lines = [
        LINE.format(client=n % 250, color=c, ms=n * 7 % 900, status=s, route=r)
        for n, (c, r, s) in enumerate(kinds * 12)
    ]
    sent, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < SECONDS:
        while sent < passed * RATE:
            to.sendall(lines[sent % len(lines)].encode())
            sent += 1
        time.sleep(0.005)
    return sent


def metrics(path: Path) -> str:
    """Return what mtail shows to Prometheus."""
    with connected(path) as to:
        to.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: to.recv(65536), b"")).decode()


def main() -> int:
    """Measure, print, and hold it to the limits."""
    program = shutil.which("mtail")
    if program is None:
        print("mtail is not there; expected: the real one; to mend: make setup", file=sys.stderr)
        return 2
    bounds = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))["edge_latency_buckets_s"]
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        folder = Path(name)
        (folder / "programs").mkdir()
        (folder / "programs/turnout.mtail").write_text(rendered(bounds), encoding="utf-8")
        words = [
            program, "--progs", str(folder / "programs"), "--logs", f"unix://{folder}/log", "--poll_interval", "50ms",
            "--unix_socket", f"{folder}/http", "--emit_prog_label=false", "--logtostderr",
        ]  # fmt: skip
        environment = {**os.environ, "GOMAXPROCS": "2"}
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment) as mtail:
            try:
                with connected(folder / "log") as to:
                    before = processor_s(mtail.pid)
                    sent = feed(to)
                    time.sleep(0.5)
                    used = processor_s(mtail.pid) - before
                text = metrics(folder / "http")
                memory_mb = memory(mtail.pid)
            finally:
                mtail.kill()
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    ours = [line for line in series if line.startswith("turnout_edge_")]
    counted = sum(float(line.rsplit(" ", 1)[1]) for line in ours if line.startswith("turnout_edge_requests_total"))
    result = {
        "requests": sent,
        "counted": int(counted),
        "cpu_percent_at_1000_per_s": round(100 * used / (sent / RATE), 2),
        "memory_mb": round(memory_mb, 1),
        "routes": ROUTES,
        "buckets": len(bounds),
        "series": len(ours),
        "series_of_mtail_itself": len(series) - len(ours),
        "kilobytes_a_scrape": round(len(text) / 1000),
    }
    print(json.dumps(result))
    within = result["cpu_percent_at_1000_per_s"] <= MOST_CPU_PERCENT and memory_mb <= MOST_MEMORY_MB
    return 0 if within and counted == sent else 1


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the most memory that a process has held, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    sys.exit(main())
