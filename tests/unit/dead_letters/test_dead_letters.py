"""Dead letters in a real Redis: grouped, shown, sent again, deleted. Workers are those of RQ, or take as asynq's do."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from ansible_collections.turnout.ops.plugins.module_utils import dead_letters
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from asynq_tasks import Tasks
from hypothesis import given
from hypothesis import strategies as st
from redis_server import restore

PACE = {"rate": 2000, "batch": 50, "stop_at": 0.1, "settle_s": 10}


def ask(url: str, do: str, layout: str = "asynq", pace: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    arguments = {"url": url, "layout": layout, "do": do, "limit_s": 60, "most": 20, "held_s": 600}
    select = {name: more.pop(name) for name in ("ids", "older_s", "newer_s", "wanted") if name in more}
    if "wanted" in select:
        select["group"] = select.pop("wanted")
    return dead_letters.act({**arguments, "pace": {**PACE, **(pace or {})}, "select": select, **more})


@contextmanager
def worker(tasks: Tasks, *, seconds: float = 0.0, fails: bool = False) -> Iterator[None]:
    """Take tasks as a server of asynq does; count each that is done in `effects`."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            name = tasks.take()
            if name is None:
                time.sleep(0.005)
                continue
            time.sleep(seconds)
            if fails:
                tasks.fail(name)
            else:
                tasks.client.hincrby("effects", name, 1)
                tasks.finish(name)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def see_no_work_left(tasks: Tasks) -> None:
    """Wait until the worker has taken and ended every task: a replay that stops leaves the rest of its batch to it."""
    deadline = time.monotonic() + 10
    while tasks.client.llen(tasks.key + "pending") + tasks.client.llen(tasks.key + "active"):
        assert time.monotonic() < deadline, "the worker has not ended its tasks within 10 s"
        time.sleep(0.02)


def fill(client: redis.Redis, count: int, error: str = "smtp 421 for user{0}@example.org") -> Tasks:
    tasks = Tasks(client)
    for number in range(count):
        tasks.archive(f"t{number}", "mail:send", json.dumps({"to": number}), error.format(number), 1000.0 + number)
    return tasks


@pytest.mark.parametrize("server", ["redis"], indirect=True)  # it takes long
def test_ten_thousand_are_grouped_within_five_seconds(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 7000)
    for number in range(3000):
        tasks.archive(f"p{number}", "push:send", "{}", f"timeout after {number} ms", 5000.0 + number)
    began = time.monotonic()
    seen = ask(url, "list")
    assert time.monotonic() - began < 5
    assert [(one["type"], one["cause"], one["count"]) for one in seen["groups"]] == [
        ("mail:send", "smtp # for #", 7000),
        ("push:send", "timeout after # ms", 3000),
    ]
    assert (seen["groups"][0]["oldest"], seen["groups"][0]["newest"]) == (1000.0, 7999.0)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("dial tcp 10.0.0.31:5432: connect: connection refused", "dial tcp #: connect: connection refused"),
        ("User 4711 not found\n  at x.js:12", "User # not found"),
        ("no row for 'anna' in \"users\"", "no row for # in #"),
        ("job 6f9619ff-8b86-4d01-b42d-00c04fc964ff is gone", "job # is gone"),
        ("bad digest deadbeefdeadbeef0", "bad digest #"),
        ("decade of facade", "decade of facade"),
        ("", ""),
    ],
)
def test_causes_of_one_kind_are_one(error: str, cause: str) -> None:
    assert dead_letters.cause_of(error) == cause


def test_a_selection_is_by_group_age_and_id(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 5)
    now = time.time()
    tasks.archive("young", "push:send", "{}", "no", now - 10)
    group = next(one["group"] for one in ask(url, "list")["groups"] if one["type"] == "push:send")
    assert ask(url, "list", wanted=group)["selected"] == 1
    assert ask(url, "list", older_s=60)["selected"] == 5
    assert ask(url, "list", newer_s=60)["selected"] == 1
    assert ask(url, "list", ids=["t1", "t3", "none"])["selected"] == 2
    assert ask(url, "list", ids=["t1"], wanted=group)["selected"] == 0
    assert ask(url, "list")["dead"] == 6


def test_a_payload_is_shown_without_what_is_declared_and_what_is_named_as_a_secret(
    client: redis.Redis, url: str
) -> None:
    tasks = Tasks(client)
    payload = {"to": "anna@example.org", "deep": [{"Password": "p1", "n": 1}], "apiKey": "k1", "subject": "hello"}
    tasks.archive("a", "mail:send", json.dumps(payload), "no", 1.0)
    tasks.archive("b", "mail:send", "gob \x01\x02 anna", "no", 2.0)
    letters = ask(url, "show", redact=["to"])["letters"]
    assert json.loads(letters[0]["payload"]) == {
        "to": "(hidden)", "deep": [{"Password": "(hidden)", "n": 1}], "apiKey": "(hidden)", "subject": "hello"
    }  # fmt: skip
    assert letters[1]["payload"] == "(11 characters that are no JSON)"


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)), st.text(min_size=1))
def test_nothing_below_a_hidden_key_is_shown(value: Any, key: str) -> None:
    shown = json.loads(dead_letters.redacted(json.dumps({"list": [{key: [value, "canary-4711"]}]}), [key]))
    assert "canary-4711" not in json.dumps(shown)


def test_a_replay_does_every_task_once(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 120)
    with worker(tasks):
        seen = ask(url, "replay")
    assert seen["ended"] == "done"
    assert (seen["moved"], seen["done"], seen["again"], seen["gone"]) == (120, 120, 0, 0)
    assert {int(count) for count in client.hvals("effects")} == {1}
    assert client.hlen("effects") == 120
    assert client.zcard(tasks.key + "archived") == 0


def test_what_the_real_library_of_go_archived_is_told_and_done_once(client: redis.Redis, url: str) -> None:
    """Its own worker does them: tests/more/test_9_dead_letters.py."""
    restore(client, Path(__file__).parent / "asynq_archived.json")
    seen = ask(url, "show")
    assert [(one["type"], one["cause"], one["count"]) for one in seen["groups"]] == [
        ("mail:send", "dial tcp #: mailbox of # refused", 9),
        ("push:send", "dial tcp #: mailbox of # refused", 3),
    ]
    assert json.loads(seen["letters"][0]["payload"]).keys() == {"to", "token"}
    assert "canary-4711" not in json.dumps(seen)
    with worker(Tasks(client)):
        seen = ask(url, "replay")
    assert (seen["ended"], seen["done"]) == ("done", 12)
    assert client.hgetall("effects") == {f"t{number}".encode(): b"1" for number in range(12)}


def test_check_sends_nothing(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 3)
    for do in ("replay", "drop"):
        assert ask(url, do, check=True)["selected"] == 3
    assert client.zcard(tasks.key + "archived") == 3
    assert client.llen(tasks.key + "pending") == 0


def test_a_poisoned_group_stops_in_its_first_batch(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 1000)
    with worker(tasks, fails=True):
        seen = ask(url, "replay")
        see_no_work_left(tasks)
    assert "of a batch are dead again" in seen["ended"]
    assert seen["moved"] <= dead_letters.FIRST_BATCH
    assert client.zcard(tasks.key + "archived") == 1000


def test_tasks_that_nobody_takes_stop_a_replay_and_stay_in_the_queue(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 30)
    seen = ask(url, "replay", pace={"settle_s": 0.5})
    assert "are not done after 0.5 s" in seen["ended"]
    assert seen["moved"] == client.llen(tasks.key + "pending") == 10
    assert client.zcard(tasks.key + "archived") == 20


@pytest.mark.parametrize("server", ["redis"], indirect=True)  # it takes long
def test_jobs_of_users_wait_no_longer_than_is_allowed(client: redis.Redis, url: str) -> None:
    """A worker of 50 tasks a second, 300 dead ones that could be sent in half a second, users' tasks every 50 ms."""
    tasks = fill(client, 300)
    waited: list[float] = []
    over = threading.Event()

    def users() -> None:
        number = 0
        while not over.is_set():
            name = f"user{number}"
            number += 1
            client.hset(tasks.key + "t:" + name, mapping={"state": "pending", "pending_since": time.time_ns()})
            client.lpush(tasks.key + "pending", name)
            began = time.monotonic()
            while client.hget(tasks.key + "t:" + name, "state") == b"pending" and time.monotonic() - began < 10:
                time.sleep(0.005)
            waited.append(time.monotonic() - began)
            time.sleep(0.05)

    asking = threading.Thread(target=users)
    with worker(tasks, seconds=0.02):
        asking.start()
        try:
            seen = ask(url, "replay", pace={"rate": 1000, "batch": 300, "max_delay_s": 3.0, "settle_s": 30})
        finally:
            over.set()
            asking.join(20)
    assert seen["ended"] == "done"
    assert len(waited) > 10
    assert max(waited) <= 3.0


KILLED = """
import json, sys
from ansible_collections.turnout.ops.plugins.module_utils import dead_letters
print("begun", flush=True)
dead_letters.act(json.loads(sys.argv[1]))
"""


@pytest.mark.parametrize("server", ["redis"], indirect=True)  # it takes long
def test_a_replay_that_is_killed_twenty_times_loses_and_doubles_nothing(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 600)
    chance = random.Random(4711)  # noqa: S311 - no secret
    arguments = {"url": url, "layout": "asynq", "do": "replay", "limit_s": 60, "pace": {**PACE, "rate": 400}}
    kills = 0
    with worker(tasks):
        for _ in range(20):
            words = [sys.executable, "-c", KILLED, json.dumps(arguments)]
            replay = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert replay.stdout is not None
            assert replay.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0.0, 0.08))
            kills += replay.poll() is None
            replay.kill()
            replay.wait()
            replay.stdout.close()
        seen = ask(url, "replay")
        see_no_work_left(tasks)
    assert kills == 20, "each was killed in its work"
    assert seen["moved"] > 0, "it was never at its end"
    assert client.hlen("effects") == 600
    assert {int(count) for count in client.hvals("effects")} == {1}


def test_a_dropped_task_is_gone_with_its_lock(client: redis.Redis, url: str) -> None:
    tasks = fill(client, 2)
    client.hset(tasks.key + "t:t0", "unique_key", "asynq:{mails}:unique:x")
    client.set("asynq:{mails}:unique:x", "t0")
    assert ask(url, "drop", ids=["t0"])["dropped"] == 1
    assert sorted(client.keys()) == sorted([b"asynq:queues", b"asynq:{mails}:archived", b"asynq:{mails}:t:t1"])


def test_a_queue_that_redis_does_not_know_is_told(client: redis.Redis, url: str) -> None:
    fill(client, 1)
    with pytest.raises(ProbeError, match="no queue of asynq called mail; there are: mails"):
        ask(url, "list", queues=["mail"])
    with pytest.raises(ProbeError, match="celery keeps no dead letters"):
        ask(url, "list", "celery")


JOBS = """
import os
import redis

def send(to, fails=True):
    if fails and not os.path.exists(os.environ["MENDED"]):
        raise ConnectionError(f"smtp refused {to}")
    redis.Redis(port=int(os.environ["PORT"])).hincrby("effects", str(to), 1)
"""


@pytest.fixture
def rq_queue(client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[rq.Queue, Any]]:
    """Return a queue of RQ with 25 jobs that the library's own worker gave up, and how to let that worker work."""
    (tmp_path / "given_jobs.py").write_text(textwrap.dedent(JOBS))
    port = client.connection_pool.connection_kwargs["port"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PORT": str(port), "MENDED": str(tmp_path / "mended")}
    queue = rq.Queue("mails", connection=client)
    for number in range(25):
        queue.enqueue("given_jobs.send", f"user {number}", failure_ttl=3600)
    words = [str(Path(sys.executable).parent / "rq"), "worker", "-w", "rq.worker.SimpleWorker", "--url"]
    words += [f"redis://127.0.0.1:{port}/0", "--quiet"]
    options = {"env": environment, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*words, "--burst", "mails"], check=True, timeout=60, **options)  # type: ignore[call-overload]
    running = []

    def work() -> None:
        running.append(subprocess.Popen([*words, "mails"], **options))  # type: ignore[call-overload]

    yield queue, work
    for one in running:
        one.kill()
        one.wait()


def test_failed_jobs_of_rq_are_told_and_done_by_its_own_worker(
    rq_queue: tuple[rq.Queue, Any], client: redis.Redis, url: str, tmp_path: Path
) -> None:
    queue, work = rq_queue
    seen = ask(url, "list", "rq")
    (group,) = seen["groups"]
    assert (group["queue"], group["type"], group["count"]) == ("mails", "given_jobs.send", 25)
    assert group["cause"] == "ConnectionError: smtp refused user #"
    (tmp_path / "mended").touch()
    work()
    seen = ask(url, "replay", "rq", pace={"settle_s": 30})
    assert (seen["ended"], seen["moved"], seen["done"], seen["again"]) == ("done", 25, 25, 0)
    assert client.hlen("effects") == 25
    assert {int(count) for count in client.hvals("effects")} == {1}
    assert len(queue.failed_job_registry) == 0
    assert len(queue.finished_job_registry) == 25


def test_jobs_of_rq_that_fail_again_stop_in_the_first_batch(rq_queue: tuple[rq.Queue, Any], url: str) -> None:
    queue, work = rq_queue
    work()
    seen = ask(url, "replay", "rq", pace={"settle_s": 30})
    assert "dead again" in seen["ended"]
    assert seen["moved"] <= 10
    deadline = time.monotonic() + 20
    while len(queue.failed_job_registry) < 25 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(queue.failed_job_registry) == 25


def test_a_job_of_rq_that_waits_again_does_not_expire(
    rq_queue: tuple[rq.Queue, Any], client: redis.Redis, url: str
) -> None:
    queue, _ = rq_queue
    one = queue.failed_job_registry.get_job_ids()[0]
    assert client.ttl(f"rq:job:{one}") > 0
    ask(url, "replay", "rq", ids=[one], pace={"settle_s": 0})
    assert client.ttl(f"rq:job:{one}") == -1
    assert queue.get_job_ids() == [one]
    job = rq.job.Job.fetch(one, connection=client)
    assert (job.get_status(), job.started_at, job.ended_at) == ("queued", None, None)


def test_a_job_of_rq_with_a_rate_limit_is_left_to_rq(
    rq_queue: tuple[rq.Queue, Any], client: redis.Redis, url: str
) -> None:
    queue, _ = rq_queue
    one = queue.failed_job_registry.get_job_ids()[3]
    client.hset(f"rq:job:{one}", "rate_limit_key", "smtp")
    with pytest.raises(ProbeError, match=f"rq requeue {one}"):
        ask(url, "replay", "rq")
    assert len(queue.failed_job_registry) == 25


def test_a_dropped_job_of_rq_is_gone(rq_queue: tuple[rq.Queue, Any], client: redis.Redis, url: str) -> None:
    queue, _ = rq_queue
    assert ask(url, "drop", "rq")["dropped"] == 25
    assert not [key for key in client.scan_iter() if b"job:" in key or b"results:" in key]
    assert len(queue.failed_job_registry) == 0


def sidekiq(client: redis.Redis, **more: Any) -> str:
    """Put a job into Sidekiq's dead set; return its text."""
    job = {
        "retry": 5, "queue": "mails", "class": "Mail", "args": [], "jid": "4042edc1b4f003c12e669332",
        "enqueued_at": 1796012095.945461, "error_class": "RuntimeError", "error_message": "no 12",
        "failed_at": 1796012096.1259472, "retry_count": 5, **more,
    }  # fmt: skip
    text = json.dumps(job, separators=(",", ":"))
    client.sadd("queues", "mails")
    client.zadd("dead", {text: 1796012096.1263397})
    return text


def test_a_job_of_sidekiq_goes_back_as_it_was(client: redis.Redis, url: str) -> None:
    """Lua's own JSON makes `{}` of an empty list and rounds great numbers."""
    sidekiq(client, args=[[], {}, 9007199254740993, 0.1, "ä"], at_most=[])
    seen = ask(url, "replay", "sidekiq", pace={"settle_s": 0})
    assert seen["moved"] == 1
    (text,) = client.lrange("queue:mails", 0, -1)
    job = json.loads(text)
    assert job["args"] == [[], {}, 9007199254740993, 0.1, "ä"]
    assert job["at_most"] == []
    assert job["retry_count"] == 4
    assert job["enqueued_at"] == pytest.approx(time.time(), abs=60)
    assert client.zcard("dead") == 0


def test_version_8_of_sidekiq_counts_in_milliseconds(client: redis.Redis, url: str) -> None:
    sidekiq(client, enqueued_at=1796012095945, failed_at=1796012096125, wrapped="MailJob")
    (group,) = ask(url, "list", "sidekiq")["groups"]
    assert (group["type"], group["cause"], group["oldest"]) == ("MailJob", "RuntimeError: no #", 1796012096.125)
    ask(url, "replay", "sidekiq", pace={"settle_s": 0})
    enqueued = json.loads(client.lindex("queue:mails", 0))["enqueued_at"]
    assert isinstance(enqueued, int)
    assert enqueued == pytest.approx(time.time() * 1000, abs=60_000)


def test_a_job_of_sidekiq_that_is_dead_again_stops_the_replay(client: redis.Redis, url: str) -> None:
    text = sidekiq(client)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            if client.rpop("queue:mails"):
                client.zadd("dead", {text: time.time()})
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert "1 of 1 of a batch are dead again" in ask(url, "replay", "sidekiq")["ended"]
    finally:
        stop.set()
        thread.join(10)
    assert client.zcard("dead") == 1


BULL = "bull:mails:"


def bull(client: redis.Redis, count: int = 3, **more: str) -> None:
    """Put jobs into BullMQ's failed set as its library left one (../checklist/queue_dumps/bullmq.json)."""
    client.hset(BULL + "meta", mapping={"opts.maxLenEvents": "10000", "version": "bullmq:5.81.5"})
    for number in range(1, count + 1):
        job = {
            "name": "send", "data": json.dumps({"to": number, "token": "canary-4711"}), "opts": '{"attempts":0}',
            "timestamp": "1796075597752", "delay": "0", "priority": "0", "ats": "1", "atm": "1", "stacktrace": "[]",
            "failedReason": f"smtp refused {number}", "processedOn": "1796075599211", "finishedOn": "1796075599251",
        }  # fmt: skip
        client.hset(f"{BULL}{number}", mapping={**job, **more})
        client.zadd(BULL + "failed", {str(number): 1796075599251.0})


def test_a_failed_job_of_bullmq_goes_back_to_its_queue(client: redis.Redis, url: str) -> None:
    bull(client)
    seen = ask(url, "show", "bullmq", ids=["2"])
    (group,) = seen["groups"]
    assert (group["queue"], group["type"], group["cause"], group["oldest"]) == (
        "mails", "send", "smtp refused #", 1796075599.251
    )  # fmt: skip
    assert json.loads(seen["letters"][0]["payload"]) == {"to": 2, "token": "(hidden)"}
    client.lpush(BULL + "wait", "9")
    assert ask(url, "replay", "bullmq", ids=["2"], pace={"settle_s": 0})["moved"] == 1
    assert client.lrange(BULL + "wait", 0, -1) == [b"2", b"9"], "workers take from the right"
    assert client.zrange(BULL + "marker", 0, -1) == [b"0"], "an idle worker wakes by it"
    left = client.hgetall(BULL + "2")
    assert not {b"failedReason", b"finishedOn", b"processedOn"} & set(left)
    assert left[b"atm"] == b"1", "it is tried once more, not as often as a new one"
    assert client.zrange(BULL + "failed", 0, -1) == [b"1", b"3"]
    (event,) = client.xrange(BULL + "events")
    assert event[1] == {b"event": b"waiting", b"jobId": b"2", b"prev": b"failed"}


def test_a_dropped_job_of_bullmq_is_gone_with_the_lock_of_a_deduplicated_one(client: redis.Redis, url: str) -> None:
    bull(client, 2, deid="once")
    client.set(BULL + "de:once", "2")
    assert ask(url, "drop", "bullmq", ids=["1"])["dropped"] == 1
    assert client.get(BULL + "de:once") == b"2", "the lock is the other one's"
    assert ask(url, "drop", "bullmq")["dropped"] == 1
    assert sorted(client.keys()) == [BULL.encode() + b"events", BULL.encode() + b"meta"]


def test_what_bullmq_alone_can_do_is_refused_before_anything_moves(client: redis.Redis, url: str) -> None:
    bull(client)
    client.hset(BULL + "3", "parentKey", "bull:orders:7")
    for do, call in (("replay", r"retry\(\)"), ("drop", r"remove\(\)")):
        with pytest.raises(ProbeError, match=f"job 3 belongs to a flow.*{call}"):
            ask(url, do, "bullmq")
    client.hset(BULL + "meta", "paused", "1")
    with pytest.raises(ProbeError, match=r"queue mails is paused.*queue.resume\(\)"):
        ask(url, "replay", "bullmq", ids=["1"])
    assert client.zcard(BULL + "failed") == 3
    with pytest.raises(ProbeError, match="no queue of BullMQ called mail; there are: mails"):
        ask(url, "list", "bullmq", queues=["mail"])


def test_jobs_of_bullmq_that_fail_again_stop_in_the_first_batch(client: redis.Redis, url: str) -> None:
    bull(client, 30)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            if (name := client.rpoplpush(BULL + "wait", BULL + "active")) is None:
                time.sleep(0.01)
                continue
            with client.pipeline() as pipe:
                pipe.lrem(BULL + "active", 0, name)
                pipe.zadd(BULL + "failed", {name: time.time() * 1000})
                pipe.execute()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        seen = ask(url, "replay", "bullmq")
    finally:
        stop.set()
        thread.join(10)
    assert "of a batch are dead again" in seen["ended"]
    assert seen["moved"] <= 10


FIELDS = {"type_field": "kind", "error_field": "error.text", "time_field": "at"}


def test_a_plain_list_is_grouped_and_goes_back_to_the_end_of_new_jobs(client: redis.Redis, url: str) -> None:
    for number in (1, 2, 2):
        entry = {"kind": "mail", "id": number, "error": {"text": f"refused {number}"}, "at": 1_796_012_096_125}
        client.lpush("jobs:dead", json.dumps(entry))
    client.lpush("jobs", "at the front")
    given_keys = {"keys": ["jobs"], "dead_keys": ["jobs:dead"], **FIELDS}
    (group,) = ask(url, "list", "list", **given_keys)["groups"]
    assert (group["type"], group["cause"], group["count"], group["oldest"]) == ("mail", "refused #", 3, 1796012096.125)
    client.delete("jobs")
    thread = threading.Thread(target=lambda: [client.brpop("jobs", 5) for _ in range(3)])
    thread.start()
    seen = ask(url, "replay", "list", **given_keys)
    thread.join(20)
    assert (seen["ended"], seen["moved"], seen["done"]) == ("done", 3, 3)
    assert client.llen("jobs:dead") == client.llen("jobs") == 0


def test_entries_of_a_list_that_come_back_with_another_text_stop_the_replay(client: redis.Redis, url: str) -> None:
    for number in range(30):
        client.lpush("jobs:dead", json.dumps({"kind": "mail", "id": number, "tries": 1}))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            text = client.rpop("jobs")
            if text:
                time.sleep(0.3)
                entry = json.loads(text)
                client.lpush("jobs:dead", json.dumps({**entry, "tries": entry["tries"] + 1}))
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        seen = ask(url, "replay", "list", keys=["jobs"], dead_keys=["jobs:dead"], **FIELDS)
    finally:
        stop.set()
        thread.join(10)
    assert "dead again" in seen["ended"]
    assert seen["moved"] <= 10


def test_entries_of_a_stream_go_back_with_all_their_fields(client: redis.Redis, url: str) -> None:
    client.xgroup_create("jobs", "workers", mkstream=True)
    one = client.xadd("jobs:dead", {"kind": "mail", "to": "a", "token": "t"}).decode()
    client.xadd("jobs:dead", {"kind": "push", "to": "b"})
    given_keys = {"keys": ["jobs"], "dead_keys": ["jobs:dead"], "group": "workers", "type_field": "kind"}
    (letter,) = ask(url, "show", "stream", ids=[one], **given_keys)["letters"]
    assert json.loads(letter["payload"]) == {"kind": "mail", "to": "a", "token": "(hidden)"}

    def work() -> None:
        while not (got := client.xreadgroup("workers", "w1", {"jobs": ">"}, count=1, block=5000)):
            pass
        taken.append(got[0][1][0][1])
        client.xack("jobs", "workers", got[0][1][0][0])

    taken: list[Any] = []
    thread = threading.Thread(target=work)
    thread.start()
    seen = ask(url, "replay", "stream", ids=[one], **given_keys)
    thread.join(20)
    assert (seen["ended"], seen["done"]) == ("done", 1)
    assert taken == [{b"kind": b"mail", b"to": b"a", b"token": b"t"}]
    assert client.xlen("jobs:dead") == 1


def test_a_key_of_another_kind_is_refused_before_anything_moves(client: redis.Redis, url: str) -> None:
    client.set("jobs:dead", "x")
    with pytest.raises(ProbeError, match="jobs:dead is a string and no list"):
        ask(url, "replay", "list", keys=["jobs"], dead_keys=["jobs:dead"])
    with pytest.raises(ProbeError, match="dead_keys"):
        ask(url, "list", "list", keys=["jobs"], dead_keys=[])
