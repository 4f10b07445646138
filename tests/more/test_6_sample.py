"""The sample service keeps the promises that tests of releases lean on; each is tried by breaking something."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from harness import BIN, ROOT, Turnout
from sample_bed import API_PORT, LOAD, METRICS_PORT, Bed, until

sys.path.insert(0, str(ROOT / "tests"))
from load.http1 import Connection, request_bytes
from load.mix import check_stream


@pytest.fixture(scope="module")
def made_bed() -> Iterator[Bed]:
    """Make PostgreSQL and Redis for this module on a host of the lab."""
    subprocess.run([str(BIN / "turnout"), "lab", "up"], check=True, cwd=ROOT)
    bed = Bed(Turnout(source=""))
    bed.make()
    yield bed
    bed.clear()


@pytest.fixture
def bed(made_bed: Bed) -> Bed:
    """Return the bed with nothing running and an empty database."""
    made_bed.fresh_data()
    return made_bed


@pytest.fixture
def ready(bed: Bed) -> Bed:
    """Return the bed with the schema of 1.1.0."""
    assert bed.migrate(bed.lay("1.1.0"), "up")[0] == 0
    return bed


class TestMigrate:
    """bin/migrate."""

    def test_up_down_and_version_tell_one_story(self, bed: Bed) -> None:
        old, new = bed.lay("1.0.0"), bed.lay("1.1.0")
        assert bed.migrate(old, "version") == (0, "0")
        assert bed.migrate(old, "up") == (0, "applied 0001_init")
        assert bed.migrate(old, "up") == (0, "nothing to do: up")
        assert bed.migrate(new, "up") == (0, "applied 0002_task_priority")
        assert bed.migrate(old, "version") == (0, "2")
        code, text = bed.migrate(old, "down")
        assert code == 1
        assert "not part of this release" in text
        assert bed.migrate(new, "down") == (0, "undone 0002_task_priority")
        assert bed.migrate(new, "version") == (0, "1")

    def test_one_that_fails_leaves_nothing_behind(self, ready: Bed) -> None:
        code, text = ready.migrate(ready.lay("1.2.0", "failing-migration"), "up")
        assert code == 1
        assert "0003_failing failed and was undone" in text
        assert ready.migrate(ready.lay("1.1.0"), "version") == (0, "2")
        assert ready.sql("SELECT to_regclass('half_done') IS NULL").strip() == "t"

    def test_a_second_migrator_waits_and_then_has_nothing_to_do(self, ready: Bed) -> None:
        slow = ready.lay("1.2.0", "slow-migration=4")
        ready.start("first", f"{slow}/bin/migrate up")
        until("the first is at work", lambda: "pg_sleep" in ready.sql("SELECT query FROM pg_stat_activity"))
        assert ready.migrate(slow, "up") == (0, "nothing to do: up")
        assert ready.ended("bed-s-first") == "exited 0"

    def test_a_second_migrator_does_not_wait_for_ever(self, ready: Bed) -> None:
        slow = ready.lay("1.2.0", "slow-migration=8")
        ready.start("first", f"{slow}/bin/migrate up")
        until("the first is at work", lambda: "pg_sleep" in ready.sql("SELECT query FROM pg_stat_activity"))
        code, text = ready.migrate(slow, "up", MIGRATE_LOCK_WAIT_S="1")
        assert code == 1
        assert "another migrator is at work (backend " in text
        assert ready.ended("bed-s-first") == "exited 0"

    def test_a_killed_migrator_leaves_neither_lock_nor_half_a_migration(self, ready: Bed) -> None:
        slow = ready.lay("1.2.0", "slow-migration=4")
        ready.start("first", f"{slow}/bin/migrate up")
        until("the first is at work", lambda: "pg_sleep" in ready.sql("SELECT query FROM pg_stat_activity"))
        ready.signal("bed-s-first", "SIGKILL")
        assert ready.ended("bed-s-first") == "killed KILL"
        assert ready.migrate(slow, "version") == (0, "2")
        assert ready.migrate(slow, "up") == (0, "applied 0003_slow")

    def test_a_lock_held_by_a_user_is_tried_for_again(self, bed: Bed) -> None:
        assert bed.migrate(bed.lay("1.0.0"), "up")[0] == 0
        holder = subprocess.Popen(
            [*bed.psql_command().split(), "-q"], stdin=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
        )
        assert holder.stdin
        holder.stdin.write("BEGIN; LOCK TABLE tasks IN ACCESS SHARE MODE; SELECT pg_sleep(3);\n")
        holder.stdin.close()
        until("the lock is held", lambda: "pg_sleep(3)" in bed.sql("SELECT query FROM pg_stat_activity"))
        assert bed.migrate(bed.lay("1.1.0"), "up") == (0, "applied 0002_task_priority")
        holder.wait()

    def test_an_expanded_schema_serves_the_old_version_and_a_contracted_one_does_not(self, ready: Bed) -> None:
        ready.api(ready.lay("1.0.0"))
        assert ready.get("/api/tasks/")[0] == 200
        assert ready.get("/api/tasks/", {"title": "a"})[0] == 201
        assert ready.migrate(ready.lay("1.2.0", "incompatible-migration"), "up")[0] == 0
        assert ready.get("/api/tasks/")[0] == 500
        assert ready.get("/api/tasks/", {"title": "a"})[0] == 500


class TestApi:
    """bin/api."""

    def test_every_kind_of_request_is_answered_right_under_load(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        done = subprocess.run(
            [
                sys.executable, str(LOAD / "load.py"), "--edge", f"{ready.address}:{API_PORT}", "--rate", "60",
                "--seconds", "8", "--users", "20",
            ],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        report = json.loads(done.stdout)
        assert report["failures"] == {}
        assert set(report["kinds"]) >= {"tasks", "static", "echo", "login", "create", "slow", "stream", "health"}
        assert set(report["releases"]) == {"1.1.0"}

    def test_a_stopped_api_finishes_what_it_has_in_hand_and_exits_0(self, ready: Bed) -> None:
        unit = ready.api(ready.lay("1.1.0"))

        async def go() -> tuple[list[int], list[str], str]:
            async def ask(path: str) -> tuple[int, str]:
                connection = await Connection.connect(ready.address, API_PORT)
                answer = await connection.ask(request_bytes("GET", path, "bed"), 30)
                return answer.status, check_stream(answer) if "stream" in path else ""

            idle = await Connection.connect(ready.address, API_PORT)
            assert (await idle.ask(request_bytes("GET", "/api/static_data/", "bed"), 10)).keep
            under_way = [asyncio.create_task(ask(path)) for path in ["/api/slow/?s=6", "/api/stream/?s=6"] * 5]
            await asyncio.sleep(2)
            await asyncio.to_thread(ready.signal, unit, "SIGTERM")
            answers = await asyncio.gather(*under_way)
            return [status for status, _ in answers], [fault for _, fault in answers], ""

        statuses, faults, _ = asyncio.run(go())
        assert set(statuses) == {200}
        assert set(faults) == {""}
        assert ready.ended(unit) == "exited 0"
        assert '"cut_off": 0' in ready.log(unit)

    def test_a_draining_api_asks_every_client_to_leave(self, ready: Bed) -> None:
        unit = ready.api(ready.lay("1.1.0"))

        async def go() -> tuple[bool, int]:
            idle = await Connection.connect(ready.address, API_PORT)
            assert (await idle.ask(request_bytes("GET", "/api/static_data/", "bed"), 10)).keep
            slow = asyncio.create_task(
                (await Connection.connect(ready.address, API_PORT)).ask(
                    request_bytes("GET", "/api/slow/?s=5", "bed"), 30
                )
            )
            await asyncio.sleep(1)
            await asyncio.to_thread(ready.signal, unit, "SIGTERM")
            await asyncio.sleep(0.2)
            last = await idle.ask(request_bytes("GET", "/api/health/", "bed"), 10)
            await slow
            return last.keep, last.status

        assert asyncio.run(go()) == (False, 503)

    def test_health_needs_the_database_at_first_and_survives_its_outage_later(self, ready: Bed) -> None:
        unit = ready.api(ready.lay("1.1.0"))
        ready.postgres("stop")
        try:
            until("the outage is noticed", lambda: "unreachable" in ready.get("/api/health/")[1])
            assert ready.get("/api/health/")[0] == 200
            assert ready.get("/api/static_data/")[0] == 200
            assert ready.get("/api/tasks/")[0] == 503
            ready.signal(unit, "SIGTERM")
            assert ready.ended(unit) == "exited 0"
            ready.api(ready.lay("1.1.0"), wait=False)
            until("the API listens", lambda: ready.get("/api/health/")[0])
            assert ready.get("/api/health/")[0] == 503
        finally:
            ready.postgres("start")
        until("the API is healthy", lambda: ready.get("/api/health/")[0] == 200)
        assert ready.get("/api/tasks/")[0] == 200

    def test_bad_requests_are_refused(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        assert ready.get("/api/tasks/", {"title": ""})[0] == 400
        assert ready.get("/api/tasks/", {"title": "a", "job_ms": 10**9})[0] == 400
        assert ready.get("/api/auth/login/", {"username": "user1", "password": "wrong"})[0] == 401
        assert ready.get("/api/tasks/", Authorization="Bearer 1.9999999999.forged")[0] == 401
        assert ready.get("/api/slow/?s=1e9")[0] == 400
        assert ready.get("/nowhere")[0] == 404

    def test_answers_are_counted_and_timed(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        ready.get("/api/static_data/")
        text = ready.get("/metrics")[1]
        assert 'http_requests_total{code="200",method="GET",path="/api/static_data/"} 1.0' in text
        assert 'http_request_duration_seconds_bucket{le="0.3",path="/api/static_data/"} 1.0' in text
        assert "_created" not in text

    @pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "SECRET_KEY"])
    def test_a_missing_variable_is_named(self, bed: Bed, name: str) -> None:
        unit = bed.start("api", f"{bed.lay('1.1.0')}/bin/api --port {API_PORT}", **{name: ""})
        assert bed.ended(unit) == "exited 2"
        assert f"{name} is not set" in bed.log(unit)


class TestWorker:
    """bin/worker."""

    def test_a_handover_under_load_runs_every_job_once(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        old = ready.worker(release, "worker-0", color="blue")
        sending = ready.jobs("handover", rate=12, seconds=45)
        for number, color in enumerate(["green", "blue", "green"], start=1):
            time.sleep(2)
            new = ready.worker(release, f"worker-{number}", color=color)
            ready.signal(old, "SIGUSR1")
            time.sleep(2)
            ready.signal(old, "SIGTERM")
            assert ready.ended(old) == "exited 0"
            assert '"given_back": 0' in ready.log(old)
            old = new
        assert sending.wait(120) == 0
        found = ready.verdict("handover")
        assert (found["lost"], found["doubled"], found["rerun"], found["failed"]) == ([], [], [], [])
        assert {by["color"] for by in found["by"]} == {"blue", "green"}

    def test_a_quiesced_worker_finishes_takes_nothing_and_can_resume(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        unit = ready.worker(release)
        assert ready.get("/api/tasks/", {"title": "held", "job_ms": 4000})[0] == 201
        until("it is taken", lambda: ready.sql("SELECT count(*) FROM job_runs").strip() == "1")
        ready.signal(unit, "SIGUSR1")
        until("it is quiescing", lambda: '"quiescing"' in ready.log(unit))
        assert ready.get("/api/tasks/", {"title": "later", "job_ms": 10})[0] == 201
        until("it is idle", lambda: '"idle"' in ready.log(unit))
        assert ready.sql("SELECT count(*) FROM jobs_done").strip() == "1"
        ready.signal(unit, "SIGUSR2")
        until("the other is done", lambda: ready.sql("SELECT count(*) FROM jobs_done").strip() == "2")
        assert ready.sql("SELECT max(run_count) FROM jobs_done").strip() == "1"

    def test_no_job_of_a_killed_worker_is_lost_or_recorded_twice(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        victim = ready.worker(release, "worker-0")
        ready.worker(release, "worker-1", color="green")
        sending = ready.jobs("killed", rate=12, seconds=15)
        time.sleep(7)
        ready.signal(victim, "SIGKILL")
        assert sending.wait(120) == 0
        found = ready.verdict("killed")
        assert (found["lost"], found["doubled"], found["failed"]) == ([], [], [])
        assert len(found["rerun"]) <= 16  # what it held

    def test_a_worker_out_of_time_gives_its_jobs_back(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        old = ready.worker(release, "worker-0", WORKER_DRAIN_S="1")
        assert ready.get("/api/tasks/", {"title": "long", "job_ms": 6000})[0] == 201
        until("it is taken", lambda: ready.sql("SELECT count(*) FROM job_runs").strip() == "1")
        ready.signal(old, "SIGTERM")
        assert ready.ended(old) == "exited 0"
        assert '"given_back": 1' in ready.log(old)
        ready.worker(release, "worker-1")
        until("it is done", lambda: ready.sql("SELECT result FROM jobs_done").strip() == "ok")
        assert ready.sql("SELECT result FROM job_runs ORDER BY run_id").split() == ["interrupted", "ok"]

    def test_an_outage_of_redis_loses_and_doubles_nothing(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        ready.worker(release, "worker-0")
        ready.worker(release, "worker-1", color="green")
        sending = ready.jobs("outage", rate=12, seconds=20)
        time.sleep(6)
        ready.redis_server("stop")
        time.sleep(3)
        ready.redis_server("start")
        assert sending.wait(120) == 0
        found = ready.verdict("outage")
        assert (found["lost"], found["doubled"], found["rerun"], found["failed"]) == ([], [], [], [])

    def test_jobs_that_redis_forgot_are_found_again(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        for number in range(20):
            assert ready.get("/api/tasks/", {"title": str(number), "job_ms": 10})[0] == 201
        ready.redis("flushall")
        ready.worker(ready.lay("1.1.0"))
        until("all are done", lambda: ready.sql("SELECT count(*) FROM jobs_done").strip() == "20")
        assert ready.sql("SELECT count(*) FROM job_runs").strip() == "20"

    def test_a_failing_job_is_tried_again_and_then_given_up(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        ready.worker(ready.lay("1.2.0", "failing-jobs"))
        assert ready.get("/api/tasks/", {"title": "a", "job_ms": 10})[0] == 201
        until("it is given up", lambda: ready.sql("SELECT result FROM jobs_done").strip() == "failed")
        assert ready.sql("SELECT result FROM job_runs").split() == ["failed"] * 3

    def test_jobs_are_counted_and_timed(self, ready: Bed) -> None:
        ready.api(ready.lay("1.1.0"))
        unit = ready.worker(ready.lay("1.1.0"), METRICS_PORT=str(METRICS_PORT))
        ready.get("/api/tasks/", {"title": "a", "job_ms": 10})

        def scrape() -> str:
            return ready.ssh(f"curl -s http://127.0.0.1:{METRICS_PORT}/metrics", check=False)

        until("it is counted", lambda: 'jobs_total{result="ok"} 1.0' in scrape())
        text = scrape()
        assert 'jobs_total{result="failed"} 0.0' in text
        assert "job_queue_delay_seconds_count 1.0" in text
        assert "worker_quiesced 0.0" in text
        ready.signal(unit, "SIGUSR1")
        until("it says so", lambda: "worker_quiesced 1.0" in scrape())


class TestScheduler:
    """bin/scheduler."""

    def run_for(self, bed: Bed, seconds: float) -> dict[str, list[int]]:
        """Enqueue a few jobs meanwhile, so that the time is known; return the slots' verdict."""
        assert bed.jobs("slots", rate=1, seconds=seconds).wait(seconds + 60) == 0
        verdict: dict[str, list[int]] = bed.verdict("slots", tick_s=1)["slots"]
        return verdict

    def test_a_handover_misses_and_doubles_no_slot(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        ready.worker(release)
        old = ready.start("scheduler-0", f"{release}/bin/scheduler", SCHEDULER_TICK_S="1")
        until("it has begun", lambda: ready.sql("SELECT count(*) FROM scheduler_enqueues").strip() != "0")
        sending = ready.jobs("slots", rate=1, seconds=25)
        for number in (1, 2):
            time.sleep(4)
            ready.signal(old, "SIGTERM")
            assert ready.ended(old) == "exited 0"
            time.sleep(2)  # nobody runs: these slots must be made up for
            old = ready.start(f"scheduler-{number}", f"{release}/bin/scheduler", SCHEDULER_TICK_S="1", color="green")
        assert sending.wait(60) == 0
        found = ready.verdict("slots", tick_s=1)["slots"]
        assert found["expected"] > 15
        assert (found["missing"], found["doubled"]) == ([], [])

    def test_two_at_once_leave_a_trace(self, ready: Bed) -> None:
        release = ready.lay("1.1.0")
        ready.api(release)
        ready.worker(release)
        for name in ("scheduler-0", "scheduler-1"):
            ready.start(name, f"{release}/bin/scheduler", SCHEDULER_TICK_S="1")
        time.sleep(3)
        assert self.run_for(ready, 8)["doubled"]


class TestFaults:
    """Releases that are built to be bad are bad in the way that was asked for."""

    def test_5xx_and_bad_smoke(self, ready: Bed) -> None:
        ready.api(ready.lay("1.2.0", "5xx=1"))
        assert ready.get("/api/health/")[0] == 200
        assert ready.get("/api/static_data/")[0] == 500
        ready.signal("bed-s-api", "SIGTERM")
        ready.ended("bed-s-api")
        ready.api(ready.lay("1.2.0", "bad-smoke"))
        status, body, headers = ready.get("/api/tasks/")
        assert (status, headers["x-release"]) == (200, "1.2.0")
        assert "tasks" not in body

    def test_latency(self, ready: Bed) -> None:
        ready.api(ready.lay("1.2.0", "latency=400"))
        begun = time.monotonic()
        assert ready.get("/api/static_data/")[0] == 200
        assert time.monotonic() - begun >= 0.4

    @pytest.mark.parametrize("fault", ["never-healthy", "unhealthy-on=data1"])
    def test_never_healthy(self, ready: Bed, fault: str) -> None:
        ready.api(ready.lay("1.2.0", fault), wait=False)
        until("it serves", lambda: ready.get("/api/static_data/")[0] == 200)
        assert ready.get("/api/health/")[0] == 503

    def test_unhealthy_elsewhere_is_healthy_here(self, ready: Bed) -> None:
        ready.api(ready.lay("1.2.0", "unhealthy-on=app2"))

    def test_crash_at_start(self, ready: Bed) -> None:
        unit = ready.api(ready.lay("1.2.0", "crash-at-start"), wait=False)
        assert ready.ended(unit) == "exited 1"

    def test_secrets_in_the_output(self, ready: Bed) -> None:
        release = ready.lay("1.2.0", "secret-in-output", "failing-migration")
        unit = ready.api(release)
        assert "bed-secret" in ready.log(unit)
        assert "bed-migrate" in ready.migrate(release, "up")[1]

    def test_an_armed_release_is_good_until_its_key_is_set(self, ready: Bed) -> None:
        ready.api(ready.lay("1.2.0", "5xx=1", armed=True))
        time.sleep(1)
        assert ready.get("/api/static_data/")[0] == 200
        ready.redis("set sample:armed:1.2.0 1")
        until("it turns bad", lambda: ready.get("/api/static_data/")[0] == 500, limit_s=5)
        ready.redis("del sample:armed:1.2.0")
        until("it turns good", lambda: ready.get("/api/static_data/")[0] == 200, limit_s=5)
