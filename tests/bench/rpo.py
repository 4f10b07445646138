"""make bench-rpo: a drill's measured RPO against what the writers know, with the primary killed at random moments.

20 trials (TRIALS=n): four connections write several hundred transactions a second and note when each was acknowledged.
At a random moment the failure is declared, and the primary's host is killed (SIGKILL) at once. A drill restores what
the repository holds. Truth is the time from the acknowledgement of the last write that the restored database has to
the failure. The bounds of the issue: the measured RPO differs from it by at most one heartbeat in every trial, also
where archiving had been stopped for a minute before (every fifth trial); otherwise the truth is at most the time-out of
the archive plus the time that a segment takes to be stored.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

import psycopg
from drill_bed import Bed, make_bed
from harness import Turnout, provisioned, sample_digest
from turnout.lab.topology import host_named

TRIALS = int(os.environ.get("TRIALS", "20"))
WRITERS = 4
HEARTBEAT_S = 1.0
ARCHIVE_TIMEOUT_S = 10.0
STORED_S = 10.0
"""Seconds that a segment may take from its end until the repository has it, on a busy host."""
STOPPED_S = 60.0
LEAST_TPS = 200.0


class Writers:
    """Connections that write one row a transaction, and note when each was acknowledged."""

    def __init__(self, turnout: Turnout, acknowledged: dict[int, float]) -> None:
        password = (turnout.lab.state_dir / "secrets" / "postgres_app").read_text().strip()
        self._reach = f"host={turnout.address('data1')} dbname=sample user=sample_app connect_timeout=5"
        self._password = password
        self.acknowledged = acknowledged
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(WRITERS)]
        self.began = time.time()
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        try:
            with psycopg.connect(self._reach, password=self._password, autocommit=True) as connection:
                while not self._stopped.is_set():
                    row = connection.execute("INSERT INTO bench_rpo DEFAULT VALUES RETURNING id").fetchone()
                    assert row is not None
                    self.acknowledged[row[0]] = time.time()
        except psycopg.Error:
            return  # the primary is gone: that is the trial

    def stop(self) -> None:
        """Stop writing; a connection to a host that is gone is not waited for."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=2)


def trial(bed: Bed, acknowledged: dict[int, float], *, archiving: bool) -> dict[str, Any]:
    """Write, kill the primary, drill, bring the primary back; return what was measured and what is true.

    `acknowledged` is written on: the time of each row's acknowledgement, of all trials.
    """
    turnout = bed.turnout
    writers = Writers(turnout, acknowledged)
    try:
        if not archiving:
            # What was written last before it stopped is in the repository: the writers know when that was.
            time.sleep(5)
            bed.archived()
            set_archiving(bed, on=False)
            time.sleep(STOPPED_S)
        time.sleep(random.uniform(8, 8 + ARCHIVE_TIMEOUT_S))  # noqa: S311 - no secret depends on it
        failure = json.loads(bed.send("mon1", "turnout-drill declare", json.dumps(bed.plan["primary"])))
        turnout.hosts.kill(host_named("data1"))
        writers.stop()
        # The query returns what would violate a rule; this one returns what is asked for, and so "fails".
        asked = {"bench_rpo": "SELECT max(id) AS id FROM bench_rpo"}
        measured = bed.drill(failure=failure, checks=asked)
    finally:
        writers.stop()
        turnout.hosts.start(host_named("data1"))
        until_up(bed)
        if not archiving:
            set_archiving(bed, on=True)
        bed.archived()
    at = datetime.fromisoformat(failure["at"].replace("Z", "+00:00")).timestamp()
    details = [check["detail"] or "" for check in measured["checks"] if check["name"] == "bench_rpo"]
    if not details or measured["recovered"] is None:
        raise SystemExit(f"bench-rpo: the drill came to no end: {measured['causes']}")
    last = json.loads(details[0].rpartition("first ")[2])["id"]
    # The very last row may have been committed by a host that died before it could acknowledge it.
    known = max(number for number in writers.acknowledged if number <= last)
    recovered_at = datetime.fromisoformat(measured["recovered"]["at"].replace("Z", "+00:00")).timestamp()
    before = [moment for moment in writers.acknowledged.values() if writers.began <= moment <= at]
    return {
        "archiving": archiving,
        "tps": round(len(before) / (at - writers.began), 1),
        "truth_s": round(at - writers.acknowledged[known], 3),
        "measured_s": round(max(0.0, at - recovered_at), 3),
        "lost": sum(1 for number, moment in writers.acknowledged.items() if number > last and moment <= at),
    }


def set_archiving(bed: Bed, *, on: bool) -> None:
    """Let the archive's command fail, or mend it."""
    change = "RESET archive_command" if on else "SET archive_command = '/bin/false'"
    bed.sql(f"ALTER SYSTEM {change};", "postgres")
    bed.sql("SELECT pg_reload_conf()", "postgres")


def until_up(bed: Bed) -> None:
    """Wait until the primary answers again and has archived what it had."""
    deadline = time.monotonic() + 90
    while True:
        try:
            bed.sql("SELECT 1", "postgres")
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    turnout.publish("1.0.0")
    turnout.ensure("1.0.0")

    def table(bed: Bed) -> None:
        bed.sql(
            "DROP TABLE IF EXISTS bench_rpo; CREATE TABLE bench_rpo ("
            "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text DEFAULT repeat('x', 200));"
            " GRANT SELECT, INSERT ON bench_rpo TO sample_app"
        )

    bed = make_bed(turnout, before_backup=table)
    acknowledged: dict[int, float] = {}
    warm_up = Writers(turnout, acknowledged)
    time.sleep(3)
    warm_up.stop()
    bed.archived()
    seen = []
    print(f"{'TRIAL':>5}  {'ARCHIVING':<14}{'TX/S':>7}{'TRUTH S':>10}{'MEASURED S':>12}{'DIFFERENCE':>12}{'LOST':>7}")
    for number in range(1, TRIALS + 1):
        one = trial(bed, acknowledged, archiving=number % 5 != 0)
        seen.append(one)
        word = "on" if one["archiving"] else f"off for {STOPPED_S:.0f} s"
        difference = one["measured_s"] - one["truth_s"]
        print(
            f"{number:>5}  {word:<14}{one['tps']:>7.0f}{one['truth_s']:>10.2f}{one['measured_s']:>12.2f}"
            f"{difference:>12.2f}{one['lost']:>7}",
            flush=True,
        )
    bed.sql("DROP TABLE bench_rpo")
    worst = max(abs(one["measured_s"] - one["truth_s"]) for one in seen)
    usual = [one["truth_s"] for one in seen if one["archiving"]]
    bounds = {
        f"measured RPO within {HEARTBEAT_S:g} s of the truth, every time": worst <= HEARTBEAT_S,
        f"RPO at most {ARCHIVE_TIMEOUT_S + STORED_S:g} s with archiving on": max(usual) <= ARCHIVE_TIMEOUT_S + STORED_S,
        f"at least {LEAST_TPS:g} transactions/s": min(one["tps"] for one in seen) >= LEAST_TPS,
    }
    print()
    for bound, holds in bounds.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {bound}")
    figures = {
        "trials": seen, "worst_difference_s": round(worst, 3), "truth_median_s": statistics.median(usual),
        "truth_max_s": max(usual),
    }  # fmt: skip
    print(json.dumps({"bench": "rpo", **figures, "ok": all(bounds.values())}))
    return 0 if all(bounds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
