"""Queues in a real Redis and a real Valkey that hold what the libraries wrote (queue_dumps/, with their versions).

The dumps of RQ, Sidekiq, Celery and BullMQ are of the libraries themselves, of a worker that was killed in its work;
asynq's keys are those of its source, with messages encoded from its own .proto. What changes with time, the clock alone
tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from ansible_collections.turnout.ops.plugins.module_utils import probes, queues
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.asynq import entries
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session
from redis_server import KINDS, restore, running

ROOT = Path(__file__).parents[3]
DUMPS = Path(__file__).parent / "queue_dumps"
RULES = yaml.safe_load((ROOT / "roles/redis/defaults/main.yml").read_text())["redis_rules"]["checklist"]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with running(request.param) as client:
        # As the role gives it to a server: whatever is read here may be read there.
        client.execute_command("ACL", "SETUSER", "checklist", "on", ">looks", *RULES.split())
        yield client


@pytest.fixture
def empty(server: redis.Redis) -> redis.Redis:
    server.flushall()
    return server


Look = Callable[..., dict[str, Any]]


def url(server: redis.Redis) -> str:
    return f"redis://checklist:looks@127.0.0.1:{server.connection_pool.connection_kwargs['port']}/0"


@pytest.fixture
def look(empty: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Return a look at a dump, `later` seconds after it was taken, or at what stands in Redis now."""

    def once(layout: str, *names: str, later: float | None = None, **arguments: Any) -> dict[str, Any]:
        if later is not None:
            monkeypatch.setattr(queues, "redis_now", lambda _session: restored(empty, layout) + later)
        given = {"url": url(empty), "layout": layout, "queues": list(names), "sample_s": 0.2, "max_overdue_s": 300}
        return queues.look({**given, "held_s": 3600, **arguments}, 10)

    return once


def restored(client: redis.Redis, library: str) -> float:
    """Write a dump where Redis is empty, and return when it was taken."""
    return restore(client, DUMPS / f"{library}.json")


def test_asynq_is_told_with_what_stands_still(look: Look) -> None:
    seen = look("asynq", later=0)
    assert (seen["depth"], seen["active"], seen["retry"], seen["dead"]) == (3, 5, 2, 2)
    assert seen["oldest_s"] == pytest.approx(40, abs=1)
    assert seen["lost"] == 3  # two leases are over for hours, one was never taken; one ended 5 s ago, as it may
    assert (seen["overdue"], seen["overdue_s"]) == (2, pytest.approx(7200, abs=1))
    assert seen["stuck"] == ["low/digest"]
    assert seen["paused"] == ["mails"]
    assert seen["workers"] == {"default": 1, "mails": 1}  # the second server was told to take no more


def test_a_named_queue_of_asynq_that_no_server_takes_from_has_no_worker(look: Look) -> None:
    assert look("asynq", "low", later=0)["workers"] == {"low": 0}
    assert look("asynq", "mails", later=60)["workers"] == {"mails": 0}


def test_an_aggregation_set_that_nobody_ended_is_stuck(look: Look, empty: redis.Redis) -> None:
    now = restored(empty, "asynq")
    empty.zadd("asynq:{mails}:aggregation_sets", {"asynq:{mails}:g:bulk:5f6c": now - 1000})
    assert look("asynq", "mails", later=0)["stuck"] == ["mails/bulk:5f6c"]


def test_schedule_entries_of_asynq_are_read_without_their_payload(empty: redis.Redis) -> None:
    now = restored(empty, "asynq")
    session = Session(url(empty), 5)
    found = entries(session, now)
    assert [(entry["name"], round(entry["due"] - now)) for entry in found] == [
        ("tick (@every 30s)", -2),
        ("report:daily (*/5 * * * *)", 7),
        ("sweep (@every 1h)", 1800),
    ]
    assert "secret" not in str(found)
    assert entries(session, now + 120) == []  # the scheduler is gone
    session.close()


def test_entries_are_asked_for_by_the_address_that_is_laid_on_the_host(
    empty: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = restored(empty, "asynq")
    monkeypatch.setattr(probes.time, "time", lambda: now)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/blue.env").write_text(f'REDIS_URL="{url(empty)}"\n')
    monkeypatch.setattr(probes, "ETC", str(tmp_path))
    asked = {"service": "shop", "color": "blue", "shown_by": "asynq", "redis_from": "REDIS_URL"}
    assert [round(one["due"] - now) for one in probes.due(asked, 5)["entries"]] == [-2, 7, 1800]
    with pytest.raises(ProbeError, match=r"blue\.env has no QUEUE_URL"):
        probes.due({**asked, "redis_from": "QUEUE_URL"}, 5)
    with pytest.raises(ProbeError, match=r"there is no .*/shop/green\.env"):
        probes.due({**asked, "color": "green"}, 5)
    empty.flushall()
    with pytest.raises(ProbeError, match="no scheduler of asynq"):
        probes.due(asked, 5)


def test_rq_is_told_with_the_job_of_a_worker_that_was_killed(look: Look, empty: redis.Redis) -> None:
    seen = look("rq", later=600)
    assert (seen["depth"], seen["active"], seen["dead"], seen["lost"]) == (4, 1, 1, 1)
    assert seen["oldest_s"] == pytest.approx(600, abs=10)
    assert (seen["overdue"], seen["overdue_s"]) == (1, pytest.approx(595, abs=2))
    assert seen["workers"] == {"low": 1, "mails": 1}
    assert look("rq", "mails", later=5)["lost"] == 0
    empty.delete(*empty.smembers("rq:workers"))  # as Redis does when nobody renews it
    assert look("rq", "mails", later=600)["workers"] == {"mails": 0}
    empty.set("rq:suspended", 1)
    assert look("rq", "mails", later=600)["paused"] == ["mails"]


def test_a_job_of_rq_that_is_stuck_on_its_way_to_a_worker_is_lost(look: Look, empty: redis.Redis) -> None:
    restored(empty, "rq")
    empty.lmove("rq:queue:low", "rq:queue:low:intermediate", "LEFT", "RIGHT")
    assert look("rq", "low", later=5)["lost"] == 1


@pytest.mark.parametrize("work", ["workers", "work"])  # before version 7, and since
def test_sidekiq_is_told_with_the_work_of_a_process_that_is_silent(look: Look, empty: redis.Redis, work: str) -> None:
    now = restored(empty, "sidekiq")
    (process,) = empty.smembers("processes")
    if work == "work":
        empty.rename(process + b":workers", process + b":work")
    fresh = look("sidekiq", later=3)
    assert (fresh["depth"], fresh["retry"], fresh["dead"], fresh["lost"]) == (5, 1, 1, 0)
    assert fresh["workers"] == {"low": 1, "mails": 1}
    assert fresh["oldest_s"] < 20
    silent = look("sidekiq", "mails", later=600)
    assert (silent["lost"], silent["workers"]) == (2, {"mails": 0})
    assert (silent["overdue"], silent["overdue_s"]) == (1, pytest.approx(600 + now - 1796012111.1, abs=2))
    assert look("sidekiq", "low", later=600)["lost"] == 0
    empty.sadd("paused", "low")
    assert look("sidekiq", "low", later=3)["paused"] == ["low"]


def test_a_process_of_sidekiq_8_tells_its_queues_by_capsule_and_is_none_once_it_is_quiet(
    look: Look, empty: redis.Redis
) -> None:
    """As lib/sidekiq/launcher.rb of 8.1.7 writes them, without the list that goes with 9.0."""
    restored(empty, "sidekiq")
    (process,) = empty.smembers("processes")
    info = {
        "capsules": {"default": {"concurrency": 5, "mode": "weighted", "weights": {"mails": 2}}},
        "version": "8.1.7",
    }
    empty.hset(process, "info", json.dumps(info))
    assert look("sidekiq", "mails", "low", later=3)["workers"] == {"mails": 1, "low": 0}
    empty.hset(process, "quiet", "true")
    assert look("sidekiq", "mails", later=3)["workers"] == {"mails": 0}


def test_celery_is_told_by_all_its_priorities_and_the_task_of_a_worker_that_was_killed(look: Look) -> None:
    seen = look("celery", "mails", later=3000)
    assert (seen["depth"], seen["active"], seen["lost"]) == (5, 1, 0)
    assert "workers" not in seen  # Redis shows none
    assert look("celery", "mails", later=3900)["lost"] == 1
    assert look("celery", "low", later=0)["depth"] == 0


def test_bullmq_is_told_with_the_job_of_a_worker_that_was_killed(look: Look, empty: redis.Redis) -> None:
    seen = look("bullmq", "mails", later=60)
    # Of seven one failed, one is held, two wait for their time; three are to be taken, one of them by its priority.
    assert (seen["depth"], seen["active"], seen["dead"], seen["lost"]) == (3, 1, 1, 0)
    assert seen["oldest_s"] == pytest.approx(60 + 4.1, abs=0.1)
    assert (seen["overdue"], seen["overdue_s"]) == (0, pytest.approx(59.1, abs=0.1))
    assert look("bullmq", "mails", later=400)["overdue"] == 1
    assert not {"workers", "retry"} & set(seen)  # Redis shows none, and no retry apart from what waits for its time
    empty.delete("bull:mails:2:lock")  # as Redis does after 30 s when nobody renews it
    assert look("bullmq", later=60)["lost"] == 1
    assert look("bullmq", "low", later=60)["lost"] == 0
    assert look("bullmq", later=60)["depth"] == 4


def test_a_paused_queue_of_bullmq_is_told_with_what_waits_in_it(look: Look, empty: redis.Redis) -> None:
    """As pause-7.lua of 5.81.5 leaves it."""
    restored(empty, "bullmq")
    empty.rename("bull:mails:wait", "bull:mails:paused")
    empty.hset("bull:mails:meta", "paused", 1)
    seen = look("bullmq", "mails", later=60)
    assert (seen["depth"], seen["paused"]) == (3, ["mails"])


def test_bullmq_has_a_prefix_in_the_place_of_its_own(look: Look, empty: redis.Redis) -> None:
    restored(empty, "bullmq")
    for key in list(empty.scan_iter()):
        empty.rename(key, key.replace(b"bull:", b"{shop}:"))
    assert look("bullmq", "mails", later=60, prefix="{shop}")["depth"] == 3
    empty.flushall()


def test_a_prefix_is_before_every_key(look: Look, empty: redis.Redis) -> None:
    for library in ("celery", "sidekiq"):
        restored(empty, library)
        for key in list(empty.scan_iter()):
            empty.rename(key, b"shop:" + key)
        assert look(library, "mails", later=0, prefix="shop:")["depth"] >= 4
        assert look(library, "mails", later=0, prefix="other:")["known"] == []
        empty.flushall()


@pytest.mark.parametrize(
    ("layout", "known"),
    [
        ("asynq", ["default", "low", "mails"]),
        ("rq", ["low", "mails"]),
        ("sidekiq", ["low", "mails"]),
        ("celery", ["low", "mails"]),
        ("bullmq", ["low", "mails"]),
    ],
)
def test_a_misspelt_queue_is_not_empty(look: Look, layout: str, known: list[str]) -> None:
    seen = look(layout, "mials", "low", later=0)
    assert (seen["missing"], seen["known"]) == (["mials"], known)
    assert "depth" not in seen


@pytest.mark.parametrize("layout", ["asynq", "rq", "sidekiq", "celery", "bullmq"])
def test_where_there_is_no_queue_at_all_nothing_is_empty(look: Look, layout: str) -> None:
    seen = look(layout)
    assert (seen["missing"], seen["known"]) == ([], [])
    assert "depth" not in seen


def test_what_a_dead_consumer_holds_is_lost(look: Look, empty: redis.Redis) -> None:
    for number in range(5):
        empty.xadd("events", {"n": number})
    empty.xgroup_create("events", "workers", id="0")
    empty.xreadgroup("workers", "gone", {"events": ">"}, count=2)
    seen = look("stream", keys=["events"], group="workers", held_s=600)
    assert (seen["depth"], seen["retry"], seen["lost"]) == (3, 2, 0)
    pending = [one["message_id"] for one in empty.xpending_range("events", "workers", "-", "+", 9)]
    empty.xclaim("events", "workers", "gone", 0, pending, idle=700_000)
    seen = look("stream", keys=["events"], group="workers", held_s=600)
    assert (seen["lost"], seen["holders"]) == (2, ["gone"])
    assert look("stream", keys=["event"], group="workers")["missing"] == ["event"]
    seen = look("stream", keys=["events"], group="worker")
    assert (seen["missing"], seen["known"], seen["what"]) == (
        ["worker"],
        ["workers"],
        "consumer group of stream events",
    )


def test_a_stream_of_which_redis_cannot_tell_how_far_a_group_is_behind_is_counted(
    look: Look, empty: redis.Redis
) -> None:
    """As it cannot where workers delete what they have done, or a group began somewhere in the middle."""
    added = [empty.xadd("events", {"n": number}) for number in range(1500)]
    empty.xgroup_create("events", "workers", id=added[99])
    empty.xreadgroup("workers", "w", {"events": ">"}, count=50)
    empty.xdel("events", added[1200])
    assert empty.xinfo_groups("events")[0]["lag"] is None
    seen = look("stream", keys=["events"], group="workers", held_s=600)
    assert (seen["depth"], seen["retry"], seen["net_per_s"]) == (1349, 50, 0)
    assert seen["oldest_s"] > 0
    assert "served_per_s" not in seen, "Redis does not know what was read"
    with empty.pipeline() as pipe:
        for number in range(10_000):
            pipe.xadd("events", {"n": number})
        pipe.execute()
    with pytest.raises(queues.ProbeError, match="more than 10000"):
        look("stream", keys=["events"], group="workers", held_s=600)


def test_a_list_that_is_not_there_is_told_and_another_kind_of_key_is_no_list(look: Look, empty: redis.Redis) -> None:
    empty.rpush("jobs", "a", "b")
    empty.zadd("later", {"a": 1})
    assert look("list", keys=["jobs", "other"])["absent"] == ["other"]
    assert look("list", keys=["jobs", "other"])["depth"] == 2
    with pytest.raises(queues.ProbeError, match="later is a zset and no list"):
        look("list", keys=["later"])
