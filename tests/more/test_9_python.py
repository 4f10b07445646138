"""A Python application that others wrote, from PyPI, by docs/applications/python.md alone: Superset.

Flask, Alembic by Flask-Migrate, and Celery. Not on the lab: its release is built as the page says and unpacked, and
what `turnout init --like python` wrote starts it here, against a real PostgreSQL and a real Redis.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ansible_collections.turnout.ops.plugins.module_utils import migration_state
from foreign_bed import merge
from insight_team import BIN, CHANGES, HEAD, LIMIT_S, OPTIONS, adds, lay, project, run
from node_shop import Database
from ports import free_port
from rotation_servers import RedisServer
from turnout.migrations.tools import TOOLS

JOB_S = 3.0


class Here:
    """A release of the application, unpacked, with the servers that its processes need."""

    def __init__(self, place: Path, database: Database, queue: RedisServer) -> None:
        self.place, self.database, self.folder = place, database, place / "insight"
        hosts = ("--edge", "edge1=10.0.0.11", "--api", "app1=10.0.0.21", "--worker", "app1")
        data = ("--postgres", "data1=10.0.0.31", "--redis", "data1")
        words = ("--like", "python", "--service", "insight", *hosts, *data, *OPTIONS)
        run(BIN / "turnout", "init", place / "ops", *words)
        written = (place / "ops/inventories/production/group_vars/all/service.yml").read_text()
        self.service: dict[str, Any] = yaml.safe_load(written)["service"]
        merge(self.service, CHANGES)
        project(self.folder, place / "venv")
        self.manifest = self.release("1.0.0")
        self.laid = place / "laid"
        self.laid.mkdir()
        run("tar", "--zstd", "-xf", place / "dist/insight-1.0.0.tar.zst", "-C", self.laid)
        own = {name: self.service["environment"][name] for name in ("PYTHONPATH", "XDG_RUNTIME_DIR")}
        foreign = ("PYTHON", "VIRTUAL_ENV")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            **own, "SECRET_KEY": "a-key-that-is-of-this-test-alone", "DATABASE_URL": database.url("insight_app"),
            "REDIS_URL": f"redis://127.0.0.1:{queue.port}/0", "TURNOUT_RELEASE": "1.0.0", "TURNOUT_COLOR": "blue",
            "STATE_DIRECTORY": str(place), "HOME": "/nonexistent", "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def release(self, version: str) -> dict[str, Any]:
        """Build a release of the project's folder; return its manifest."""
        names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        for line in (("init", "-q"), ("add", "."), ("commit", "-q", "--allow-empty", "-m", version)):
            run("git", "-C", self.folder, *line, env={**os.environ, **names})
        key, signers, out = (self.place / name for name in ("release.key", "allowed_signers", "dist"))
        if not key.exists():
            words = ("--key", key, "--principal", "ci@example.org", "--allowed-signers", signers)
            run(BIN / "turnout", "release", "keygen", *words)
        run(BIN / "turnout", "release", "build", self.folder, "--version", version, "--key", key, "--out", out)
        manifest: dict[str, Any] = yaml.safe_load((out / f"insight-{version}.release.yml").read_text())
        return manifest

    def words(self, command: str, **more: str) -> list[str]:
        """Return a command of the service file as systemd would start it, with the interpreter that laid lib/."""
        for name, value in {**self.env, **more}.items():
            command = command.replace(f"${{{name}}}", value)
        python = str(self.place / "venv/bin/python")
        return shlex.split(command.replace("/usr/bin/python3", python).replace("%%", "%"))

    def migrate(self, word: str) -> subprocess.CompletedProcess[str]:
        """Run a command of migrations as the service file has it, with the role that owns the database."""
        own = self.service["migrate"]
        command = own.get(word) or f"{own['command']} {TOOLS[own['tool']][word]}"
        env = {**self.env, "DATABASE_URL": self.database.url("insight_migrate")}
        done = subprocess.run(
            self.words(command), cwd=self.laid, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
        return done

    def state(self) -> dict[str, Any]:
        """Return where the database is in the release's list."""
        schema = {"order": self.manifest["schema"].get("order", "number"), "migrations": self.manifest["migrations"]}
        done = self.migrate("version")
        seen = migration_state.read("alembic", done.returncode, done.stdout, done.stderr)
        placed: dict[str, Any] = migration_state.place(seen, schema)
        return placed

    @contextmanager
    def process(self, command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process as the service file has it."""
        with (self.place / "log").open("ab") as log:
            process = subprocess.Popen(
                self.words(command, **more), cwd=self.laid, env={**self.env, **more}, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def api(self) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """Run the API until it answers the question about its health."""
        port, health = str(free_port()), self.service["api"]["health"]
        url = f"http://127.0.0.1:{port}"
        with self.process(self.service["api"]["command"], PORT=port) as process:

            def answers() -> bool:
                assert process.poll() is None, (self.place / "log").read_text()[-3000:]
                try:
                    answer = requests.get(url + health["path"], headers={"Host": health["host"]}, timeout=5)
                except requests.RequestException:
                    return False
                return answer.status_code == 200

            until(answers)
            yield process, url

    def done(self, job: str) -> str:
        """Return by which release a job was begun, and how often it was done."""
        rows = dict(row.split("|", 1) for row in self.database.sql("SELECT id, taken_by, done FROM insight_job"))
        return rows[job]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Tell whether it ends by SIGTERM, well or by the signal itself, as systemd counts it."""
    process.terminate()
    return process.wait(timeout=within_s) in (0, -15)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """Return a release of the application, its migrations not applied yet."""
    folder = tmp_path_factory.mktemp("redis")
    with Database.started("insight") as database:
        queue = RedisServer(folder)
        try:
            yield Here(tmp_path_factory.mktemp("python"), database, queue)
        finally:
            queue.stop()


def test_its_release_lists_the_revisions_that_alembic_applies_in_alembics_order(here: Here) -> None:
    listed = [one["id"] for one in here.manifest["migrations"]]
    assert len(listed) > 300
    assert set(here.manifest["environment"]) == set(here.service["environment"])
    before = here.state()
    assert (before["version"], before["pending"]) == (0, listed)
    here.migrate("up")
    after = here.state()
    assert (after["version"], after["pending"], after["unlisted"]) == (len(listed), [], [])


def test_the_last_revision_is_taken_back_and_applied_again(here: Here) -> None:
    whole = here.state()["version"]
    here.migrate("down")
    back = here.state()
    assert (back["version"], back["pending"]) == (whole - 1, ["insight_1"])
    assert HEAD in here.migrate("version").stdout
    here.migrate("up")
    assert here.state()["version"] == whole


def test_a_later_release_with_a_revision_has_it_pending(here: Here) -> None:
    added = adds("note", 2)
    lay(here.folder, added)
    try:
        manifest = here.release("1.1.0")
    finally:
        for name in added:
            (here.folder / name).unlink()
    last = manifest["migrations"][-1]
    assert (last["id"], last["kind"]) == ("insight_2", "expand")
    assert manifest["migrations"][:-1] == here.manifest["migrations"]


def test_a_request_at_hand_is_answered_when_the_api_is_told_to_end(here: Here) -> None:
    with here.api() as (process, url):
        assert requests.get(f"{url}/health", timeout=60).text == "OK"  # Superset's own
        assert requests.get(f"{url}/login/", timeout=60).status_code == 200
        codes: list[int] = []
        asks = threading.Thread(target=lambda: codes.append(requests.get(f"{url}/slow", timeout=60).status_code))
        asks.start()
        time.sleep(1)
        assert ended(process, here.service["api"]["drain_s"])
        asks.join()
        assert codes == [200]


def test_a_job_of_a_request_is_done_and_one_at_hand_is_ended_when_the_worker_is_told_to_end(here: Here) -> None:
    worker = here.service["workers"]["jobs"]
    with here.api() as (_, url):

        def add(seconds: float) -> str:
            answer = requests.get(f"{url}/jobs/add/{seconds}", timeout=60)
            assert answer.status_code == 200, answer.text[-500:]
            return answer.text

        with here.process(worker["command"]) as process:
            quick = add(0.1)
            until(lambda: here.done(quick) == "1.0.0|1")
            long = add(JOB_S)
            until(lambda: here.done(long) == "1.0.0|0")
            assert ended(process, worker["drain_s"])
            assert here.done(long) == "1.0.0|1"
            later = add(0.1)
        assert here.done(later) == "|0"
        with here.process(worker["command"]) as process:
            until(lambda: here.done(later) == "1.0.0|1")
            assert ended(process, worker["drain_s"])
    assert here.database.sql("SELECT count(*) FROM insight_job WHERE done <> 1") == ["0"]


def test_beat_begins_and_ends_by_its_signal(here: Here) -> None:
    with here.process(here.service["scheduler"]["command"]) as process:
        until(lambda: process.poll() is not None or (here.place / "celerybeat-schedule").exists())
        assert process.poll() is None, (here.place / "log").read_text()[-3000:]
        assert ended(process, 60)
