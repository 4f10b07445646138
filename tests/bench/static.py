"""make bench-static: static files by the application or by a cache at the edge: requests/s and p99 of both.

One file of 20 kB under a name with a hash of its content, through HAProxy, by 8 clients that keep their connections. In
turn: HAProxy asks the application (aiohttp, one process, `Cache-Control: immutable`) each time; or answers from its own
cache. The application alone is asked too, so that what HAProxy costs is seen. No bound: it is the figure behind
docs/files.md. Needs no lab.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = 3.0
CLIENTS = 8
SIZE = 20_000
PATH = "/static/app.0a1b2c3d.js"
APPLICATION, PLAIN, CACHED = 18391, 18392, 18393
PORTS = {"application": APPLICATION, "edge": PLAIN, "edge_cache": CACHED}
SERVER = f"""
from aiohttp import web
body = b"x" * {SIZE}
async def answer(_):
    return web.Response(body=body, headers={{"Cache-Control": "public, max-age=31536000, immutable"}})
app = web.Application()
app.router.add_get("{PATH}", answer)
web.run_app(app, host="127.0.0.1", port={APPLICATION}, print=None, access_log=None)
"""
HAPROXY = f"""
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
cache files
    total-max-size 64
    max-object-size 1000000
    max-age 86400
frontend plain
    bind 127.0.0.1:{PLAIN}
    default_backend application
frontend cached
    bind 127.0.0.1:{CACHED}
    http-request cache-use files if {{ path_beg /static/ }}
    http-response cache-store files
    default_backend application
backend application
    server one 127.0.0.1:{APPLICATION}
"""


def client(port: int, until_s: float, times_ms: list[float]) -> None:
    """Ask over one connection until a moment; keep how long each answer took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while (began := time.perf_counter()) < until_s:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        if answer.status != 200 or len(answer.read()) != SIZE:
            raise SystemExit(f"port {port} answered {answer.status}")
        times_ms.append((time.perf_counter() - began) * 1000)
    connection.close()


def begin(port: int) -> None:
    """Wait until a port answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            client(port, time.perf_counter() + 0.1, [])
        except (OSError, SystemExit):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def measure(port: int) -> tuple[float, float]:
    """Return requests/s and p99 in milliseconds of one round."""
    times_ms: list[float] = []
    until_s = time.perf_counter() + SECONDS
    threads = [threading.Thread(target=client, args=(port, until_s, times_ms)) for _ in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return len(times_ms) / SECONDS, statistics.quantiles(times_ms, n=100)[98]


def main() -> int:
    """Measure all three in turn, and print the medians of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "haproxy.cfg"
        configuration.write_text(HAPROXY, encoding="utf-8")
        haproxy = Path(sys.executable).parent / "haproxy"
        processes = [
            subprocess.Popen([sys.executable, "-c", SERVER]),
            subprocess.Popen([str(haproxy) if haproxy.exists() else "haproxy", "-db", "-f", str(configuration)]),
        ]
        try:
            for port in PORTS.values():
                begin(port)
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in PORTS}
            for _ in range(ROUNDS):
                for name, port in PORTS.items():
                    found[name].append(measure(port))
        finally:
            for process in processes:
                process.terminate()
                process.wait(10)
    result: dict[str, float] = {"bytes": SIZE, "clients": CLIENTS, "rounds": ROUNDS}
    for name, rounds in found.items():
        result[f"{name}_per_s"] = round(statistics.median(one for one, _ in rounds))
        result[f"{name}_p99_ms"] = round(statistics.median(one for _, one in rounds), 1)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
