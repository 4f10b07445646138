"""A Node.js application that others wrote, from npm, by docs/applications/node.md alone: Vendure, with BullMQ.

Not on the lab: its release is built as the page says, and what `turnout init --like node` wrote starts it here, against
a real PostgreSQL and a real Redis.
"""

from __future__ import annotations

import os
import socket
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
from node_shop import BIN, LIMIT_S, SETTINGS, Database, Shop, run, words, written_service
from rotation_servers import RedisServer
from turnout.migrations.tools import TOOLS

JOB_S = 3


class Here:
    """A release of the shop, unpacked, with the servers that its processes need."""

    def __init__(self, place: Path, database: Database, queue: RedisServer) -> None:
        self.shop, self.place, self.database = Shop(place), place, database
        self.service = written_service(place / "ops")
        self.env = {
            **os.environ, **SETTINGS, "NODE_ENV": self.service["environment"]["NODE_ENV"], "TURNOUT_RELEASE": "1.0.0",
            "TURNOUT_COLOR": "blue",
            "DATABASE_URL": database.url("shop_app"), "REDIS_URL": f"redis://127.0.0.1:{queue.port}/0",
        }  # fmt: skip
        self.migrate_env = {**self.env, "DATABASE_URL": database.url("shop_migrate")}
        self.shop.first_migration(self.migrate_env)
        self.manifest = self._release()
        self.laid = place / "laid"
        self.laid.mkdir()
        run("tar", "--zstd", "-xf", place / "dist/shop-1.0.0.tar.zst", "-C", self.laid)

    def _release(self) -> dict[str, Any]:
        names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        for line in (("init", "-q"), ("add", "."), ("commit", "-qm", "1.0.0")):
            run("git", "-C", self.shop.folder, *line, env={**os.environ, **names})
        key, signers, out = (self.place / name for name in ("release.key", "allowed_signers", "dist"))
        run(
            BIN / "turnout", "release", "keygen", "--key", key, "--principal", "ci@example.org",
            "--allowed-signers", signers,
        )  # fmt: skip
        run(BIN / "turnout", "release", "build", self.shop.folder, "--version", "1.0.0", "--key", key, "--out", out)
        manifest: dict[str, Any] = yaml.safe_load((out / "shop-1.0.0.release.yml").read_text())
        return manifest

    def migrate(self, word: str) -> str:
        """Run a command of migrations as the service file has it."""
        command = f"{self.service['migrate']['command']} {TOOLS['typeorm'][word]}"
        return run(*words(command, self.env), cwd=self.laid, env=self.migrate_env)

    def state(self) -> dict[str, Any]:
        """Return where the database is in the release's list."""
        schema = {"order": self.manifest["schema"].get("order", "number"), "migrations": self.manifest["migrations"]}
        placed: dict[str, Any] = migration_state.place(
            migration_state.read("typeorm", 0, self.migrate("version"), ""), schema
        )
        return placed

    @contextmanager
    def process(self, command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process as the service file has it."""
        env = {**self.env, **more}
        with (self.place / "log").open("ab") as log:
            process = subprocess.Popen(words(command, env), cwd=self.laid, env=env, stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def api(self) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """Run the API until it answers the question about its health."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        health, url = self.service["api"]["health"], f"http://127.0.0.1:{port}"
        with self.process(self.service["api"]["command"], PORT=port) as process:

            def answers() -> bool:
                assert process.poll() is None, (self.place / "log").read_text()[-3000:]
                try:
                    answer = requests.get(url + health["path"], headers={"Host": health["host"]}, timeout=5)
                except requests.ConnectionError:
                    return False
                return answer.status_code == 200

            until(answers)
            yield process, url

    def notes(self) -> list[str]:
        """Return the names of the jobs that were done, one for each time."""
        return self.database.sql("SELECT name FROM note WHERE done ORDER BY number")


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
    """Return a release of the shop, its migrations not applied yet."""
    folder = tmp_path_factory.mktemp("redis")
    with Database.started() as database:
        queue = RedisServer(folder)
        try:
            yield Here(tmp_path_factory.mktemp("node"), database, queue)
        finally:
            queue.stop()


def test_its_release_lists_the_migrations_that_typeorm_applies(here: Here) -> None:
    assert [one["id"] for one in here.manifest["migrations"]] == ["1700000000000-Initial"]
    assert set(here.manifest["environment"]) == set(here.service["environment"])
    before = here.state()
    assert (before["version"], before["pending"]) == (0, ["1700000000000-Initial"])
    told = migration_state.progress(here.migrate("up"))
    assert told == ["Migration Initial1700000000000 has been executed successfully."]
    after = here.state()
    assert (after["version"], after["pending"], after["unlisted"]) == (1700000000000, [], [])
    run(*words("/usr/bin/node seed.js", here.env), cwd=here.laid, env={**here.env, "PORT": "0"})


def test_a_request_at_hand_is_answered_when_the_api_is_told_to_end(here: Here) -> None:
    with here.api() as (process, url):
        assert requests.post(f"{url}/shop-api", json={"query": "{ activeChannel { code } }"}, timeout=60).json() == {
            "data": {"activeChannel": {"code": "__default_channel__"}}
        }
        codes: list[int] = []

        def ask() -> None:
            codes.append(requests.post(f"{url}/notes", json={"name": "slow", "wait": 3}, timeout=60).status_code)

        asks = threading.Thread(target=ask)
        asks.start()
        time.sleep(1)
        assert ended(process, here.service["api"]["drain_s"])
        asks.join()
        assert codes == [202]


def test_a_job_of_a_request_is_done_and_one_at_hand_is_ended_when_the_worker_is_told_to_end(here: Here) -> None:
    worker = here.service["workers"]["jobs"]
    with here.api() as (_, url):

        def add(name: str, seconds: float) -> None:
            assert requests.post(f"{url}/notes", json={"name": name, "seconds": seconds}, timeout=60).ok

        with here.process(worker["command"]) as process:
            add("quick", 0)
            until(lambda: "quick" in here.notes())
            add("long", JOB_S)
            time.sleep(1)
            assert ended(process, worker["drain_s"])
            assert here.notes().count("long") == 1
            add("later", 0)
        time.sleep(1)
        assert "later" not in here.notes()
        with here.process(worker["command"]):
            until(lambda: "later" in here.notes())
    assert sorted(here.notes()) == ["later", "long", "quick", "slow"]
