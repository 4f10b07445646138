"""The judge on the lab, further: outages, a Prometheus that is down, a dead controller, and a word against it all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

from harness import EDGES, Turnout
from test_7_judge import RATE, refused, verdicts, with_failing_jobs

LEASE_S = 10.0
SHORT = {"patience_s": 8, "bake_s": 10}


def test_a_release_in_quarantine_goes_with_a_word_and_without_the_judge(turnout: Turnout) -> None:
    """Both are on the record."""
    version, _, _ = with_failing_jobs(turnout)
    assert turnout.edge("edge1")["quarantine"], "it was not put into quarantine"
    run = turnout.deploy(version, "-e", 'again="the queue was broken"')
    assert run.rc == 0, run.tail
    assert turnout.in_service() == version
    edge = turnout.edge("edge1")
    said = [entry for entry in edge["ledger"] if entry["kind"] == "again"]
    assert said[-1]["reason"] == "the queue was broken"
    # It went without the judge, as all deploys of these tests that do not say otherwise: that is on the record too.
    assert "no SLO is judged" in run.out
    given_up = [line for line in edge["journal"] if line.get("action") == "canary-off"]
    assert "no SLO is judged" in given_up[-1]["detail"]["gives_up"]
    assert edge["ledger"][-1]["judged"] is False
    assert turnout.rollback().rc == 0
    assert turnout.in_service() == "1.0.0"


def test_an_outage_of_the_database_is_not_blamed_on_the_candidate(turnout: Turnout) -> None:
    turnout.ensure("1.0.0")
    turnout.until_scraped()

    def outage() -> None:
        turnout.ssh("data1", "systemctl stop postgresql")
        time.sleep(4)
        turnout.ssh("data1", "systemctl start postgresql")

    with turnout.load(rate=RATE, new_connections="0.3") as load:
        run = turnout.judged("1.1.0", [("has 5 % of the traffic", outage)])
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.1.0"
    assert load.report["failed"] > 0, "the outage was not felt"
    seen = verdicts(turnout, run)
    assert "rollback" not in seen
    assert "promote" in seen
    assert turnout.edge("edge1")["ledger"][-1]["judged"] is True
    assert turnout.rollback().rc == 0


def test_a_prometheus_that_is_down_is_never_a_pass(turnout: Turnout) -> None:
    """Before any share moves it stops the release; afterwards it holds, and after the patience all is put back."""
    turnout.ensure("1.0.0")
    prometheus = "systemctl {} prometheus"
    short = turnout.with_service(judge=SHORT)
    try:
        turnout.ssh("mon1", prometheus.format("stop"))
        refused(turnout.judged("1.1.0", [], *short), "UNKNOWN alerts", "systemctl status prometheus")
        # A team whose checklist does not ask Prometheus meets the judge's own look.
        silent = ("-e", '{"checklist": {"limit_s": 45, "environment": {"extra": ["SCHEDULER_TICK_S"]}}}')
        run = turnout.judged("1.1.0", [], *short, *silent)
        refused(run, "prometheus-unreachable", "gave no answer", "No traffic has moved")
        assert "has 5 % of the traffic" not in run.out
        turnout.ssh("mon1", prometheus.format("start"))
        turnout.until_scraped()
        stop = ("has 5 % of the traffic", lambda: turnout.ssh("mon1", prometheus.format("stop")))
        with turnout.load(rate=RATE) as load:
            run = turnout.judged("1.1.0", [stop], *short)
        refused(run, "undecided at 5 %", "gave no answer", "canary=off")
        assert verdicts(turnout, run)[-1] == "blind"
    finally:
        turnout.ssh("mon1", prometheus.format("start"))
    assert turnout.in_service() == "1.0.0"
    assert load.report["failed"] == 0, load.report["failures"]
    held = turnout.edge("edge1")["quarantine"].values()
    assert "1.1.0" not in {entry["release"] for entry in held}, "a release that nobody judged is not to blame"


def test_a_dead_controller_in_mid_canary_ends_on_stable_within_the_lease(turnout: Turnout) -> None:
    """SIGKILL of playbook, keeper and judge, as when the machine under them dies."""
    turnout.ensure("1.0.0")
    turnout.until_scraped()
    with turnout.load(rate=RATE) as load:
        process = turnout.start("deploy", "-e", "release=1.1.0", "-e", "canary=on")
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if "has 5 % of the traffic" in line:
                break
        killed = kill_all(turnout, process)
        while any(turnout.edge(name)["share_bp"] for name in EDGES):
            assert time.time() - killed < LEASE_S + 20, "the lease did not go back"
            time.sleep(0.2)
        went_back = [at - killed for name in EDGES for at in lease_rollbacks(turnout, name) if at > killed]
    assert len(went_back) == len(EDGES)
    assert 0 < max(went_back) <= LEASE_S + 1, went_back
    assert load.report["failed"] == 0, load.report["failures"]
    run = turnout.deploy("1.1.0")
    refused(run, "by an earlier run", "turnout.ops.rollback")
    assert turnout.rollback().rc == 0
    assert turnout.in_service() == "1.0.0"


def kill_all(turnout: Turnout, process: subprocess.Popen[str]) -> float:
    """Kill a playbook with all its workers, its keeper and its judge; return when."""
    folder = turnout.run_folder(process)
    beside = [pid_of("turnout.keeper", folder), pid_of("turnout.judge.process", folder)]
    for pid in [process.pid, *descendants(process.pid), *beside]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    killed = time.time()
    process.wait(timeout=10)
    return killed


def descendants(pid: int) -> list[int]:
    """Return the processes below one, the nearest first."""
    parents = {int(path.parent.name): parent_of(path) for path in Path("/proc").glob("[0-9]*/stat")}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def parent_of(stat: Path) -> int:
    """Return a process's parent, 0 where it has just ended."""
    fields = contents(stat).rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def pid_of(module: str, folder: Path) -> int:
    """Return the process that runs a module on a run's folder."""
    words = f"-m\0{module}\0{folder}\0".encode()
    return min(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if words in contents(path))


def contents(path: Path) -> bytes:
    """Return a file's bytes, none where its process has just ended."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def lease_rollbacks(turnout: Turnout, name: str) -> list[float]:
    """Return when an edge went back by itself because its lease ran out, of its last lines; seconds since 1970."""
    return [
        datetime.fromisoformat(line["ts"]).timestamp()
        for line in turnout.edge(name)["journal"][-12:]
        if line.get("actor") == "lease" and line.get("event") == "result"
    ]
