"""Vendure on the lab: a Node.js application with BullMQ that others wrote, deployed by docs/applications/node.md.

The project around it counts: a request names a job, and the worker writes a row when it begins one and marks it when it
is done. So every job is seen that was acknowledged, and how often it was done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from foreign_bed import Team, own_hosts
from harness import Turnout, refused
from node_shop import HEALTH, MIGRATE, SEED, SETTINGS, Database, Shop, add_column

MIX, RATE = "get:/notes=3,get:/health=1", 12.0
HISTORY_S = 10  # of the release in service, before another is judged beside it
JOBS_PER_S, JOB_S = 4.0, 0.3
STALLED_S = 120  # a killed worker's job: its lock of 30 s, a look each 30 s, and its run
ANSWER_S = 30

NO_ANSWER = {"config.js": ("  next()\n", "  if (request.path !== '/health') next()\n")}
# Once it is ready it serves for a while, and dies with what it holds.
DIES = {"worker.js": (".then(worker => worker.startJobQueue())", ".then(worker => worker.startJobQueue())\n"
        "  .then(() => setTimeout(() => process.exit(1), 4000))")}  # fmt: skip
PLACE = add_column("place", 1800000000000)
ALREADY = add_column("city", 1800000100000)


class Customers(threading.Thread):
    """Sends jobs and questions by POST to the edges in turn; keeps what was acknowledged, and what failed."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__(daemon=True)
        self._addresses, self._end = addresses, threading.Event()
        self.acknowledged, self.failed = list[str](), list[str]()

    def run(self) -> None:
        number, began = 0, time.time_ns()
        while not self._end.wait(1 / JOBS_PER_S):
            number += 1
            name, at = f"{began}-{number}", self._addresses[number % len(self._addresses)]
            if self._post(at, "notes", {"name": name, "seconds": JOB_S}, 202):
                self.acknowledged.append(name)
            self._post(at, "shop-api", {"query": "{ activeChannel { code } }"}, 200)

    def _post(self, address: str, path: str, body: dict[str, object], status: int) -> bool:
        try:
            answer = requests.post(f"http://{address}/{path}", json=body, timeout=ANSWER_S)
        except requests.RequestException as error:
            self.failed.append(f"{path}: {error}")
            return False
        if answer.status_code != status:
            self.failed.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        return answer.status_code == status

    def __enter__(self) -> Customers:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()
        print(f"{len(self.acknowledged)} jobs acknowledged, failed: {self.failed}", file=sys.stderr)


class ShopTeam(Team):
    """The shop's team."""

    def __init__(self, machines: Turnout, place: Path) -> None:
        super().__init__(machines, place, "shop")
        self.shop = Shop(place / "source")
        with Database.started() as database:
            self.shop.first_migration({"DATABASE_URL": database.url("shop_migrate"), "REDIS_URL": "redis://none:6379"})
        self.begin("node", *HEALTH)
        # What only this team knows of its application.
        self.change_service(
            environment=SETTINGS, migrate=MIGRATE, commands=[SEED],
            smoke=[{"path": "/health", "status": 200}],  # and not /notes, which the judge is to see
        )  # fmt: skip
        jobs = {"name": "jobs", "layout": "bullmq", "queues": ["vendure-job-queue"]}
        looked_at = {"queues": [jobs], "environment": {"extra": ["NOTES_SHOWN"]}}
        self.edit("checklist.yml", lambda content: content["checklist"].update(looked_at))
        self.drill_check("jobs_done_once", "SELECT name FROM note WHERE done GROUP BY name HAVING count(*) > 1")

    def release(
        self, version: str, files: dict[str, str] | None = None, changes: dict[str, tuple[str, str]] | None = None
    ) -> None:
        """Publish a version of the project with these files added and these texts changed."""
        self.publish(self.shop.variant(version, changes or {}, files or {}), version)

    def customers(self) -> Customers:
        """Return customers of both edges."""
        return Customers([self.machines.address(edge) for edge in ("edge1", "edge2")])

    def lost(self, customers: Customers, of: str = "") -> list[str]:
        """Return the acknowledged jobs that were not done exactly once, but for those that only workers of `of` had."""
        deadline = time.monotonic() + STALLED_S
        while True:
            rows = [line.split("|") for line in self.sql("SELECT name, release, done FROM note").splitlines()]
            done = Counter(name for name, _, well in rows if well == "t")
            by = {name: {release for one, release, _ in rows if one == name} for name in customers.acknowledged}
            wrong = [name for name in customers.acknowledged if done[name] != 1]
            open_ = [name for name in wrong if done[name] > 1 or by[name] != {of}]
            if not open_ or time.monotonic() > deadline:
                print(f"{len(customers.acknowledged)} jobs, not done exactly once: {wrong}", file=sys.stderr)
                return open_
            time.sleep(2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopTeam]:
    """Return the shop's team with hosts that are set up, and 1.0.0 in service."""
    place = tmp_path_factory.mktemp("shop")
    with own_hosts("node", place, nth=3) as machines:
        team = ShopTeam(machines, place)
        team.release("1.0.0")
        team.first_release("1.0.0")
        yield team


def ensure(team: ShopTeam, version: str) -> None:
    """Bring a version into service."""
    if team.stable()["release"] != version:
        team.deploy(version)


def test_it_is_rehearsed_released_under_load_and_taken_back_by_hand(shop: ShopTeam) -> None:
    team = shop
    team.release("1.1.0", PLACE)
    assert "up took" in team.playbook("migration_check", "-e", "release=1.1.0").out
    with team.load(RATE, MIX) as load, team.customers() as customers:
        time.sleep(HISTORY_S)
        team.deploy("1.1.0")
        assert team.stable()["release"] == "1.1.0"
        team.playbook("rollback")
        assert team.stable()["release"] == "1.0.0"
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    assert set(report["releases"]) == {"1.0.0", "1.1.0"}
    assert customers.failed == []
    assert team.lost(customers) == []


@pytest.mark.parametrize(
    ("version", "files", "changes", "told"),
    [
        ("1.1.1", PLACE, NO_ANSWER, "health"),
        ("1.1.2", PLACE, DIES, "worker-jobs"),
        ("1.1.3", PLACE | ALREADY, {}, "already exists"),
    ],
    ids=["api", "worker", "migration"],
)
def test_a_broken_release_goes_back_by_itself_and_costs_no_request(
    shop: ShopTeam, version: str, files: dict[str, str], changes: dict[str, tuple[str, str]], told: str
) -> None:
    team = shop
    team.release(version, files, changes)
    before = team.stable()
    if files is not PLACE:  # somebody was there by hand
        team.sql("ALTER TABLE note ADD city text")
    with team.load(RATE, MIX) as load, team.customers() as customers:
        time.sleep(HISTORY_S)
        refused(team.deploy(version, good=False), told)
        assert team.stable() == before
        time.sleep(2)
    report = load.report
    assert report["failed"] == 0, (report["failures"], report["samples"])
    if changes is not DIES:  # which may answer users, well, until its worker is seen to die
        assert set(report["releases"]) == {before["release"]}
    assert customers.failed == []
    assert team.lost(customers, version) == []


def test_a_bad_variable_goes_back_by_itself_and_fails_its_own_requests_alone(shop: ShopTeam) -> None:
    team = shop
    before = team.stable()
    team.change_service(environment={"NOTES_SHOWN": "ten"})
    try:
        with team.load(RATE, MIX) as load, team.customers() as customers:
            time.sleep(HISTORY_S)
            run = team.deploy(before["release"], good=False)
            refused(run, "went back")
            assert "differs in: environment.NOTES_SHOWN" in run.out
            assert team.stable() == before
            time.sleep(2)
    finally:
        team.change_service(environment={"NOTES_SHOWN": None})
    report = load.report
    assert set(report["failures"]) == {"status-500"}
    assert {one["kind"] for one in report["samples"]} == {"get:/notes"}
    color = team.machines.edge("edge1")["stable"]
    assert report["colors"][color]["failed"] == 0, report["samples"]
    assert customers.failed == []
    assert team.lost(customers) == []


def test_a_drill_starts_it_on_restored_data(shop: ShopTeam) -> None:
    team = shop
    team.drill()
