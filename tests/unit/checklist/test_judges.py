"""Each judge on plain facts: what passes, what fails, and what is not known and is therefore no pass."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checklist_bed import GROUPS, NOW_S, SERVICE, manifest, read, situation
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout.checklist import plan, render
from turnout.checklist.catalog import NAMES
from turnout.checklist.checks import hosts, monitoring, outside, postgres, redis, release
from turnout.checklist.checks.redis import drain_s
from turnout.checklist.model import HostSeen, Result, Verdict
from turnout.service import load

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
GB = 10**9


def verdicts(results: Any, check: str) -> dict[str, Verdict]:
    return {result.subject: result.verdict for result in results if result.check == check}


def disk(free: int, total: int = 100 * GB, inodes: int = 50) -> dict[str, int]:
    return {"free_bytes": free, "total_bytes": total, "free_inodes": inodes, "inodes": 100}


def host_facts(**changes: Any) -> dict[str, Any]:
    facts = {"memory": {"total_bytes": 16 * GB, "available_bytes": 8 * GB}, "disks": {"/": disk(50 * GB), "/x": None}}
    return {**facts, **changes}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (host_facts(), PASS),
        (host_facts(disks={"/": disk(9 * GB)}), FAIL),
        (host_facts(disks={"/": disk(50 * GB), "/var": disk(1 * GB)}), FAIL),
        (host_facts(disks={"/": disk(400_000_000, 10**9)}), FAIL),
        (host_facts(disks={"/": disk(50 * GB, inodes=4)}), FAIL),
        (host_facts(disks={"/gone": None}), FAIL),
        ("timeout", UNKNOWN),
        ("error", UNKNOWN),
    ],
)
def test_disk(facts: Any, expected: Verdict) -> None:
    found = list(hosts.judge(read(), situation({"app1": {"host": facts}})))
    assert verdicts(found, "disk")["app1"] is expected


def test_memory_and_hosts_that_could_not_be_reached() -> None:
    seen = situation({"app1": {"host": host_facts(memory={"total_bytes": 16 * GB, "available_bytes": GB // 2})}})
    away = replace(seen, seen={**seen.seen, "app2": HostSeen(unreachable="Failed to connect\nmore")})
    found = list(hosts.judge(read(), away))
    assert verdicts(found, "memory") == {"app1": FAIL}
    reachable = verdicts(found, "reachable")
    assert (reachable["app1"], reachable["app2"], reachable["db1"]) == (PASS, UNKNOWN, UNKNOWN)


@given(st.floats(-100, 100), st.floats(0.001, 10), st.floats(0, 1))
@settings(deadline=None)
def test_a_clock_passes_only_where_it_cannot_be_off_by_more(off_s: float, window_s: float, part: float) -> None:
    before = NOW_S
    wall = before + part * window_s + off_s
    result = hosts.judge_clock("app1", (before, wall, before + window_s), 2.0)
    if result.verdict is PASS:
        assert abs(off_s) <= 2 * 2.0
        assert window_s <= 2.0
    if result.verdict is FAIL:
        assert abs(off_s) > 2.0 - 1e-6
    if abs(off_s) > 2.0 + window_s:
        assert result.verdict is FAIL


def test_a_clock_that_could_not_be_read_sharply_is_not_known() -> None:
    assert hosts.judge_clock("app1", (0.0, 1.0, 3.0), 2.0).verdict is UNKNOWN
    assert hosts.judge_clock("app1", None, 2.0).verdict is UNKNOWN
    assert hosts.judge_clock("app1", (0.0, 0.01, 0.02), 2.0).verdict is PASS


LOGIN = {
    "role": "shop_app",
    "database": "shop",
    "version": "17",
    "encrypted": True,
    "in_recovery": False,
    "read_only": False,
}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (LOGIN, PASS),
        ({**LOGIN, "in_recovery": True}, FAIL),
        ({**LOGIN, "read_only": True}, FAIL),
        ("refused", FAIL),
        ("timeout", UNKNOWN),
        ("credentials", UNKNOWN),
        ("unreachable", UNKNOWN),
    ],
)
def test_postgres_login(facts: Any, expected: Verdict) -> None:
    found = list(postgres.judge(read(), situation({"app1": {"postgres": facts}})))
    assert verdicts(found, "postgres") == {"app1": expected, "app2": UNKNOWN}


REPLICA = {"name": "r", "state": "streaming", "kind": "standby", "lag_s": 2, "lag_bytes": 4096}
OTHERS = [
    {"name": "pg_basebackup", "state": "backup", "kind": "base backup", "lag_s": 0, "lag_bytes": None},
    {"name": "pg_receivewal", "state": "streaming", "kind": "WAL receiver", "lag_s": 0, "lag_bytes": None},
    {"name": "reports", "state": "streaming", "kind": "subscriber", "lag_s": 900, "lag_bytes": 9e9},
]


def server(**changes: Any) -> dict[str, Any]:
    return {
        "max_connections": 100, "reserved": 3, "used": 30, "used_by_role": 20, "transactions": [], "waiting": 0,
        "prepared": 0, "replicas": [], "in_recovery": False, "data_directory": "/d", "disk": disk(50 * GB), **changes,
    }  # fmt: skip


def transaction(age_s: float, *locks: str) -> dict[str, Any]:
    return {
        "pid": 7,
        "role": "bob",
        "application": "psql",
        "state": "idle in transaction",
        "age_s": age_s,
        "locks": list(locks),
    }


@pytest.mark.parametrize(
    ("check", "config", "facts", "expected"),
    [
        ("postgres-connections", {}, server(), PASS),
        ("postgres-connections", {}, server(used=80), FAIL),
        ("postgres-connections", {"pool": 10}, server(), PASS),
        ("postgres-connections", {"pool": 30}, server(), FAIL),
        ("postgres-transactions", {}, server(transactions=[transaction(5, "tasks AccessShareLock")]), PASS),
        ("postgres-transactions", {}, server(transactions=[transaction(31)]), FAIL),
        ("postgres-transactions", {}, server(transactions=[transaction(0.1, "tasks AccessExclusiveLock")]), FAIL),
        ("postgres-transactions", {}, server(prepared=1), FAIL),
        ("postgres-replication", {}, server(), PASS),
        ("postgres-replication", {"replicas": 1}, server(), FAIL),
        ("postgres-replication", {"replicas": 1}, server(replicas=[REPLICA]), PASS),
        ("postgres-replication", {"replicas": 1}, server(replicas=[{**REPLICA, "lag_s": 99}]), FAIL),
        ("postgres-replication", {"replicas": 1}, server(replicas=[REPLICA, *OTHERS]), PASS),
        ("postgres-replication", {"replicas": 1}, server(replicas=OTHERS), FAIL),
        ("postgres-replication", {"replicas": 2}, server(replicas=[REPLICA, *OTHERS]), FAIL),
        ("postgres-replication", {"standbys": ["r"]}, server(replicas=[REPLICA, *OTHERS]), PASS),
        ("postgres-replication", {"standbys": ["r", "pg_receivewal"]}, server(replicas=[REPLICA, *OTHERS]), FAIL),
        ("postgres-replication", {}, server(replicas=[{**REPLICA, "lag_bytes": 300_000_000}]), FAIL),
        ("postgres-replication", {"max_lag_mb": 400}, server(replicas=[{**REPLICA, "lag_bytes": 300_000_000}]), PASS),
        ("postgres-disk", {}, server(), PASS),
        ("postgres-disk", {}, server(disk=disk(14 * GB)), FAIL),
        ("postgres-disk", {}, "refused", FAIL),
        ("postgres-connections", {}, "timeout", UNKNOWN),
        ("postgres-transactions", {}, "error", UNKNOWN),
        ("postgres-replication", {}, "credentials", UNKNOWN),
    ],
)  # fmt: skip
def test_postgres_server(check: str, config: dict[str, Any], facts: Any, expected: Verdict) -> None:
    found = list(postgres.judge(read({"postgres": config}), situation({"db1": {"postgres-server": facts}})))
    assert verdicts(found, check) == {"db1": expected}


def test_processes_of_a_color_are_counted_over_all_hosts() -> None:
    assert postgres.processes(situation()) == 3


REDIS = {
    "redis_version": "8", "role": "master", "uptime_in_seconds": 9, "used_memory": 10, "maxmemory": 100,
    "maxmemory_policy": "noeviction", "evicted_keys": 0, "aof_enabled": 1, "aof_last_write_status": "ok",
    "rdb_last_save_time": int(NOW_S) - 100, "rdb_changes_since_last_save": 5, "rdb_last_bgsave_status": "ok",
}  # fmt: skip


@pytest.mark.parametrize(
    ("check", "config", "change", "expected"),
    [
        ("redis", {}, {}, PASS),
        ("redis", {}, {"role": "slave"}, FAIL),
        ("redis", {}, {"loading": 1}, FAIL),
        ("redis-memory", {}, {}, PASS),
        ("redis-memory", {}, {"used_memory": 81}, FAIL),
        ("redis-memory", {}, {"evicted_keys": 3}, FAIL),
        ("redis-memory", {}, {"maxmemory_policy": "allkeys-lru"}, FAIL),
        ("redis-memory", {"evictions": True}, {"maxmemory_policy": "allkeys-lru", "evicted_keys": 3}, PASS),
        ("redis-persistence", {"persistence": "aof"}, {}, PASS),
        ("redis-persistence", {"persistence": "aof"}, {"aof_enabled": 0}, FAIL),
        ("redis-persistence", {}, {"aof_last_write_status": "err"}, FAIL),
        ("redis-persistence", {}, {"rdb_last_bgsave_status": "err"}, FAIL),
        ("redis-persistence", {"persistence": "rdb", "max_rdb_age_s": 50}, {}, FAIL),
        ("redis-persistence", {"persistence": "rdb", "max_rdb_age_s": 500}, {}, PASS),
    ],
)
def test_redis(check: str, config: dict[str, Any], change: dict[str, Any], expected: Verdict) -> None:
    answers = {"app1": {"redis": {**REDIS, **change}}, "app2": {"redis": {**REDIS, **change}}}
    found = list(redis.judge(read({"redis": config}), situation(answers)))
    assert set(verdicts(found, check).values()) == {expected}


@pytest.mark.parametrize(("number", "words"), [(1, "1 change since"), (2, "2 changes since")])
def test_changes_since_a_snapshot_have_their_noun_in_number(number: int, words: str) -> None:
    facts = {"redis": {**REDIS, "rdb_changes_since_last_save": number}}
    found = redis.judge(read(), situation({"app1": facts, "app2": facts}))
    assert [words in row.evidence for row in found if row.check == "redis-persistence"] == [True]


@pytest.mark.parametrize(("kind", "expected"), [("refused", FAIL), ("timeout", UNKNOWN), ("credentials", UNKNOWN)])
def test_redis_that_gives_no_answer_fails_every_row_of_it(kind: str, expected: Verdict) -> None:
    found = list(redis.judge(read(), situation({"app1": {"redis": kind}, "app2": {"redis": kind}})))
    assert {result.verdict for result in found} == {expected}
    assert {result.check for result in found} == {"redis", "redis-memory", "redis-persistence"}


QUEUE = {
    "name": "jobs",
    "layout": "list",
    "keys": ["q"],
    "max_depth": 10,
    "max_oldest_s": 60,
    "max_retry": 5,
    "max_dead": 0,
    "max_drain_s": 100,
}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"depth": 0, "oldest_s": 0, "retry": 0, "dead": 0}, PASS),
        ({"depth": 11, "oldest_s": 1, "retry": 0, "dead": 0, "net_per_s": -5}, FAIL),
        ({"depth": 5, "oldest_s": 61, "retry": 0, "dead": 0, "net_per_s": -5}, FAIL),
        ({"depth": 5, "oldest_s": 1, "retry": 6, "dead": 0, "net_per_s": -5}, FAIL),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 1, "net_per_s": -5}, FAIL),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 0, "net_per_s": 0}, FAIL),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 0, "net_per_s": -0.01}, FAIL),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 0, "arrived_per_s": 1, "served_per_s": 2}, PASS),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 0, "paused": ["low"], "net_per_s": -5}, FAIL),
        ({"depth": 5, "oldest_s": None, "retry": 0, "dead": 0, "net_per_s": -5}, UNKNOWN),
        ({"depth": 5, "oldest_s": 1, "retry": 0, "dead": 0}, UNKNOWN),
        ("timeout", UNKNOWN),
        ("refused", FAIL),
        ("credentials", UNKNOWN),
    ],
)
def test_queue(facts: Any, expected: Verdict) -> None:
    found = list(redis.judge(read({"queues": [QUEUE]}), situation({"app1": {"queue:jobs": facts, "redis": REDIS}})))
    assert verdicts(found, "queue") == {"jobs": expected}


ASYNQ = {
    "depth": 2, "active": 1, "retry": 0, "dead": 0, "oldest_s": 1, "paused": [], "workers": {"mails": 2}, "lost": 0,
    "overdue": 0, "overdue_s": 0, "stuck": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "facts", "said", "remedy"),
    [
        ({}, {"lost": 1000}, "1000 held by no live worker, at most 0", "raise max_lost (checklist.queues, name: jobs)"),
        ({"max_lost": 9}, {"lost": 9}, None, ""),
        ({}, {"overdue": 4, "overdue_s": 7200.4},
         "4 scheduled jobs or retries are overdue, one 7200 s, at most 300 s", "raise max_overdue_s"),
        ({}, {"overdue": 4, "overdue_s": 299}, None, ""),
        ({"max_overdue_s": 10}, {"overdue": 4, "overdue_s": 11}, "4 scheduled jobs", "raise max_overdue_s"),
        ({}, {"stuck": ["low/digest"]}, "groups that are not aggregated: low/digest", "GroupAggregator"),
        ({}, {"workers": {"low": 0, "mails": 2}}, "live workers: low 0, at least 1", "lower min_workers"),
        ({"min_workers": 0}, {"workers": {"low": 0}}, None, ""),
        ({"min_workers": 3}, {}, "live workers: mails 2, at least 3", "lower min_workers"),
        ({}, {"paused": ["low", "mails"]}, "paused: low, mails", "asynq queue resume low mails, or a waiver"),
        ({"layout": "rq"}, {"paused": ["low"]}, "paused: low", "rq resume"),
        ({"layout": "sidekiq"}, {"paused": ["low"]}, "paused: low", 'Sidekiq::Queue.new("low").unpause!'),
        ({"max_dead": 3}, {"dead": 4}, "4 dead letters, at most 3", "delete them, or raise max_dead"),
        ({}, {"dead": 4}, None, ""),
        ({"layout": "stream", "keys": ["k"]}, {"lost": 2, "holders": ["w7"]}, "no live worker (w7)", "max_lost"),
        ({"layout": "celery"}, {"workers": None}, None, ""),
    ],
)  # fmt: skip
def test_what_stands_still_in_a_queue_is_told_with_the_true_name_of_its_bound(
    bounds: dict[str, Any], facts: dict[str, Any], said: str | None, remedy: str
) -> None:
    config = read({"queues": [{"name": "jobs", "layout": "asynq", **bounds}]})
    (found,) = [
        row for row in redis.judge(config, situation({"app1": {"queue:jobs": ASYNQ | facts}})) if row.check == "queue"
    ]
    assert found.verdict == (PASS if said is None else FAIL)
    assert (said or "") in found.evidence
    assert remedy in found.remedy
    for bound in re.findall(r"(?:max|min)_\w+", found.remedy):
        read({"queues": [{"name": "jobs", "layout": "asynq", **bounds, bound: 1}]})


@pytest.mark.parametrize(
    ("facts", "said", "remedy"),
    [
        ({"what": "queue of asynq", "missing": ["mials"], "known": ["low", "mails"]},
         "Redis knows no queue of asynq called mials; there are: low, mails",
         "write mails in checklist.queues (queues of jobs)"),
        ({"what": "queue of asynq", "missing": ["x"], "known": []}, "called x; there is none at all", "correct"),
        ({"what": "queue of asynq", "missing": [], "known": []}, "Redis knows no queue of asynq", "the address"),
    ],
)  # fmt: skip
def test_a_queue_that_is_not_there_fails_with_the_names_there_are(facts: Any, said: str, remedy: str) -> None:
    config = read({"queues": [{"name": "jobs", "layout": "asynq", "queues": ["mials"]}]})
    (found,) = [row for row in redis.judge(config, situation({"app1": {"queue:jobs": facts}})) if row.check == "queue"]
    assert (found.verdict, remedy in found.remedy) == (FAIL, True)
    assert said in found.evidence
    first = {"app1": {"queue:jobs": facts}, "edge1": {"edge": {"stable": None}}}
    (found,) = [row for row in redis.judge(config, situation(first)) if row.check == "queue"]
    assert (found.verdict, found.evidence.startswith("the first release: Redis knows no")) == (PASS, True)


def test_nobody_serves_a_queue_before_the_first_release() -> None:
    config = read({"queues": [{"name": "jobs", "layout": "asynq"}]})
    idle = {"queue:jobs": ASYNQ | {"workers": {"mails": 0}}}
    for stable, expected in ((None, PASS), ("blue", FAIL)):
        found = redis.judge(config, situation({"app1": idle, "edge1": {"edge": {"stable": stable}}}))
        assert verdicts(list(found), "queue") == {"jobs": expected}


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 1e4))
@settings(deadline=None)
def test_time_to_drain_is_depth_over_what_is_left_of_the_service_rate(
    depth: float, arrived: float, served: float
) -> None:
    drain = drain_s(depth, arrived, served, None)
    assert drain is not None
    if depth == 0:
        assert drain == 0
    elif served - arrived > 0.001:
        assert drain * (served - arrived) == pytest.approx(depth)
    else:
        assert drain == float("inf")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": 200, "answer_s": 0.1}, PASS),
        ({"status": 503, "answer_s": 0.1}, FAIL),
        ("refused", FAIL),
        ("timeout", UNKNOWN),
        ("unreachable", UNKNOWN),
    ],
)
def test_outgoing(facts: Any, expected: Verdict) -> None:
    config = read({"outgoing": [{"name": "push", "url": "https://push/health"}]})
    found = list(outside.judge(config, situation({"app1": {"outgoing:push": facts}})))
    assert verdicts(found, "outgoing")["push from app1"] is expected


@pytest.mark.parametrize(
    ("ends_days", "begins_days", "expected"), [(30, -1, PASS), (13, -1, FAIL), (-1, -9, FAIL), (30, 1, FAIL)]
)
def test_certificate(ends_days: float, begins_days: float, expected: Verdict) -> None:
    config = read({"certificates": [{"name": "www", "address": "www:443"}]})
    facts = {"ends_s": NOW_S + ends_days * 86400, "begins_s": NOW_S + begins_days * 86400}
    found = list(outside.judge(config, situation({"edge1": {"certificate:www": facts}})))
    assert verdicts(found, "certificate") == {"www from edge1": expected}


def prometheus(data: Any) -> dict[str, Any]:
    return {"status": 200, "answer_s": 0.1, "json": {"status": "success", "data": data}}


def alert(severity: str, state: str = "firing") -> dict[str, Any]:
    return {"labels": {"alertname": "HostDown", "severity": severity, "instance": "a"}, "state": state}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (prometheus({"alerts": []}), PASS),
        (prometheus({"alerts": [alert("ticket"), alert("page", "pending")]}), PASS),
        (prometheus({"alerts": [alert("page")]}), FAIL),
        ({"status": 503, "answer_s": 1, "json": {"status": "error", "error": "starting"}}, UNKNOWN),
        ("refused", UNKNOWN),
        ("timeout", UNKNOWN),
    ],
)
def test_alerts(facts: Any, expected: Verdict) -> None:
    found = list(monitoring.judge(read({"prometheus": {}}), situation({"mon1": {"prometheus-alerts": facts}})))
    assert [result.verdict for result in found] == [expected]


def test_pages_that_are_ignored_are_told_and_others_still_count() -> None:
    config = read({"prometheus": {}, "alerts": {"ignore": ["Host*"]}})
    ignored = prometheus({"alerts": [alert("page")]})
    (result,) = monitoring.judge(config, situation({"mon1": {"prometheus-alerts": ignored}}))
    assert (result.verdict, "HostDown" in result.evidence) == (PASS, True)
    other = {**alert("page"), "labels": {"alertname": "RedisDown", "severity": "page"}}
    both = prometheus({"alerts": [alert("page"), other]})
    (result,) = monitoring.judge(config, situation({"mon1": {"prometheus-alerts": both}}))
    assert (result.verdict, result.evidence) == (FAIL, "RedisDown (-)")


def test_alerts_without_a_host_to_ask_from_are_not_known() -> None:
    found = list(monitoring.judge(read({"prometheus": {"group": "nobody"}}), situation()))
    assert [result.verdict for result in found] == [UNKNOWN]


def drilled(**proven_at: float | None) -> dict[str, Any]:
    """Return what the monitoring host says of its alerts: when each was seen to arrive."""
    rows = [{"alert": name, "severity": "page", "proven_at": at} for name, at in proven_at.items()]
    return {"alerts": rows, "now": 1_000_000.0}


@pytest.mark.parametrize(
    ("facts", "expected", "words"),
    [
        (drilled(HostDown=999_000.0, RedisDown=999_500.0), PASS, "2 alerts arrived at their receivers"),
        (drilled(HostDown=999_000.0, RedisDown=None), FAIL, "never seen to arrive: RedisDown (page)"),
        (drilled(HostDown=900_000.0, RedisDown=999_500.0), FAIL, "not seen to arrive for 1 d 3 h: HostDown (page)"),
        (drilled(HostDown=None, Noisy=None), FAIL, "never seen to arrive: HostDown (page)"),
        (drilled(), FAIL, "Prometheus has no alert"),
        (None, UNKNOWN, "gave no answer"),
    ],
)
def test_alerts_that_were_never_seen_to_arrive_or_long_ago(facts: Any, expected: Verdict, words: str) -> None:
    config = read({"prometheus": {}, "alert_drill": {"max_age_s": 50_000, "ignore": ["Nois*"]}})
    seen = {"mon1": {"prometheus-alerts": prometheus({"alerts": []}), **({"alerts-proven": facts} if facts else {})}}
    found = [result for result in monitoring.judge(config, situation(seen)) if result.check == "alerts-proven"]
    assert [result.verdict for result in found] == [expected]
    assert words in found[0].evidence
    assert expected is PASS or "turnout alert-drill" in found[0].remedy or "prometheus" in found[0].remedy


def slot(**changes: Any) -> dict[str, Any]:
    return {"release_id": "1.4.1-aaa", "complete": True, "environment": {"A": "1", "PORT": "2"}, **changes}


def edge(**changes: Any) -> dict[str, Any]:
    record = {"release": "1.4.1", "release_id": "1.4.1-aaa", "complete": True, "schema": {"min": 1, "max": 2}}
    server = {"name": "app1", "up": True}
    return {
        "stable": "blue", "agree": True, "releases": {"blue": record}, "schema": {"version": 1, "last_contract": 0},
        "backends": {"blue": {"servers": [server]}}, "ledger": [], **changes,
    }  # fmt: skip


def webs(*, on_app1: bool, on_app2: bool) -> dict[str, Any]:
    servers: list[dict[str, Any]] = [{"name": name, "up": True} for name in ("app1", "app2")]
    for name, up in (("app1", on_app1), ("app2", on_app2)):
        servers.append({"name": f"{name}/web-admin", "host": name, "process": "web-admin", "up": up})
    return {"servers": servers, "web": {"admin": {"up": on_app1 or on_app2}}}


def judged(edge_facts: Any, slot_facts: Any = None, schema: Any = None, **changes: Any) -> list[Result]:
    slots = {"slots": {"blue": slot_facts or slot(), "green": slot()}}
    answers = {"edge1": {"edge": edge_facts}, "app1": {**slots, "schema": schema or {"version": 1}}, "app2": slots}
    return list(release.judge(read(), situation(answers, **changes)))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (edge(), PASS),
        (edge(stable=None), PASS),
        (edge(agree=False), FAIL),
        (edge(backends={"blue": {"servers": [{"name": "app1", "up": False}]}}), FAIL),
        (edge(backends=None), FAIL),
        (edge(backends={"blue": webs(on_app1=True, on_app2=True)}), PASS),
        (edge(backends={"blue": webs(on_app1=True, on_app2=False)}), FAIL),
        # The release in service may have no such process: the first one that brings it must not be refused for that.
        (edge(backends={"blue": webs(on_app1=False, on_app2=False)}), PASS),
        (edge(releases={"blue": {"release": "1.4.1", "complete": False}}), FAIL),
        ("timeout", UNKNOWN),
    ],
)
def test_rollback_target_on_the_edges(facts: Any, expected: Verdict) -> None:
    assert verdicts(judged(facts), "rollback-target")["edge1"] is expected


def test_rollback_target_that_cannot_run_on_what_this_release_brings() -> None:
    contract = manifest(
        migrations=[{"version": 3, "id": "0003_drop", "kind": "contract", "sha256": "d" * 64}],
        schema={"min": 0, "max": 3},
    )
    found = judged(edge(), manifest=contract)
    assert verdicts(found, "rollback-target")["edge1"] is FAIL
    assert verdicts(found, "migrations-kind")[""] is FAIL
    assert verdicts(judged(edge()), "migrations-kind")[""] is PASS


def test_rollback_target_on_hosts() -> None:
    assert verdicts(judged(edge(), slot(complete=False)), "rollback-target")["app1"] is FAIL
    assert verdicts(judged(edge(), slot(release_id="1.4.0-bbb")), "rollback-target")["app1"] is FAIL
    assert verdicts(judged(edge()), "rollback-target")["app2"] is PASS


def test_a_live_schema_that_is_not_known_is_no_pass() -> None:
    assert verdicts(judged(edge(), schema="error"), "migrations-kind")[""] is UNKNOWN


def test_environment() -> None:
    assert verdicts(judged(edge()), "environment") == {"inventory": PASS, "app1": PASS, "app2": PASS}
    missing = manifest(environment=["DATABASE_URL", "REDIS_URL", "TASK_REMINDER_HOUR", "PUSH_TOKEN"])
    assert verdicts(judged(edge(), manifest=missing), "environment")["inventory"] is FAIL
    unknown = manifest(environment=["DATABASE_URL", "REDIS_URL"])
    assert verdicts(judged(edge(), manifest=unknown), "environment")["inventory"] is FAIL
    allowed = release.judge(read({"environment": {"extra": ["TASK_REMINDER_HOUR"]}}), situation({}, manifest=unknown))
    assert verdicts(allowed, "environment")["inventory"] is PASS
    # A team that names no keys when it builds has not said which ones are too many.
    (inventory,) = (r for r in judged(edge(), manifest=manifest(environment=[])) if r.subject == "inventory")
    assert inventory.verdict is PASS
    assert "--env-key" in inventory.evidence


def test_environments_that_differ_between_hosts_fail_and_changes_are_told_by_name() -> None:
    other = {"slots": {"blue": slot(environment={"A": "9", "PORT": "2"}), "green": slot()}}
    mine = {"slots": {"blue": slot(), "green": slot()}, "schema": {"version": 1}}
    seen = situation({"edge1": {"edge": edge()}, "app1": mine, "app2": other}, environment_digests={"A": "7", "B": "1"})
    found = {r.subject: r for r in release.judge(read(), seen) if r.check == "environment"}
    assert (found["app1"].verdict, found["app2"].verdict) == (PASS, FAIL)
    assert "adds B; changes A" in found["app1"].evidence
    assert "A differ from app1" in found["app2"].evidence


def test_digests_are_those_that_hosts_make() -> None:
    from ansible_collections.turnout.ops.plugins.module_utils.probes import hashlib, hmac  # noqa: PLC0415

    salt = "ab" * 32
    made = hmac.new(bytes.fromhex(salt), b"value", hashlib.sha256).hexdigest()[:16]
    assert plan.digests({"KEY": "value"}, salt) == {"KEY": made}


def test_freeze_and_restore_proof() -> None:
    window = {"name": "w", "zone": "UTC", "from": "2026-01-01 00:00", "to": "2026-12-31 00:00"}
    found = list(release.judge(read({"freeze": [window]}), situation()))
    assert verdicts(found, "freeze") == {"w": FAIL}
    past = {**window, "to": "2026-01-02 00:00"}
    assert verdicts(release.judge(read({"freeze": [past]}), situation()), "freeze") == {"w": PASS}
    config = read({"restore": {}})
    none = list(release.judge(config, situation({"edge1": {"edge": edge()}})))
    assert verdicts(none, "restore-proof") == {"": UNKNOWN}
    away = list(release.judge(config, situation()))
    assert verdicts(away, "restore-proof") == {"": UNKNOWN}


def asked(**changes: Any) -> dict[str, Any]:
    """Return an entry of the ledger: this artifact was asked an hour ago, on a backup of two hours ago."""
    return {
        "kind": "acceptance", "sha256": "a" * 64, "verdict": "pass", "causes": [], "unknown": [],
        "at_s": NOW_S - 3600, "backup_s": NOW_S - 7200, "summary": "contract: 812 requests", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "verdict", "words"),
    [
        ([asked()], PASS, "contract: 812 requests"),
        ([], FAIL, "no acceptance of the artifact aaaaaaaaaaaa"),
        ([asked(sha256="b" * 64)], FAIL, "no acceptance of the artifact"),
        ([asked(verdict="fail", causes=["contract: GET /tasks: 500"])], FAIL, "GET /tasks: 500"),
        ([asked(verdict="fail"), asked()], PASS, ""),
        ([asked(), asked(verdict="fail")], FAIL, "its verdict was fail"),
        # What was not asked to the end says nothing, also against what was known before.
        ([asked(verdict="not known", unknown=["the drill host was lost"])], UNKNOWN, "the drill host was lost"),
        ([asked(), asked(verdict="not known")], PASS, ""),
        ([asked(at_s=NOW_S - 8 * 86400)], FAIL, "older than 7.0 days"),
        ([asked(backup_s=NOW_S - 9 * 86400)], FAIL, "its backup is older than 8.0 days"),
        ([asked(backup_s=None)], FAIL, "the age of its backup is not on record"),
    ],
)
def test_the_acceptance_of_this_artifact(entries: list[dict[str, Any]], verdict: Verdict, words: str) -> None:
    found = list(release.judge(read({"acceptance": {}}), situation({"edge1": {"edge": edge(ledger=entries)}})))
    (row,) = [one for one in found if one.check == "acceptance"]
    assert (row.verdict, words in row.evidence) == (verdict, True), row
    assert (row.remedy == "") is (verdict is PASS)
    if verdict is not PASS:
        assert "turnout.ops.acceptance -e release=1.4.2" in row.remedy


def test_acceptance_is_off_without_its_key_and_unknown_without_an_edge() -> None:
    assert verdicts(release.judge(read(), situation({"edge1": {"edge": edge()}})), "acceptance") == {}
    assert verdicts(release.judge(read({"acceptance": {}}), situation()), "acceptance") == {"": UNKNOWN}


def test_nothing_is_skipped_in_silence() -> None:
    outcome = plan.judge(read(), situation({}, groups={"edge": ["edge1"], "api": ["app1"]}), [])
    assert [name for name in NAMES if name not in {result.check for result in outcome.results}] == []
    silent = [r for r in outcome.results if r.verdict is Verdict.NOT_CONFIGURED]
    assert {"ci", "queue", "freeze", "s3"} <= {result.check for result in silent}
    assert all(not result.obstacle for result in silent)
    assert not outcome.passed


@pytest.mark.parametrize(
    ("environment", "groups", "found", "remedy"),
    [
        ({"KEY": "x"}, {"api": ["app1"], "postgres": ["db1", "db2"]},
         "not asked on db1, db2 (group postgres): service.environment has no DATABASE_URL", "postgres.url_from"),
        ({"DATABASE_URL": "mysql://db/shop"}, {"api": ["app1"], "postgres": ["db1"]},
         "not asked on db1 (group postgres): DATABASE_URL holds no address of PostgreSQL", "postgres.url_from"),
        ({"DATABASE_URL": "postgresql://app:x@db/shop"}, {"edge": ["edge1"], "api": ["app1"]},
         "no host is in group postgres; the inventory has hosts in api, edge", "put the host of PostgreSQL into group"),
        ({"KEY": "x"}, {"api": ["app1"], "postgres": []},
         "no host is in group postgres; the inventory has hosts in api",
         "put the host of PostgreSQL into group postgres"),
    ],
)  # fmt: skip
def test_why_a_database_server_is_not_looked_at_is_what_was_found(
    environment: dict[str, str], groups: dict[str, list[str]], found: str, remedy: str
) -> None:
    service = {**SERVICE, "environment": environment}
    service.pop("migrate", None)
    where = situation({}, groups=groups, service=load(service, base_dir=Path("/inventory")))
    rows = {row.check: row for row in plan.judge(read(None, service), where, []).results}
    for name in ("connections", "transactions", "replication", "disk"):
        row = rows[f"postgres-{name}"]
        assert (row.verdict, row.evidence) == (Verdict.NOT_CONFIGURED, found)
        assert remedy in row.remedy


def test_the_table_shows_every_row_and_a_waiver_with_who_and_why() -> None:
    waiver = {
        "check": "reachable",
        "reason": "we know it is away",
        "who": "ada",
        "release": "1.4.2",
        "expires": "2026-06-01T00:00:00Z",
    }
    config = read({"waivers": [waiver]})
    outcome = plan.judge(config, situation(now_s=1_780_000_000.0), [])
    text = render.table(outcome, NOW_S)
    assert "WAIVED" in text
    assert "we know it is away" in " ".join(text.split())
    assert "ada" in text
    whole = render.as_json(outcome, now_s=NOW_S, release="1.4.2", took_s=1.0)
    assert whole["passed"] is False
    assert len(whole["results"]) == len(outcome.results)  # type: ignore[arg-type]
    assert render.age(90) == "90 s"
    assert render.age(3 * 86400) == "3 d"
    late = plan.judge(config, situation(now_s=NOW_S + 40 * 86400), [])
    assert late.refused_waivers
    assert not any(result.waiver for result in late.results)


def test_probes_reach_the_hosts_that_can_answer_them() -> None:
    config = read({"prometheus": {}, "queues": [QUEUE]})
    asked = plan.probes(config, situation(), "ab" * 32)
    kinds = {host: sorted(probe.kind for probe in probes) for host, probes in asked.items()}
    assert kinds["db1"] == ["host", "postgres_server"]
    assert kinds["app1"] == ["host", "postgres", "queue", "redis", "schema", "slots"]
    assert kinds["edge1"] == ["edge", "host"]
    assert kinds["mon1"] == ["host", "http"]
    assert all("s3cret" not in repr(probe) for probes in asked.values() for probe in probes)
    assert set(asked) <= {host for hosts_of in GROUPS.values() for host in hosts_of}
    assert SERVICE["name"] == "shop"
