"""The parts of a rehearsal that need no database: the plan, the judgement of locks, the comparison of schemas."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "checklist"))

from ansible.errors import AnsibleFilterError
from ansible_collections.turnout.ops.plugins.filter import migration_check as filters
from ansible_collections.turnout.ops.plugins.modules import rehearse as module
from checklist_bed import SERVICE, manifest

MIGRATOR = "postgresql://shop_migrate:m-secret@10.0.0.3:5432/shop"


def plan(**options: Any) -> dict[str, Any]:
    service = {**SERVICE, "migrate": {**SERVICE["migrate"], "environment": {"MIGRATE_DATABASE_URL": MIGRATOR}}}
    candidate = {"manifest": manifest(), "id": "1.4.2-aaa"}
    older = {**manifest()["artifact"], "file": "shop-1.4.1.tar.zst"}
    stable = {"manifest": manifest(version="1.4.1", artifact=older), "id": "1.4.1-bbb"}
    bounds = {"base_version": 1, "busy": ["tasks"], "max_busy_lock_s": 0.2, "max_lock_s": 2.0, "max_up_s": 60.0}
    made = filters.migration_plan(service, "/inventory", candidate, stable, {**bounds, **options})
    return dict(json.loads(made))


def test_the_plan_names_what_is_pending_and_asks_the_migrator_s_database_first() -> None:
    made = plan()
    assert made["pending"] == ["0002_more"]
    migrator, app = made["databases"]
    assert (migrator["user"], migrator["hosts"], migrator["port"]) == ("shop_migrate", ["10.0.0.3"], 5432)
    assert (app["user"], app["dbname"]) == ("shop_app", "shop")
    assert made["candidate"]["environment"]["MIGRATE_DATABASE_URL"] == MIGRATOR
    assert made["stable"]["environment"]["TURNOUT_RELEASE"] == "1.4.1"
    assert (made["user"], made["migrate_user"]) == ("shop", "shop-migrate")
    assert MIGRATOR not in made["stable"]["api_environment"].values(), "the API is not given the owner's password"
    assert (made["stable"]["folder"], made["stable"]["root"]) == ("/opt/shop/releases/1.4.1-bbb", "")
    assert plan(base_version=2)["pending"] == []


def test_a_service_without_migrations_or_database_is_told() -> None:
    without = {key: value for key, value in SERVICE.items() if key != "migrate"}
    one = {"manifest": manifest(), "id": "x"}
    with pytest.raises(AnsibleFilterError):
        filters.migration_plan(without, "/inventory", one, {}, {"base_version": 0})
    nowhere = {**SERVICE, "environment": {"KEY": "x"}}
    with pytest.raises(AnsibleFilterError):
        filters.migration_plan(nowhere, "/inventory", one, {}, {"base_version": 0})


PARTS = {"DB_HOST": "10.0.0.3", "DB_PORT": "5433", "DB_NAME": "shop", "DB_USER": "app", "DB_PASSWORD": "p@ss/1"}
LIBPQ = {"PGHOST": "10.0.0.3", "PGPORT": "5433", "PGDATABASE": "shop", "PGUSER": "app", "PGPASSWORD": "p@ss/1"}
APP = {"user": "app", "password": "p@ss/1", "dbname": "shop", "hosts": ["10.0.0.3"], "port": 5433}
OWNER = {**APP, "user": "owner", "password": "o"}
NAMED = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "DB_USER", "password": "DB_PASSWORD"}


@pytest.mark.parametrize(
    ("given", "own", "checklist", "databases"),
    [
        (PARTS, {"DB_USER": "owner", "DB_PASSWORD": "o"}, {"postgres": {"variables": NAMED}}, [OWNER, APP]),
        (LIBPQ, {"PGUSER": "owner", "PGPASSWORD": "o"}, {}, [OWNER, APP]),
        (LIBPQ, {}, {}, [APP]),
        ({"DSN": "host=10.0.0.3 port=5433 dbname=shop user=app password=p@ss/1"}, {}, {"postgres": {"url_from": "DSN"}},
         [APP]),
        ({**PARTS, "DB_HOST": "::1"}, {}, {"postgres": {"variables": NAMED}}, [{**APP, "hosts": ["::1"]}]),
    ],
)  # fmt: skip
def test_an_application_whose_address_stands_in_parts_is_rehearsed_too(
    given: dict[str, str], own: dict[str, str], checklist: dict[str, Any], databases: list[Any]
) -> None:
    redis = {"REDIS_HOST": "10.0.0.4", "REDIS_PASSWORD": "r"}
    names = {"host": "REDIS_HOST", "password": "REDIS_PASSWORD"}
    service = {**SERVICE, "environment": {**given, **redis}, "migrate": {**SERVICE["migrate"], "environment": own}}
    one = {"manifest": manifest(), "id": "x"}
    asked = {**checklist, "redis": {"variables": names}}
    made = json.loads(filters.migration_plan(service, "/inventory", one, {}, {"base_version": 0}, checklist=asked))
    assert made["databases"] == databases
    assert made["redis_urls"] == ["redis://:r@10.0.0.4:6379"]


def test_where_no_variable_is_an_address_the_key_that_names_them_is_told() -> None:
    service = {**SERVICE, "environment": {"DB_HOST": "10.0.0.3"}}
    with pytest.raises(AnsibleFilterError, match=r"to mend: .*checklist\.postgres\.variables"):
        filters.migration_plan(service, "/inventory", {"manifest": manifest(), "id": "x"}, {}, {"base_version": 0})


@pytest.fixture
def rehearsal() -> module.Rehearsal:
    made = module.Rehearsal.__new__(module.Rehearsal)
    made.plan = plan()
    made.causes, made.figures, made.locks = [], {}, []
    return made


def done(seconds: float = 1.0) -> dict[str, Any]:
    return {"up_s": seconds, "rewritten_rows": {}, "grown_bytes": 20, "wal_bytes": 4, "size_bytes": 10}


@pytest.mark.parametrize(
    ("table", "seconds", "caught"),
    [("tasks", 0.19, False), ("tasks", 0.21, True), ("users", 1.9, False), ("users", 2.1, True)],
)
def test_a_lock_is_judged_by_its_table(rehearsal: module.Rehearsal, table: str, seconds: float, caught: bool) -> None:
    rehearsal.locks = [{"table": table, "mode": "AccessExclusiveLock", "seconds": seconds, "rows": 9}]
    rehearsal._after_up(done())
    assert [table in cause and "reads and writes" in cause for cause in rehearsal.causes] == [True] * caught
    assert rehearsal.figures["grown_bytes"] == 20
    assert rehearsal.figures["wal_bytes"] == 4


def test_one_that_takes_too_long_is_a_cause(rehearsal: module.Rehearsal) -> None:
    rehearsal._after_up(done(61))
    assert len(rehearsal.causes) == 1


def test_schemas_that_differ_are_shown_by_their_lines(rehearsal: module.Rehearsal) -> None:
    rehearsal._same("a\nb\nc", "a\nb\nc", "no")
    assert rehearsal.causes == []
    rehearsal._same("a\nb\nc", "a\nX\nc", "the down script does not restore the schema")
    assert rehearsal.causes == ["the down script does not restore the schema: -b | +X"]


def test_secrets_in_what_a_command_printed_are_replaced() -> None:
    made = module.Rehearsal.__new__(module.Rehearsal)
    made._secrets = sorted(module.Rehearsal._hidden(plan()["candidate"]), key=len, reverse=True)
    said = made._clean(f"could not connect to {MIGRATOR} with m-secret and s3cret-db")
    assert "m-secret" not in said
    assert "s3cret" not in said


@pytest.mark.parametrize("value", ["https://[a-z]+\\.example\\.com", "http://[::1", "x://u:hunter22@[h"])
def test_a_value_that_only_looks_like_an_address_is_hidden_whole(value: str) -> None:
    assert module.Rehearsal._hidden({"environment": {"A": value}}) == [value]


def test_a_password_is_hidden_as_it_is_written_and_as_it_is_meant() -> None:
    hidden = module.Rehearsal._hidden({"environment": {"A": "postgres://u:hun%40ter2@h/d"}})
    assert {"hun%40ter2", "hun@ter2"} <= set(hidden)


def test_the_rehearsal_s_redis_lets_in_whom_the_service_s_address_names() -> None:
    by_password = module.redis_settings(["redis://:p%40ss@10.0.0.3:6380/0"], "/tls")
    assert {"port 6380", "requirepass p@ss"} <= set(by_password)
    by_user = module.redis_settings(["redis://service:p%40ss@10.0.0.3:6379/0"], "/tls")
    (line,) = [line for line in by_user if line.startswith("user ")]
    assert line.startswith("user service on #")
    assert line.endswith(" ~* &* +@all")
    assert "p@ss" not in line
    open_to_all = module.redis_settings(["redis://10.0.0.3"], "/tls")
    assert not any(line.startswith(("user", "requirepass")) for line in open_to_all)
    assert not any("tls" in line for line in [*by_password, *by_user, *open_to_all])


def test_the_rehearsal_s_redis_speaks_tls_alone_where_the_service_s_address_asks_for_it() -> None:
    lines = "\n".join(module.redis_settings(["rediss://:p%40ss@10.0.0.3:6380/0"], "/tls")).splitlines()
    assert {"port 0", "tls-port 6380", "tls-cert-file /tls/server.crt", "requirepass p@ss"} <= set(lines)


@pytest.mark.parametrize("restored", [True, False])
def test_a_rehearsal_holds_the_copy_that_it_works_on_and_ends_without_its_playbook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: bool
) -> None:
    """A folder without a state is no restore of ours: somebody copied it there, and no reaper looks at it."""
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    copy.mkdir()
    (run / "lease").touch()
    if restored:
        (copy / "state.json").touch()
    ended: list[int] = []
    monkeypatch.setattr(module, "LEASE_S", 0.5)
    monkeypatch.setattr(module.os, "_exit", ended.append)
    module.watch(run / "lease", copy)
    assert (copy / "lease").exists() is restored
    assert (ended, run.exists()) == ([1], False)
