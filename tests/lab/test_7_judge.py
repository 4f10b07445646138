"""The judge on the lab: real traffic and a real Prometheus."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from conftest import SHORT_ANSWERS
from harness import EDGES, Load, Run, Turnout, refused
from turnout.judge import meeting

RATE = 40.0


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return a file of JSON lines of a run's folder."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def verdicts(turnout: Turnout, run: Run) -> list[str]:
    """Return the verdicts of a run, after seeing that a replay of its recording comes to the same."""
    folder = turnout.folder(run)
    live = lines(folder, meeting.JUDGEMENTS)
    replayed = turnout.turnout(
        "judge", "replay", str(folder / meeting.RECORDING), "--slos", "inventories/lab/slos", "--json"
    )
    again = [json.loads(line) for line in replayed.splitlines()]
    assert [(j["t"], j["verdict"], j["value"]) for j in again] == [(j["t"], j["verdict"], j["value"]) for j in live]
    return [judgement["verdict"] for judgement in live]


def with_failing_jobs(turnout: Turnout) -> tuple[str, Run, Load]:
    """Release a version whose jobs fail as soon as it has traffic; return it, the run and what users met."""
    turnout.ensure("1.0.0")
    version = f"7.1.{int(time.time())}"
    turnout.publish(version, "failing-jobs", armed=True)
    with turnout.load(rate=RATE, new_connections="0.3", mix=SHORT_ANSWERS) as load:
        run = turnout.judged(version, [("has 5 % of the traffic", lambda: turnout.arm(version))])
    return version, run, load


def test_a_release_whose_jobs_fail_is_rolled_back_and_quarantined(turnout: Turnout) -> None:
    """HAProxy sees nothing of it: only the SLO of the workers can."""
    version, run, load = with_failing_jobs(turnout)
    refused(run, "rollback at 5 %", "worker-success", "went back in", "again=")
    assert turnout.in_service() == "1.0.0"
    assert load.report["failed"] == 0, load.report["failures"]
    seen = verdicts(turnout, run)
    assert "rollback" in seen
    assert "promote" not in seen
    for name in EDGES:
        entry = turnout.edge(name)["quarantine"]
        assert [held["release"] for held in entry.values() if held["release"] == version] == [version]
    refused(turnout.deploy(version), "automatic rollback", "worker-success", "again=")
