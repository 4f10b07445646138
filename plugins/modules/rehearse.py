#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: rehearse a release's migrations on a database that nobody uses."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rehearse
short_description: Rehearse migrations - up, down, up again - and tell what they did
description:
  - Runs on a host where the releases are laid and a PostgreSQL server is installed, in a network of its own in which
    the service's own addresses lead to a database (and a Redis) that live as long as the rehearsal. Nothing reaches
    the real ones, and the release's environment is what it always is.
  - Brings the database to the schema in service with the release in service, fills it with the seed of the plan,
    applies what is pending, undoes it one step at a time, applies it again, and compares the schema after each.
  - Whatever it finds is an answer; it fails only where it could not rehearse at all.
options:
  plan:
    description:
      - JSON text with C(service), C(user), C(database_urls) (the migrator's first), C(redis_url), C(candidate) and
        C(stable) (each C(folder), C(root), C(version) and C(environment)), C(up), C(down), C(version_command),
        C(tool), C(listed) (C(order) and C(migrations) of the candidate's manifest), C(pending) (ids), C(base_version),
        C(seed) and C(checks) (SQL texts by name), C(api) (C(command), C(port), C(health), C(smoke)), C(timeout_s), and
        C(data_directory) of a restored copy or null. Never shown.
    type: str
    required: true
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It changes nothing on the host but what it removes again.}
  diff_mode: {support: none, description: It changes nothing.}
"""

EXAMPLES = r"""
- name: Rehearse
  turnout.ops.rehearse:
    plan: "{{ plan }}"
"""

RETURN = r"""
causes: {description: "What is wrong, one sentence each; empty for a pass.", returned: success, type: list,
  elements: str}
locks: {description: "Strongest table locks with the seconds they were held.", returned: success, type: list,
  elements: dict}
pending: {description: Ids of the migrations that were rehearsed., returned: success, type: list, elements: str}
figures: {description: "Seconds, rows rewritten, bytes grown.", returned: success, type: dict}
"""

import contextlib
import difflib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import migration_state
from ansible_collections.turnout.ops.plugins.module_utils.cage import CageError, account, enter, furnish, inside
from ansible_collections.turnout.ops.plugins.module_utils.ephemeral import (
    BLOCKS_READS,
    Ephemeral,
    EphemeralError,
    LockWatch,
    state,
)
from ansible_collections.turnout.ops.plugins.module_utils.laid_release import absolute

DIFF_LINES = 12
# What migration tools write down of themselves.
TOOLS_TABLES = {
    *("schema_migrations", "ar_internal_metadata", "goose_db_version", "alembic_version", "django_migrations"),
    *("flyway_schema_history", "schema_version", "_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"),
    *("migrations", "gorp_migrations", "knex_migrations", "knex_migrations_lock", "pgmigrations", "sequelizemeta"),
    *("__diesel_schema_migrations", "_sqlx_migrations", "_prisma_migrations", "databasechangelog"),
    *("databasechangeloglock", "__efmigrationshistory"),
}


def redis_settings(url: str) -> list:
    """Return the settings of an empty Redis that lets in whom the service's address names."""
    parts = urllib.parse.urlsplit(url)
    lines = [f"port {parts.port or 6379}", "bind * -::*", 'save ""', "appendonly no", "dir /tmp", "daemonize no"]
    if parts.password and parts.username:
        digest = hashlib.sha256(urllib.parse.unquote(parts.password).encode()).hexdigest()
        lines.append(f"user {urllib.parse.unquote(parts.username)} on #{digest} ~* &* +@all")
    elif parts.password:
        lines.append(f"requirepass {urllib.parse.unquote(parts.password)}")
    return lines


class RehearsalError(Exception):
    """It could not be rehearsed; the message holds no secret."""


class Rehearsal:
    """One rehearsal, from the empty or restored database to its causes and figures."""

    def __init__(self, plan: dict) -> None:
        self.plan = plan
        self.causes: list = []
        self.figures: dict = {}
        self.locks: list = []
        self._accounts = {use: account(plan[use]) for use in ("user", "migrate_user")}
        self._secrets = sorted(
            {value for release in ("candidate", "stable") if plan[release] for value in self._hidden(plan[release])},
            key=len,
            reverse=True,
        )
        self.database = Ephemeral(plan["database_urls"], plan.get("data_directory"))

    @staticmethod
    def _hidden(release: dict) -> list:
        values = list(release["environment"].values())
        passwords = [urllib.parse.urlsplit(value).password for value in values if "://" in value]
        return [value for value in [*values, *(p for p in passwords if p)] if len(value) >= 6]

    def run(self) -> None:
        """Rehearse; the findings are in `causes`, `figures` and `locks`."""
        plan = self.plan
        redis = self._redis()
        try:
            self.database.start()
            self._base()
            before, invariants = self.database.dump(), self._checks()
            self._seeded = state(self.database)
            first = self._up(watch=True)
            after = self.database.dump()
            self._after_up(first)
            if plan["stable"] and plan["api"]:
                self._smoke()
            self._down_and_up(before, after)
            self.causes += [f"check {name} finds {now} row(s) that it did not find before" for name, now in
                            self._checks().items() if now > invariants.get(name, 0)]  # fmt: skip
        finally:
            self.database.stop()
            if redis is not None:
                redis.kill()

    # Steps -----------------------------------------------------------------------------------------------------

    def _base(self) -> None:
        """Bring the database to the schema in service, with the release in service, and fill it."""
        plan = self.plan
        if plan["stable"] and not plan.get("data_directory"):
            self._migrate(plan["stable"], plan["up"])
        placed = self._placed(plan["stable"] or plan["candidate"])
        plan["pending"] = placed["pending"]
        if (version := placed["version"]) != plan["base_version"]:
            raise RehearsalError(
                f"the rehearsal begins at migration {version}, and the database in service is at {plan['base_version']}"
                " (a release that was taken back leaves its migrations): rehearse on a copy of it, with -e copy=true"
            )
        for name, sql in sorted(plan["seed"].items()):
            try:
                self.database.query(sql, 600)
            except EphemeralError as error:
                raise RehearsalError(f"seed {name}: {error}") from None
        self.database.query("ANALYZE")

    def _up(self, *, watch: bool) -> dict:
        began, before = time.monotonic(), state(self.database)
        if watch:
            with LockWatch(self.database) as locks:
                self._migrate(self.plan["candidate"], self.plan["up"])
            if locks.error or not locks.looks:
                raise RehearsalError(locks.error or "locks were never looked at")
            self.locks = [
                {"table": table, "mode": mode, "seconds": round(seconds, 3), "rows": before["tables"][table]["rows"]}
                for (table, mode), seconds in sorted(locks.held.items(), key=lambda item: -item[1])
                if table in before["tables"]
            ]
        else:
            self._migrate(self.plan["candidate"], self.plan["up"])
        seconds = time.monotonic() - began
        after = state(self.database)
        rewritten = {
            name: table["rows"]
            for name, table in before["tables"].items()
            if name in after["tables"] and after["tables"][name]["file"] != table["file"] and not self._is_record(name)
        }
        return {"seconds": seconds, "before": before, "after": after, "rewritten": rewritten}

    def _after_up(self, done: dict) -> None:
        plan, before, after = self.plan, done["before"], done["after"]
        self.figures = {
            "up_s": round(done["seconds"], 3),
            "rewritten_rows": done["rewritten"],
            "grown_bytes": after["bytes"] - before["bytes"],
            "wal_bytes": after["wal_bytes"] - before["wal_bytes"],
            "size_bytes": before["bytes"],
        }
        for lock in self.locks:
            busy = lock["table"] in plan["busy"] or f"public.{lock['table']}" in plan["busy"]
            bound = plan["max_busy_lock_s"] if busy else plan["max_lock_s"]
            if lock["seconds"] > bound:
                what = "reads and writes" if lock["mode"] == BLOCKS_READS else "writes"
                self.causes.append(
                    f"{lock['mode']} on {'the busy table ' if busy else ''}{lock['table']} ({lock['rows']} rows) for "
                    f"{lock['seconds']:.2f} s blocks {what}; at most {bound:g} s"
                )
        if done["seconds"] > plan["max_up_s"]:
            self.causes.append(f"it took {done['seconds']:.1f} s, at most {plan['max_up_s']:g} s")

    def _down_and_up(self, before: str, after: str) -> None:
        plan = self.plan
        if not plan["down"]:
            self.causes.append("there is no command for the way back (service.migrate.down)")
            return
        counted = state(self.database)["tables"]
        for name in reversed(plan["pending"]):
            try:
                self._migrate(plan["candidate"], plan["down"])
            except RehearsalError as error:
                self.causes.append(f"the down script of {name} fails: {error}")
                return
        self._same(before, self.database.dump(), "the down script does not restore the schema")
        lost = [name for name, table in self._seeded["tables"].items()
                if state(self.database)["tables"].get(name, {}).get("rows") != table["rows"]
                and name in counted and not self._is_record(name)]  # fmt: skip
        if lost:
            self.causes.append(f"rows of {', '.join(sorted(lost))} are not what they were after up and down")
        try:
            self._up(watch=False)
        except RehearsalError as error:
            self.causes.append(f"it cannot be applied again after the way back: {error}")
            return
        self._same(after, self.database.dump(), "applied again, it gives another schema")

    @staticmethod
    def _is_record(table: str) -> bool:
        """Tell the migration tool's own tables, which count migrations, from the service's data."""
        return table.rpartition(".")[2].strip('"').lower() in TOOLS_TABLES

    def _same(self, wanted: str, got: str, what: str) -> None:
        if wanted == got:
            return
        changed = [
            line
            for line in difflib.unified_diff(wanted.splitlines(), got.splitlines(), lineterm="", n=0)
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        shown = " | ".join(changed[:DIFF_LINES]) + (
            f" | and {len(changed) - DIFF_LINES} more" if len(changed) > DIFF_LINES else ""
        )
        self.causes.append(f"{what}: {shown}")

    def _checks(self) -> dict:
        """Return how many rows each check finds; a check that cannot be asked is a cause."""
        found = {}
        for name, sql in sorted(self.plan["checks"].items()):
            try:
                found[name] = len(self.database.query(sql, 120))
            except EphemeralError as error:
                self.causes.append(f"check {name}: {error}")
        return found

    # The release in service on the new schema ---------------------------------------------------------------------

    def _smoke(self) -> None:
        """Start the release in service on the new schema and ask it what its smoke tests ask."""
        api, stable = self.plan["api"], self.plan["stable"]
        environment = {**stable["api_environment"], "PORT": str(api["port"])}
        process = subprocess.Popen(
            self._argv(api["command"], stable["folder"], environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**self._base_environment("user"), **environment}, **self._where(stable, "user"),
        )  # fmt: skip
        try:
            self._ask_all(api, stable["version"], process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(10)

    def _ask_all(self, api: dict, version: str, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + api["health"]["deadline_s"]
        while (said := self._ask(api["port"], {**api["health"], "method": "GET"})) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                self.causes.append(f"{version}, which is in service, does not get healthy on the new schema: {said}")
                return
            time.sleep(0.1)
        for test in api["smoke"]:
            said = self._ask(api["port"], test)
            if said is not None:
                self.causes.append(f"{version}, which is in service, breaks on the new schema: {said}")

    @staticmethod
    def _ask(port: int, test: dict):
        """Return what is wrong with an answer, or None."""
        method, path = test.get("method") or "GET", test["path"]
        body = test["body"].encode() if test.get("body") else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", data=body, method=method, headers=test.get("headers") or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
                status, text = answer.status, answer.read(1 << 20)
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read(1 << 20)
        except OSError as error:
            return f"{method} {path}: {getattr(error, 'reason', error)}"
        if status != test["status"]:
            return f"{method} {path}: HTTP {status}, {test['status']} wanted"
        wanted = test.get("contains")
        return None if not wanted or wanted.encode() in text else f"{method} {path}: its answer lacks {wanted!r}"

    # Helpers -----------------------------------------------------------------------------------------------------

    def _redis(self):
        """Start a Redis at the service's address, where the host has one; its password goes through a pipe."""
        program, url = shutil.which("redis-server"), self.plan.get("redis_url")
        if not program or not url:
            return None
        lines = redis_settings(url)
        server = subprocess.Popen(
            [program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )
        server.stdin.write("\n".join(lines) + "\n")
        server.stdin.close()
        return server

    def _base_environment(self, use: str) -> dict:
        """What systemd gives to every service; an image need not know its user by name."""
        user = self.plan[use]
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "USER": user, "LOGNAME": user}

    def _where(self, release: dict, use: str) -> dict:
        return inside(release["root"], release["folder"], self._accounts[use])

    def _argv(self, command: str, folder: str, environment: dict) -> list:
        words = shlex.split(command)
        for name, value in environment.items():
            words = [word.replace("${" + name + "}", value) for word in words]
        return absolute(words, folder)

    def _run(self, release: dict, command: str) -> subprocess.CompletedProcess:
        environment = {**self._base_environment("migrate_user"), **release["environment"]}
        try:
            return subprocess.run(
                self._argv(command, release["folder"], release["environment"]), env=environment,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                timeout=self.plan["timeout_s"], **self._where(release, "migrate_user"),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RehearsalError(f"`{command}` did not end within {self.plan['timeout_s']} s") from None
        except OSError as error:
            raise RehearsalError(f"`{command}` could not be started: {error.strerror}") from None

    def _migrate(self, release: dict, command: str) -> None:
        done = self._run(release, command)
        if done.returncode:
            said = migration_state.first_error(done.stderr or done.stdout)
            raise RehearsalError(
                f"`{command}` of {release['version']} ended with {done.returncode}: {self._clean(said)}"
            )

    def _placed(self, release: dict) -> dict:
        """Return where the database is in the candidate's list, as the module `migrate` reads it."""
        tool, command = self.plan.get("tool") or "", self.plan["version_command"]
        done = self._run(release, command)
        try:
            seen = migration_state.read(tool, done.returncode, done.stdout, done.stderr)
            return migration_state.place(seen, self.plan["listed"], own=False)
        except migration_state.StateError as error:
            raise RehearsalError(f"`{command}` of {release['version']} {self._clean(str(error))}") from None

    def _clean(self, text: str) -> str:
        for value in self._secrets:
            text = text.replace(value, "[secret]")
        return text[-600:]


def main():
    """Enter the network of its own, rehearse, tell."""
    module = AnsibleModule(argument_spec={"plan": {"type": "str", "required": True, "no_log": True}})
    plan = json.loads(module.params["plan"])
    hosts = [urllib.parse.urlsplit(url).hostname for url in [*plan["database_urls"], plan.get("redis_url") or ""]]
    rehearsal = None
    try:
        rehearsal = Rehearsal(plan)
        enter([host for host in hosts if host])
        for root in {plan[which]["root"] for which in ("candidate", "stable") if plan[which]} - {""}:
            furnish(root)
        rehearsal.run()
    except (CageError, EphemeralError, RehearsalError) as error:
        if rehearsal is None or not isinstance(error, RehearsalError):
            module.fail_json(msg=f"error[rehearsal]: {error}; expected: a rehearsal; to mend: see the message")
        rehearsal.causes.append(str(error))
    told = {name: getattr(rehearsal, name) for name in ("causes", "locks", "figures")}
    module.exit_json(changed=False, pending=plan["pending"], **told)


if __name__ == "__main__":
    main()
