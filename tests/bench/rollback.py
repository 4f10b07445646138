"""make bench-rollback: from pressing return to the last answer of the bad version that a user sees, on any edge.

Ten rollbacks (ROLLBACKS=n) under load, with PostgreSQL, Redis, monitoring and the artifact store stopped. Bounds of
the issue: median at most 2.5 s and at most 1.5 times `ansible edge -m ping` of the same run; the edge's own command,
typed on the edge, at most 0.2 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lab"))

from harness import BIN, EDGES, ROOT, Turnout, provisioned, sample_digest
from turnout.lab.topology import host_named

ROLLBACKS = int(os.environ.get("ROLLBACKS", "10"))
RATE = 100.0
BOUND_S = 2.5
BOUND_RATIO = 1.5
BOUND_EDGE_S = 0.2
STOPPED = ("data1", "mon1", "store1")
# Answers that need no database: the bad version must be seen answering while everything else is down.
MIX = "static=1"


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    turnout.publish("1.0.0")
    turnout.publish("1.1.0")
    hosts = turnout.hosts
    rollbacks, pings, edges = [], [], []
    for number in range(ROLLBACKS):
        turnout.ensure("1.0.0")
        turnout.ensure("1.1.0")
        with turnout.load(rate=RATE, seconds=120, mix=MIX, authorization="plain") as load:
            for name in STOPPED:
                hosts.pause(host_named(name))
            try:
                pings.append(seconds([str(BIN / "ansible"), "edge", "-m", "ping"]))
                pressed = time.monotonic()
                run = turnout.rollback()
                if run.rc:
                    print(run.tail)
                    raise SystemExit("bench-rollback: rollback.yml failed")
                time.sleep(1)
            finally:
                for name in STOPPED:
                    hosts.unpause(host_named(name))
        last = max(seen["last_s"] for name, seen in load.report["releases_by_edge"].items() if name.endswith("1.1.0"))
        rollbacks.append(last - pressed)
        print(f"{number + 1:>3}/{ROLLBACKS}  rollback {rollbacks[-1]:.2f} s  ping {pings[-1]:.2f} s", flush=True)
    turnout.ensure("1.1.0")
    for edge in EDGES:
        edges.append(typed_on_the_edge(turnout, edge))
    # An edge's own command moves traffic alone: let workers and scheduler follow.
    turnout.rollback()
    return judge(rollbacks, pings, edges)


def seconds(command: list[str]) -> float:
    """Return how long a command takes from start to end."""
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.monotonic() - started


def typed_on_the_edge(turnout: Turnout, edge: str) -> float:
    """Return the seconds that the edge's own command takes, by the edge's own clock."""
    out = turnout.ssh(edge, "a=$(date +%s%N); turnout-edge rollback >/dev/null 2>&1; echo $(( $(date +%s%N) - a ))")
    return int(out) / 1e9


def judge(rollbacks: list[float], pings: list[float], edges: list[float]) -> int:
    """Print the table and the JSON line; return 0 when every bound holds."""
    ratio = median(rollbacks) / median(pings)
    rows = {"rollback.yml": rollbacks, "ansible edge -m ping": pings, "turnout-edge rollback": edges}
    print(f"\n{'':<24}{'MIN':>8}{'MEDIAN':>8}{'MAX':>8}")
    for name, values in rows.items():
        print(f"{name:<24}{min(values):>8.2f}{median(values):>8.2f}{max(values):>8.2f}")
    print(f"{'ratio of the medians':<24}{ratio:>16.2f}")
    bounds = {
        f"median at most {BOUND_S} s": median(rollbacks) <= BOUND_S,
        f"at most {BOUND_RATIO} x ping": ratio <= BOUND_RATIO,
        f"on the edge at most {BOUND_EDGE_S} s": max(edges) <= BOUND_EDGE_S,
    }
    for bound, holds in bounds.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {bound}")
    figures = {name: {"min": min(v), "median": median(v), "max": max(v)} for name, v in rows.items()}
    print(json.dumps({"bench": "rollback", "figures_s": figures, "ratio": ratio, "ok": all(bounds.values())}))
    return 0 if all(bounds.values()) else 1


def median(values: list[float]) -> float:
    """Return the middle value, the mean of the two middle ones for an even count."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


if __name__ == "__main__":
    sys.exit(main())
