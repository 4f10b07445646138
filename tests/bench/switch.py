"""make bench-switch: nothing is lost or done twice while versions change, again and again, under load.

20 deploys and 20 rollbacks (SWITCHES=n for fewer) at 300 requests/s over both edges (RATE=n), with new and kept-alive
connections, bodies, slow and streamed answers; beside them 5,000 jobs and more of 10 ms to 5 s. Bounds of the issue:
no failed request, p99 while versions change at most 1.5 times p99 of the same run while a playbook of the same length
changes nothing, every job executed exactly once, the scheduler's slots neither missing nor doubled.

The playbook that changes nothing is deploy.yml itself, told to release what is in service, again and again for as long
as the deploy before it took: hosts share the processors with each other, so the baseline must ask as much of them.
Clients and controller would have machines of their own: here the first have the right of way, the second gives it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lab"))

from harness import EDGES, Load, Run, Turnout, provisioned, sample_digest

SWITCHES = int(os.environ.get("SWITCHES", "20"))
RATE = float(os.environ.get("RATE", "300"))
JOBS_PER_S = 12.0
QUIET_EVERY = 4  # switches: spread over the whole run, and enough requests for a p99
P99_BOUND = 1.5
JOBS_BOUND = 5_000


class Jobs:
    """Jobs that are sent to the service all the while, and looked for in its database afterwards."""

    def __init__(self, turnout: Turnout, seconds: float) -> None:
        self.turnout = turnout
        self.out = turnout.work / "bench-jobs.json"
        edges = [word for name in EDGES for word in ("--edge", turnout.address(name))]
        batch = f"bench-{int(time.time())}"
        self.process = subprocess.Popen(
            [
                sys.executable, str(TESTS / "load" / "jobs.py"), "enqueue", *edges, "--rate", str(JOBS_PER_S),
                "--seconds", str(seconds), "--batch", batch, "--out", str(self.out),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> dict[str, Any]:
        """End the sending, wait for the last jobs, return what became of all."""
        self.process.terminate()
        self.process.wait(timeout=60)
        lab = self.turnout.lab
        reach = (
            f"ssh -i {lab.private_key} -o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes "
            f"root@{self.turnout.address('data1')} sudo -u postgres psql -d sample"
        )
        done = subprocess.run(
            [
                sys.executable, str(TESTS / "load" / "jobs.py"), "verify", "--jobs", str(self.out), "--psql", reach,
                "--tick-s", "1",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.turnout.forget_jobs()
        if done.returncode == 2:
            raise SystemExit(f"bench-switch: the jobs cannot be verified: {done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}", controller_apart=True)
    turnout.publish("1.0.0")
    turnout.publish("1.1.0")
    turnout.ensure("1.0.0")
    limit_s = 150.0 * SWITCHES + 600
    with turnout.load(rate=RATE, seconds=limit_s, new_connections="0.3") as load:
        jobs = Jobs(turnout, limit_s)
        deploys, rollbacks = [], []
        for number in range(SWITCHES):
            deploys.append(marked(load, "switching", turnout.deploy, "1.1.0"))
            if number % QUIET_EVERY == 0:
                until = time.monotonic() + deploys[-1].seconds
                while time.monotonic() < until:
                    nothing = marked(load, "quiet", turnout.deploy, "1.1.0")
                    if "in service already" not in nothing.out:
                        raise SystemExit("bench-switch: the playbook that must change nothing did something")
            rollbacks.append(marked(load, "switching", turnout.rollback))
            took = f"deploy {deploys[-1].seconds:5.1f} s  rollback {rollbacks[-1].seconds:5.1f} s"
            print(f"{number + 1:>3}/{SWITCHES}  {took}", flush=True)
        found = jobs.stop()
    return judge(load.report, found, deploys, rollbacks)


def marked(load: Load, name: str, action: Any, *words: str) -> Run:
    """Run a playbook, with a mark of that name in the load's report; ends the bench when it fails."""
    with load.mark(name):
        run: Run = action(*words)
    if run.rc:
        print(run.tail)
        raise SystemExit(f"bench-switch: a playbook failed ({name} {' '.join(words)})")
    return run


def judge(report: dict[str, Any], jobs: dict[str, Any], deploys: list[Run], rollbacks: list[Run]) -> int:
    """Print the table and the JSON line; return 0 when every bound holds."""
    switching, quiet = report["windows"]["switching"], report["windows"]["quiet"]
    ratio = switching["latency_ms"]["p99"] / quiet["latency_ms"]["p99"]
    figures = {
        "requests": report["requests"],
        "rate": report["rate"],
        "failed": report["failed"],
        "failures": report["failures"],
        "p99_switching_ms": switching["latency_ms"]["p99"],
        "p99_quiet_ms": quiet["latency_ms"]["p99"],
        "p99_ratio": round(ratio, 3),
        "deploys": len(deploys),
        "rollbacks": len(rollbacks),
        "deploy_s": spread([run.seconds for run in deploys]),
        "rollback_s": spread([run.seconds for run in rollbacks]),
        "jobs": jobs,
    }
    bounds = {
        "no failed request": report["failed"] == 0,
        f"at least {RATE:.0f} requests/s": report["rate"] >= 0.98 * RATE,
        f"p99 while switching at most {P99_BOUND} x quiet": ratio <= P99_BOUND,
        f"at least {JOBS_BOUND} jobs": SWITCHES < 20 or jobs["acknowledged"] >= JOBS_BOUND,
        "every job exactly once": not (jobs["lost"] or jobs["doubled"] or jobs["rerun"]),
        "scheduler's slots: none missing, none doubled": not jobs["slots"]["missing"] and not jobs["slots"]["doubled"],
    }
    print()
    for key, value in figures.items():
        print(f"{key:<18} {value}")
    print()
    for bound, holds in bounds.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {bound}")
    print(json.dumps({"bench": "switch", **figures, "ok": all(bounds.values())}))
    return 0 if all(bounds.values()) else 1


def spread(values: list[float]) -> dict[str, float]:
    """Return least, median and greatest of some seconds."""
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 2),
        "median": round(ordered[len(ordered) // 2], 2),
        "max": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    sys.exit(main())
