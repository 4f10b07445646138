"""Superset on the lab: a Flask application with Alembic and Celery that others wrote, by docs/applications/python.md.

What its team adds is in `insight_team.py`: a page that puts a job into Celery's queue, and a task that counts it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_bed import Team, own_hosts
from harness import refused
from insight_team import CHANGES, FILES, OPTIONS, VISIBLE_S, adds, lay, project

# On a route with work of the database each; the last one is a job.
MIX = "get:/login/=2,get:/health=4,get:/jobs/=2,get:/jobs/add=2"
RATE = 15.0
HISTORY_S = 10  # of the release in service, before another is judged beside it

# What the releases change; each is a file's whole text.
NOTE = adds("note", 2)
ALREADY = adds("place", 3)
NO_ANSWER = {"insight/web.py": FILES["insight/web.py"].replace('return "ok"', "time.sleep(3600)", 1)}
# Once it is ready it serves for a while, and dies with what it holds.
DIES = {
    "insight/worker.py": FILES["insight/worker.py"]
    + """
        import os
        import threading

        from celery.signals import worker_ready

        worker_ready.connect(lambda **_: threading.Timer(4, os._exit, [1]).start(), weak=False)
        """
}


class Insight(Team):
    """Superset's team."""

    def __init__(self, machines: Any, place: Path) -> None:
        super().__init__(machines, place, "insight")
        self.folder = place / "insight"
        self.begin("python", *OPTIONS)
        # The hosts' Python, which the page wants, is Debian 13's.
        hosts = machines.ssh("app1", "python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        assert f"{sys.version_info[0]}.{sys.version_info[1]}" == hosts, f"run these tests by Python {hosts}"
        project(self.folder, place / "venv")
        self.change_service(**CHANGES, smoke=[{"path": "/healthz", "status": 200}, {"path": "/login/", "status": 200}])
        looked_at = {
            "queues": [{"name": "celery", "layout": "celery", "held_s": VISIBLE_S}],
            "environment": {"extra": ["JOBS_SHOWN"]},
        }
        self.edit("checklist.yml", lambda content: content["checklist"].update(looked_at))
        self.drill_check("jobs_done_once", "SELECT id, done FROM insight_job WHERE done > 1")

    def release(self, version: str, *changes: dict[str, str]) -> None:
        """Publish a version of the project with these changes, and take the changes back."""
        changed = {name: text for change in changes for name, text in change.items()}
        lay(self.folder, changed)
        self.publish(self.folder, version)
        for name in changed:
            (self.folder / name).unlink()
            lay(self.folder, {name: FILES[name]} if name in FILES else {})

    def lost(self, of: str = "") -> list[str]:
        """Return the jobs that were not done exactly once, but for those that died with a worker of release `of`."""
        query = "SELECT id, taken_by, done FROM insight_job WHERE done <> 1 ORDER BY id"
        deadline = time.monotonic() + 3 * VISIBLE_S
        while True:
            found = self.sql(query).splitlines()
            open_ = [line for line in found if not of or line.split("|")[1:] != [of, "0"]]
            if not open_ or time.monotonic() > deadline:
                total = self.sql("SELECT count(*) FROM insight_job")
                print(f"{total} jobs, not done exactly once: {found}", file=sys.stderr)
                return open_
            time.sleep(2)


@pytest.fixture(scope="module")
def insight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Insight]:
    """Return Superset's team with hosts that are set up, and 1.0.0 in service."""
    place = tmp_path_factory.mktemp("insight")
    with own_hosts("python", place, nth=4) as machines:
        team = Insight(machines, place)
        team.release("1.0.0")
        team.first_release("1.0.0")
        yield team


def test_it_is_rehearsed_released_under_load_and_taken_back_by_hand(insight: Insight) -> None:
    team = insight
    team.release("1.1.0", NOTE)
    assert "up took" in team.playbook("migration_check", "-e", "release=1.1.0").out
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        run = team.deploy("1.1.0")
        assert "api-availability" in run.out
        assert team.stable()["release"] == "1.1.0"
        team.playbook("rollback")
        assert team.stable()["release"] == "1.0.0"
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    assert set(report["releases"]) == {"1.0.0", "1.1.0"}
    assert team.lost() == []


@pytest.mark.parametrize(
    ("version", "fault", "told"),
    [
        ("1.2.1", NO_ANSWER, "health"),
        ("1.2.2", DIES, "worker-jobs"),
        ("1.2.3", ALREADY, "already exists"),
    ],
    ids=["api", "worker", "migration"],
)
def test_a_broken_release_goes_back_by_itself_and_costs_no_request(
    insight: Insight, version: str, fault: dict[str, str], told: str
) -> None:
    team = insight
    team.release(version, NOTE, fault)
    before = team.stable()
    if fault is ALREADY:  # somebody was there by hand
        team.sql("ALTER TABLE insight_job ADD place text")
    with team.load(RATE, MIX, host="localhost") as load:
        time.sleep(HISTORY_S)
        run = team.deploy(version, good=False)
        if fault is ALREADY:  # the application's own traceback is shown, behind its first error
            assert told in run.out.rpartition("First cause")[2], run.tail
        else:
            refused(run, told)
        assert team.stable() == before
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    if fault is not DIES:  # which may answer users, well, until its worker is seen to die
        assert set(report["releases"]) == {before["release"]}
    assert team.lost(version) == []


def test_a_bad_variable_goes_back_by_itself_and_fails_its_own_requests_alone(insight: Insight) -> None:
    team = insight
    before = team.stable()
    team.change_service(environment={"JOBS_SHOWN": "ten"})
    try:
        with team.load(RATE, MIX, host="localhost") as load:
            time.sleep(HISTORY_S)
            run = team.deploy(before["release"], good=False)
            refused(run, "went back")
            assert "differs in: environment.JOBS_SHOWN" in run.out
            assert team.stable() == before
            time.sleep(2)
    finally:
        team.change_service(environment={"JOBS_SHOWN": None})
    report = load.report
    assert set(report["failures"]) == {"status-500"}
    assert {one["kind"] for one in report["samples"]} == {"get:/jobs/"}
    color = team.machines.edge("edge1")["stable"]
    assert report["colors"][color]["failed"] == 0, report["samples"]
    assert team.lost() == []


def test_a_drill_starts_it_on_restored_data(insight: Insight) -> None:
    team = insight
    assert team.lost() == []
    team.drill()
