"""What migration tools printed, as it was recorded, and where in a release's list it is.

Recorded with dbmate 2.36.0, Alembic 1.20.1, Django 6.1.3, yoyo 9.0.0 and TypeORM 0.3.31; of golang-migrate 4.19 and
goose 3.27 from their sources (internal/cli/commands.go, status.go and version.go), of Flyway 11 and Rails 8 from their
documentation.
"""

from __future__ import annotations

import json
import types
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import migration_state
from ansible_collections.turnout.ops.plugins.modules import migrate

NUMBERS = [("0001_a", 1), ("0002_b", 2), ("0003_c", 3)]


def listed(names: list[tuple[str, int]] | list[str], order: str = "number", **after: list[str]) -> dict[str, Any]:
    pairs = [one if isinstance(one, tuple) else (one, place) for place, one in enumerate(names, 1)]
    return {
        "order": order,
        "migrations": [{"id": name, "version": number, "after": after.get(name, [])} for name, number in pairs],
    }


DBMATE = "[X] 20200101000000_a.sql\n[ ] 20200102000000_b.sql\n\nApplied: 1\nPending: 1\n"
YOYO = "STATUS    ID      SOURCE\n--------  ------  --------\nA         0001.a  m\nU         0002.b  m\n"
DJANGO = "[X]  auth.0001_initial\n[ ]  auth.0002_more\n[X]  shop.0001_initial\n[ ]  shop.0002_a_y\n"
GOOSE = (
    "2026/11/30 04:13:00     Applied At                  Migration\n"
    "2026/11/30 04:13:00     =======================================\n"
    "2026/11/30 04:13:00     Mon Nov 30 04:12:59 2026 -- 00001_a.sql\n"
    "2026/11/30 04:13:00     Pending                  -- 00002_b.sql\n"
)
RAILS = (
    "\ndatabase: shop\n\n Status   Migration ID    Migration Name\n"
    "--------------------------------------------------\n"
    "   up     20190101000000  Create users\n  down    20190102000000  Add things\n\n"
)
LARAVEL = (
    "\n  Migration name .................................................. Batch / Status  \n"
    "  2019_01_01_000000_create_a ............................................. [1] Ran  \n"
    "  2019_01_02_000000_add_b ................................................ Pending  \n\n"
)
TYPEORM = "[X] 1 CreateUsers1700000000000\n[ ] AddPhone2FA1700000100000\n"
FLYWAY = json.dumps({
    "schemaVersion": "2.1",
    "migrations": [
        {"category": "Versioned", "version": "1", "state": "Success"},
        {"category": "Versioned", "version": "2.1", "state": "Out of Order"},
        {"category": "Versioned", "version": "3", "state": "Pending"},
        {"category": "Undo", "type": "UNDO_SQL", "version": "2.1", "state": "Available"},
        {"category": "Repeatable", "version": "", "state": "Pending"},
    ],
})  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "code", "out", "err", "seen"),
    [
        ("golang-migrate", 1, "", "error: no migration\n", {"at": []}),
        ("golang-migrate", 1, "", "2026/11/30 04:13:00 error: no migration\n", {"at": []}),  # -verbose
        ("golang-migrate", 0, "", "3\n", {"at": ["3"], "dirty": ""}),
        ("golang-migrate", 0, "", "20190226002946\n", {"at": ["20190226002946"], "dirty": ""}),
        ("golang-migrate", 0, "", "3 (dirty)\n", {"at": ["3"], "dirty": "3"}),
        ("goose", 0, "", "2026/11/30 04:13:00 goose: version 0\n", {"at": []}),
        ("goose", 0, "", "2026/11/30 04:13:00 goose: version 20190226002946\n", {"at": ["20190226002946"]}),
        ("goose", 0, "", GOOSE, {"applied": ["00001_a"], "pending": ["00002_b"]}),
        ("dbmate", 0, DBMATE, "", {"applied": ["20200101000000_a"], "pending": ["20200102000000_b"]}),
        ("alembic", 0, "", "INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.\n", {"at": []}),
        ("alembic", 0, "6eacf1f60aa4\n", "", {"at": ["6eacf1f60aa4"]}),
        ("alembic", 0, "4e564b12f1f1 (head) (mergepoint)\n", "", {"at": ["4e564b12f1f1"]}),
        ("alembic", 0, "a1 (head)\nb2 (branchpoint)\n", "", {"at": ["a1", "b2"]}),
        ("django", 0, DJANGO, "", {
            "applied": ["auth.0001_initial", "shop.0001_initial"], "pending": ["auth.0002_more", "shop.0002_a_y"]}),
        ("yoyo", 0, YOYO, "", {"applied": ["0001.a"], "pending": ["0002.b"]}),
        ("rails", 0, RAILS, "", {"applied": ["20190101000000"], "pending": ["20190102000000"]}),
        ("laravel", 0, LARAVEL, "", {
            "applied": ["2019_01_01_000000_create_a"], "pending": ["2019_01_02_000000_add_b"]}),
        ("knex", 0, "Using environment: production\nCurrent Version: 20190101000000\n", "", {"at": ["20190101000000"]}),
        ("knex", 0, "Current Version: none\n", "", {"at": []}),
        ("rails", 1, "", "Schema migrations table does not exist yet.\n", {"at": []}),
        ("laravel", 1, "\n   ERROR  Migration table not found.  \n\n", "", {"at": []}),
        ("typeorm", 0, TYPEORM, "", {"applied": ["1700000000000"], "pending": ["1700000100000"]}),
        ("typeorm", 0, "", "", {"applied": [], "pending": []}),
        ("flyway", 0, FLYWAY, "", {"applied": ["1", "2.1"], "pending": ["3"], "dirty": ""}),
        ("flyway", 0, FLYWAY.replace('"Pending"', '"Failed"', 1), "", {
            "applied": ["1", "2.1"], "pending": [], "dirty": "3"}),
        ("", 0, "3\n", "", {"at": ["3"]}),
        ("", 0, "0\n", "", {"at": []}),
        ("", 0, "", "", {"at": []}),
        ("", 0, " 0003_c \n", "a warning", {"at": ["0003_c"]}),
    ],
)  # fmt: skip
def test_what_a_tool_prints_is_understood(tool: str, code: int, out: str, err: str, seen: dict[str, Any]) -> None:
    assert migration_state.read(tool, code, out, err) == seen


@pytest.mark.parametrize(
    ("tool", "code", "out", "err"),
    [
        ("", 1, "3", ""),
        ("", 0, "3\n4\n", ""),
        ("", 0, "", "3\n"),  # golang-migrate without service.migrate.tool: no empty database
        ("golang-migrate", 1, "", "error: pq: password authentication failed\n"),
        ("golang-migrate", 0, "", ""),
        ("golang-migrate", 1, "   ERROR  Migration table not found.  \n", ""),
        ("knex", 1, "", "getaddrinfo ENOTFOUND db\n"),
        ("laravel", 1, "SQLSTATE[08006] [7] connection refused (Migration table not found.)", ""),
        ("typeorm", 1, "", "Error during migration show:\nError: connect ECONNREFUSED 127.0.0.1:5432\n"),
        ("alembic", 255, "", "FAILED: Can't locate revision identified by 'zzz'\n"),
        ("flyway", 0, "no json", ""),
        ("django", 1, "", "django.db.utils.OperationalError: connection refused\n"),
    ],
)
def test_what_tells_nothing_is_no_empty_database(tool: str, code: int, out: str, err: str) -> None:
    with pytest.raises(migration_state.StateError):
        migration_state.read(tool, code, out, err)


BRANCHES = listed(["one", "two", "side", "join"], "list", side=["one"], join=["side", "two"])
SHOP = listed(["auth.0001_initial", "shop.0001_initial", "shop.0002_a_y", "tags.0001_initial"], "list")


@pytest.mark.parametrize(
    ("seen", "known", "version", "pending", "unlisted"),
    [
        ({"at": []}, listed(NUMBERS), 0, ["0001_a", "0002_b", "0003_c"], []),
        ({"at": ["2"]}, listed(NUMBERS), 2, ["0003_c"], []),
        ({"at": ["0002"]}, listed(NUMBERS), 2, ["0003_c"], []),
        ({"at": ["0002_b"]}, listed(NUMBERS), 2, ["0003_c"], []),
        ({"at": ["0002_b.up.sql"]}, listed(NUMBERS), 2, ["0003_c"], []),
        ({"at": ["7"]}, listed(NUMBERS), 7, [], []),  # a later release was taken back
        ({"at": ["20190226002946"]}, listed([("2019-02-26-002946_x", 20190226002946), ("2019-02-27-000000_y",
          20190227000000)]), 20190226002946, ["2019-02-27-000000_y"], []),
        ({"applied": ["0001_a", "0003_c"], "pending": ["0002_b"]}, listed(NUMBERS), 3, ["0002_b"], []),
        ({"applied": ["0001_a", "0009_z"], "pending": []}, listed(NUMBERS[:1]), 9, [], []),
        ({"at": ["side"]}, BRANCHES, 2, ["two", "join"], []),
        ({"at": ["two", "side"]}, BRANCHES, 3, ["join"], []),
        ({"at": ["join"]}, BRANCHES, 4, [], []),
        ({"at": ["2"]}, BRANCHES, 2, ["side", "join"], []),  # a wrapper that counts
        (migration_state.read("django", 0, DJANGO, ""), SHOP, 3, ["shop.0002_a_y"], ["auth.0002_more"]),
        (migration_state.read("flyway", 0, FLYWAY, ""),
         listed(["V1__a", "V2_1__b", "V3__c"], "list"), 2, ["V3__c"], []),
        (migration_state.read("rails", 0, RAILS, ""), listed([("20190101000000_a", 20190101000000),
          ("20190102000000_b", 20190102000000)]), 20190101000000, ["20190102000000_b"], []),
        (migration_state.read("laravel", 0, LARAVEL, ""), listed([("2019_01_01_000000_create_a", 20190101000000),
          ("2019_01_02_000000_add_b", 20190102000000)]), 20190101000000, ["2019_01_02_000000_add_b"], []),
        (migration_state.read("typeorm", 0, TYPEORM, ""), listed([("1700000000000-CreateUsers", 1700000000000),
          ("1700000100000-AddPhone2FA", 1700000100000)]), 1700000000000, ["1700000100000-AddPhone2FA"], []),
    ],
)  # fmt: skip
def test_a_state_has_its_place_in_the_releases_list(
    seen: dict[str, Any], known: dict[str, Any], version: int, pending: list[str], unlisted: list[str]
) -> None:
    placed = migration_state.place(seen, known)
    assert (placed["version"], placed["pending"], placed["unlisted"]) == (version, pending, unlisted)


def test_what_an_older_release_does_not_name_is_pending() -> None:
    seen = migration_state.read("django", 0, DJANGO, "")
    assert migration_state.place(seen, SHOP, own=False)["pending"] == ["shop.0002_a_y", "tags.0001_initial"]


def test_what_the_new_release_does_not_name_either_is_of_nothing_that_is_installed() -> None:
    """The list has the migrations of all packages in lib/, and Django applies those of its INSTALLED_APPS."""
    older = {"applied": ["auth.0001_initial"], "pending": []}
    newer = {"applied": ["auth.0001_initial"], "pending": ["shop.0001_initial", "shop.0002_a_y"]}
    placed = migration_state.place(older, SHOP, own=False, named=migration_state.named(newer, SHOP))
    assert placed["pending"] == ["shop.0001_initial", "shop.0002_a_y"]
    assert placed["version"] == migration_state.place(newer, SHOP)["version"] == 2
    assert migration_state.named({"at": ["join"]}, BRANCHES) is None


def test_a_state_that_the_release_does_not_list_is_none() -> None:
    with pytest.raises(migration_state.StateError, match=r"says zzz, which is none of the 4"):
        migration_state.place({"at": ["zzz"]}, BRANCHES)


@pytest.mark.parametrize(
    ("tool", "out"),
    [
        ("yoyo", "STATUS    ID      SOURCE\n--------  ------  --------\n"),
        ("dbmate", "Applied: 0\nPending: 0\n"),
        ("django", "(no migrations)\n"),
        ("rails", "   up     20180101000000  ********** NO FILE **********\n"),
        ("flyway", '{"migrations": []}'),
    ],
)
def test_a_tool_that_names_none_of_the_release_looks_elsewhere_and_has_not_applied_all(tool: str, out: str) -> None:
    seen = migration_state.read(tool, 0, out, "")
    with pytest.raises(migration_state.StateError, match=r"names none of the 4 migrations of the release"):
        migration_state.place(seen, SHOP)
    assert migration_state.place(seen, listed([]))["pending"] == []
    assert len(migration_state.place(seen, SHOP, own=False)["pending"]) == 4


PSQL = (
    'error: migration failed: column "y" does not exist in line 0: ALTER TABLE a DROP COLUMN y; (details: pq: column)\n'
)
PYTHON = (
    "INFO  [alembic.runtime.migration] Running upgrade a -> b, error pages\nTraceback (most recent call last):\n"
    '  File "x.py", line 2, in <module>\npsycopg.errors.UndefinedColumn: column "y" does not exist\n'
    "LINE 1: ALTER TABLE\nThe above exception was the direct cause\nsqlalchemy.exc.ProgrammingError: (psycopg) again\n"
)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (PSQL, PSQL.strip()),
        (PYTHON, 'psycopg.errors.UndefinedColumn: column "y" does not exist\nLINE 1: ALTER TABLE'),
        ("Applying: 2.sql\nError: pq: no such table\n", "Error: pq: no such table"),
        (
            "2026/11/30 04:13:00 goose run: ERROR 00002_b.sql: failed to run SQL\n",
            "2026/11/30 04:13:00 goose run: ERROR",
        ),
        ("psql:x.sql:3: ERROR:  relation does not exist\nLINE 1: x\n", "psql:x.sql:3: ERROR:  relation does not exist"),
        (
            'Error during migration run:\nQueryFailedError: column "y" does not exist\n    at x (/x.js:1:1)\n',
            'QueryFailedError: column "y" does not exist',
        ),
        ("went wrong\n", "went wrong"),
        ("", "nothing"),
    ],
)
def test_the_first_error_of_an_output_is_found(text: str, first: str) -> None:
    assert migration_state.first_error(text).startswith(first)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("2/u b (1.5s)\n3/u c (2ms)\n", ["2/u b (1.5s)", "3/u c (2ms)"]),
        ("Applying: 2_b.sql\nApplied: 2_b.sql in 1.5s\n", ["Applied: 2_b.sql in 1.5s"]),
        ("Running migrations:\n  Applying shop.0001_initial... OK\n", ["Applying shop.0001_initial... OK"]),
        ("2026/11/30 04:13:00 OK   00002_b.sql (1.5s)\n", ["2026/11/30 04:13:00 OK   00002_b.sql (1.5s)"]),
        ("INFO  [alembic.runtime.migration] Running upgrade a -> b, two\n", [
            "INFO  [alembic.runtime.migration] Running upgrade a -> b, two"]),
        ("== 20190101000000 CreateUsers: migrating ====\n== 20190101000000 CreateUsers: migrated (0.02s) ====\n", [
            "== 20190101000000 CreateUsers: migrated (0.02s) ===="]),
        ('Migrating schema "public" to version "2 - b"\n', ['Migrating schema "public" to version "2 - b"']),
        ("  2019_01_01_000000_create_a ........................... 12.34ms DONE\n", [
            "2019_01_01_000000_create_a ........................... 12.34ms DONE"]),
        ("  Creating migration table ............................. 12.34ms DONE\n", []),
        ("Migration AddPhone1700000100000 has been executed successfully.\nquery: COMMIT\n", [
            "Migration AddPhone1700000100000 has been executed successfully."]),
        ("Checking the database\n", []),
    ],
)  # fmt: skip
def test_a_line_a_migration_comes_from_the_tools_own_output(text: str, lines: list[str]) -> None:
    assert migration_state.progress(text) == lines


# A migration that failed half way ----------------------------------------------------------------------------------


def test_what_was_applied_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"bin/migrate version": [(0, "", "1\n"), (0, "", "3\n")], "bin/migrate up": [(0, "", "2/u b (1s)\n")]}
    params = {
        "service": "shop", "user": "u", "version_command": "bin/migrate version", "up_command": "bin/migrate up",
        "timeout_s": 5, "environment_file_text": "", "tool": "golang-migrate", "tool_command": "",
        "listed": listed(NUMBERS), "progress": None,
    }  # fmt: skip
    monkeypatch.setattr(migrate, "check_user", lambda user: None)
    monkeypatch.setattr(migrate, "run_unit", lambda params, command, file, limit, watch=None: answers[command].pop(0))
    result = migrate.migrate(types.SimpleNamespace(params=params, check_mode=False), "/x.env")
    assert (result["before"], result["after"], result["message"]) == (1, 3, "2/u b (1s)")


class Failed(Exception):
    pass


def migrated(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[tuple[int, str, str]]], **params: Any) -> str:
    """Run the module's work with these answers of its commands; return how it failed."""
    given = {
        "service": "shop", "user": "shop-migrate", "version_command": "bin/migrate version", "timeout_s": 5,
        "up_command": "bin/migrate up", "environment_file_text": 'PGPASSWORD="s3cr3t-word"\n', "tool": "golang-migrate",
        "tool_command": "", "listed": listed(NUMBERS), "progress": None, **params,
    }  # fmt: skip

    def fail_json(**result: Any) -> None:
        raise Failed(result["msg"])

    monkeypatch.setattr(migrate, "check_user", lambda user: None)
    monkeypatch.setattr(migrate, "run_unit", lambda params, command, file, limit, watch=None: answers[command].pop(0))
    with pytest.raises((Failed, migrate.MigrateError)) as caught:
        migrate.migrate(types.SimpleNamespace(params=given, check_mode=False, fail_json=fail_json), "/x.env")
    return str(caught.value)


def test_the_first_error_comes_first_then_the_state_then_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = migrated(monkeypatch, {
        "bin/migrate version": [(0, "", "2\n"), (0, "", "3 (dirty)\n")],
        "bin/migrate up": [(1, "", f"3/u c (2ms)\n{PSQL}, password s3cr3t-word\n")],
    })  # fmt: skip
    assert said.startswith('error: migration failed: column "y" does not exist')
    state, way = said.index("the database is dirty at 3 now"), said.index("`bin/migrate force 2`")
    assert said.index("ended with code 1") < state < way
    assert "`bin/migrate force 3`" in said[way:]
    assert "s3cr3t-word" not in said


def test_a_state_that_cannot_be_read_does_not_hide_the_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    said = migrated(monkeypatch, {
        "bin/migrate version": [(0, "", "2\n"), (1, "", "error: connection refused\n")],
        "bin/migrate up": [(1, "", PSQL)],
    })  # fmt: skip
    assert said.startswith(PSQL.strip())
    assert said.index("does not exist") < said.index("is not known") < said.index("connection refused")


def test_a_database_that_is_dirty_before_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = migrated(monkeypatch, {"bin/migrate version": [(0, "", "1 (dirty)\n")]}, tool_command="bin/migrate -path m")
    assert "dirty at 1" in said
    assert "`bin/migrate -path m force -- -1`" in said, "Go takes -1 for an option otherwise"
