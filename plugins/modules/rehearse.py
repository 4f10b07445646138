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
    the real ones, and the release's environment is what it always is. Both speak TLS, with certificates by an authority
    that takes the place of those that the service trusts.
  - Brings the database to the schema in service with the release in service, fills it with the seed of the plan,
    applies what is pending, undoes it one step at a time, applies it again, and compares the schema after each.
  - Whatever it finds is an answer. What kept it from rehearsing at all is told apart from the faults that it found.
  - It works in a transient unit, which ends where nobody asks for it any more, and removes what it made however it
    ends. The action of the same name asks until it is over.
options:
  plan:
    description:
      - JSON text with C(service), C(user), C(databases) (the migrator's first), C(redis_urls), C(trusted) (files of
        root certificates), C(candidate) and C(stable) (each C(folder), C(root), C(version) and C(environment)), C(up),
        C(down), C(version_command), C(tool), C(listed) (C(order) and C(migrations) of the candidate's manifest),
        C(pending) (ids), C(base_version), C(ignore_tables), C(seed) and C(checks) (SQL texts by name), C(api)
        (C(command), C(port), C(health), C(smoke)), C(timeout_s), C(directories) (paths where each gets an empty one),
        and C(data_directory) of a restored copy or null. Never shown.
    type: str
    required: true
  id: {description: Name of this rehearsal on its host., type: str, required: true}
  limit_s: {description: Seconds after which it is ended., type: int, default: 7200}
  copy:
    description: Name of the restore whose data directory the plan names, to be removed at the end; none by default.
    type: str
    default: ""
  state:
    description: Begin it, or ask for its end within ten seconds. The action says both.
    type: str
    choices: [begun, asked]
    default: begun
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: none, description: It changes nothing on the host but what it removes again.}
  diff_mode: {support: none, description: It changes nothing.}
"""

EXAMPLES = r"""
- name: Rehearse
  turnout.ops.rehearse:
    plan: "{{ plan }}"
    id: "{{ run_id }}"
"""

RETURN = r"""
over: {description: Whether it has ended., returned: success, type: bool}
causes: {description: "What is wrong, one sentence each; empty for a pass.", returned: over, type: list, elements: str}
unknown:
  description: "Why it is not known whether something is wrong, one sentence each."
  returned: over
  type: list
  elements: str
verdict: {description: "C(pass), C(fail), or C(unknown) where it could not be rehearsed.", returned: over, type: str}
locks: {description: "Strongest table locks with the seconds they were held.", returned: over, type: list,
  elements: dict}
pending: {description: Ids of the migrations that were rehearsed., returned: over, type: list, elements: str}
figures: {description: "Seconds, rows rewritten, bytes grown.", returned: over, type: dict}
"""

import contextlib
import difflib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import authority, migration_state
from ansible_collections.turnout.ops.plugins.module_utils.cage import CageError, account, enter, furnish, inside, lend
from ansible_collections.turnout.ops.plugins.module_utils.ephemeral import (
    BLOCKS_READS,
    Ephemeral,
    EphemeralError,
    LockWatch,
)
from ansible_collections.turnout.ops.plugins.module_utils.laid_release import absolute

RUNS = Path("/run/turnout-rehearsal")  # plans, which hold secrets, and answers
HOMES = Path("/var/lib/turnout-rehearsal")
LEASE_S = 60  # a rehearsal that nobody asked for in so many seconds ends: its playbook is gone
ASK_S = 10
MODULE = "ansible_collections.turnout.ops.plugins.modules.rehearse"
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
DIFF_LINES = 12


def redis_settings(urls: list, tls: str) -> list:
    """Return the settings of an empty Redis that lets in whom the service's addresses name; all are of one port.

    `tls` is the folder of the certificate, for addresses that ask for it (rediss).
    """
    all_parts = [urllib.parse.urlsplit(url) for url in urls]
    port = all_parts[0].port or 6379
    lines = [f"port {port}", "bind * -::*", "protected-mode no", 'save ""', "appendonly no", "dir /tmp", "daemonize no"]
    if any(parts.scheme == "rediss" for parts in all_parts):
        lines[0] = f"port 0\ntls-port {port}\ntls-auth-clients no"
        lines += [f"tls-cert-file {tls}/server.crt", f"tls-key-file {tls}/server.key", f"tls-ca-cert-file {tls}/ca.crt"]
    logins = {parts.username or "": urllib.parse.unquote(parts.password) for parts in all_parts if parts.password}
    for user, password in logins.items():
        if user:
            digest = hashlib.sha256(password.encode()).hexdigest()
            lines.append(f"user {urllib.parse.unquote(user)} on #{digest} ~* &* +@all")
        else:
            lines.append(f"requirepass {password}")
    return lines


def _passwords(value: str) -> list:
    """Return the password of an address, as it is written and as it is meant; none of what is no address."""
    try:
        written = urllib.parse.urlsplit(value).password or ""
    except ValueError:  # a pattern such as https://[a-z]+
        return []
    return [written, urllib.parse.unquote(written)]


class RehearsalError(Exception):
    """It could not be rehearsed; the message holds no secret."""


class CommandError(RehearsalError):
    """A command of a release failed, or took too long."""


class Rehearsal:
    """One rehearsal, from the empty or restored database to its causes and figures."""

    def __init__(self, plan: dict, home: str) -> None:
        self.plan = plan
        self.causes: list = []
        self.unknown: list = []
        self.figures: dict = {}
        self.locks: list = []
        self._tls = os.path.join(home, "tls")
        self._accounts = {use: account(plan[use]) for use in ("user", "migrate_user")}
        self._secrets = sorted(
            {value for release in ("candidate", "stable") if plan[release] for value in self._hidden(plan[release])},
            key=len,
            reverse=True,
        )
        self.database = Ephemeral(plan["databases"], home, plan.get("data_directory"))

    @staticmethod
    def _hidden(release: dict) -> list:
        values = list(release["environment"].values())
        return [
            value for value in [*values, *(one for value in values for one in _passwords(value))] if len(value) >= 6
        ]

    def run(self) -> None:
        """Rehearse; the findings are in `causes`, `unknown`, `figures` and `locks`."""
        plan = self.plan
        redis = self._redis()
        try:
            self.database.start()
            self._base()
            before, invariants, self._seeded = self.database.dump(), self._checks(), self.database.rows()
            try:
                self._after_up(self._up_watched())
            except CommandError as error:
                self.causes.append(f"the migrations fail: {error}")
                return
            if self._down_and_up(before, self.database.dump()):
                self.causes += [f"check {name} finds {now} row(s) that it did not find before" for name, now in
                                self._checks().items() if now > invariants.get(name, 0)]  # fmt: skip
                if plan["stable"] and plan["api"]:
                    self._smoke()
        finally:
            self.database.stop()
            for server in redis:
                server.kill()

    # Steps -----------------------------------------------------------------------------------------------------

    def _base(self) -> None:
        """Bring the database to the schema in service, with the release in service, and fill it."""
        plan = self.plan
        if plan["stable"] and not plan.get("data_directory"):
            self._migrate(plan["stable"], plan["up"])
        # What the candidate's command cannot even read says nothing of its migrations. What it does not name it never
        # applies (Django: of packages that are not installed): the release in service cannot tell it from a new one.
        seen, placed = self._placed(plan["candidate"])
        if plan["stable"]:
            _, placed = self._placed(plan["stable"], migration_state.named(seen, plan["listed"]))
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

    def _up_watched(self) -> dict:
        tables, (size, wal) = self.database.tables(), self.database.sizes()
        with LockWatch(self.database) as locks:
            began = time.monotonic()
            self._migrate(self.plan["candidate"], self.plan["up"])
            seconds = time.monotonic() - began
        if locks.error or not locks.looks:
            raise RehearsalError(locks.error or "locks were never looked at")
        self.locks = [
            {"table": table, "mode": mode, "seconds": round(held, 3), "rows": self._seeded[table]}
            for (table, mode), held in sorted(locks.held.items(), key=lambda item: -item[1])
            if table in self._seeded
        ]
        after, (new_size, new_wal) = self.database.tables(), self.database.sizes()
        rewritten = [name for name, file in tables.items() if name in after and after[name] != file]
        return {
            "up_s": round(seconds, 3),
            "rewritten_rows": {name: self._seeded[name] for name in rewritten if not self._ignored(name)},
            "grown_bytes": new_size - size,
            "wal_bytes": new_wal - wal,
            "size_bytes": size,
        }

    def _after_up(self, figures: dict) -> None:
        plan, self.figures = self.plan, figures
        for lock in self.locks:
            busy = lock["table"] in plan["busy"] or f"public.{lock['table']}" in plan["busy"]
            bound = plan["max_busy_lock_s"] if busy else plan["max_lock_s"]
            if lock["seconds"] > bound:
                what = "reads and writes" if lock["mode"] == BLOCKS_READS else "writes"
                self.causes.append(
                    f"{lock['mode']} on {'the busy table ' if busy else ''}{lock['table']} ({lock['rows']} rows) for "
                    f"{lock['seconds']:.2f} s blocks {what}; at most {bound:g} s"
                )
        if figures["up_s"] > plan["max_up_s"]:
            self.causes.append(f"it took {figures['up_s']:.1f} s, at most {plan['max_up_s']:g} s")

    def _down_and_up(self, before: str, after: str) -> bool:
        """Go back and on again; tell whether the database has the new schema then."""
        plan = self.plan
        if not plan["down"]:
            self.causes.append("there is no command for the way back (service.migrate.down)")
            return True
        if not self._down(self.causes):
            return False
        self._same(before, self.database.dump(), "the down script does not restore the schema")
        self._same_rows()
        try:
            self._migrate(plan["candidate"], plan["up"])
        except CommandError as error:
            self.causes.append(f"it cannot be applied again after the way back: {error}")
            return False
        self._same(after, self.database.dump(), "applied again, it gives another schema")
        return True

    def _down(self, faults: list) -> bool:
        """Undo every pending migration; what fails goes into `faults`."""
        for name in reversed(self.plan["pending"]):
            try:
                self._migrate(self.plan["candidate"], self.plan["down"])
            except CommandError as error:
                faults.append(f"the down script of {name} fails: {error}")
                return False
        return True

    def _same_rows(self) -> None:
        now = self.database.rows()
        changed = [
            f"{name} ({rows} rows before, {now[name]} after)" for name, rows in sorted(self._seeded.items())
            if name in now and now[name] != rows and not self._ignored(name)
        ]  # fmt: skip
        if changed:
            self.causes.append(
                f"up and down leave other numbers of rows in {', '.join(changed)}; expected: as many as before; "
                "to mend: a down script that gives them back, or, for tables that a framework fills by itself, their "
                "names in service.migrate.ignore_tables"
            )

    def _ignored(self, table: str) -> bool:
        """Tell whether the service file says that a table's rows are a framework's."""
        return bool({table, f"public.{table}", table.replace('"', "")} & set(self.plan["ignore_tables"]))

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
        """See that the release in service answers on the new schema; what it never answers here says nothing."""
        version, found = self.plan["stable"]["version"], self._answers()
        if not found:
            return
        with_both: dict = {}
        if self.plan["down"] and self._down(self.unknown):
            with_both = {name: said for name, said in self._answers().items() if name in found}
        for name, said in found.items():
            if name in with_both:
                self.unknown.append(
                    f"{version}, which is in service, does not answer here on its own schema either "
                    f"({with_both[name]}), so that the new one was not tried; expected: an API that answers where it "
                    "reaches PostgreSQL and Redis alone"
                )
            elif not name:
                self.causes.append(f"{version}, which is in service, does not get healthy on the new schema: {said}")
            else:
                self.causes.append(f"{version}, which is in service, breaks on the new schema: {said}")

    def _answers(self) -> dict:
        """Start the release in service; return what is wrong by the name of the test, which is empty for its health."""
        api, stable = self.plan["api"], self.plan["stable"]
        environment = {**stable["api_environment"], "PORT": str(api["port"])}
        process = subprocess.Popen(
            self._argv(api["command"], stable["folder"], environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**self._base_environment("user"), **environment}, **self._where(stable, "user"),
        )  # fmt: skip
        try:
            deadline = time.monotonic() + api["health"]["deadline_s"]
            while (said := self._ask(api["port"], {**api["health"], "method": "GET"})) is not None:
                if process.poll() is not None or time.monotonic() > deadline:
                    return {"": said}
                time.sleep(0.1)
            asked = {str(number): self._ask(api["port"], test) for number, test in enumerate(api["smoke"], start=1)}
            return {name: said for name, said in asked.items() if said is not None}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(10)

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

    def _redis(self) -> list:
        """Start a Redis at each of the service's ports, where the host has one; passwords go through a pipe."""
        program, servers = shutil.which("redis-server"), []
        by_port: dict = {}
        for url in self.plan["redis_urls"]:
            by_port.setdefault(urllib.parse.urlsplit(url).port, []).append(url)
        for urls in by_port.values() if program else ():
            server = subprocess.Popen(
                [program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
            )
            server.stdin.write("\n".join(redis_settings(urls, self._tls)) + "\n")
            server.stdin.close()
            servers.append(server)
        return servers

    def _base_environment(self, use: str) -> dict:
        """What systemd gives to every service; an image need not know its user by name."""
        user = self.plan[use]
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "USER": user, "LOGNAME": user, "SSL_CERT_FILE": SYSTEM_AUTHORITIES,
        }  # fmt: skip

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
            raise CommandError(f"`{command}` did not end within {self.plan['timeout_s']} s") from None
        except OSError as error:
            raise RehearsalError(f"`{command}` could not be started: {error.strerror}") from None

    def _migrate(self, release: dict, command: str) -> None:
        done = self._run(release, command)
        if done.returncode:
            said = migration_state.first_error(done.stderr or done.stdout)
            raise CommandError(f"`{command}` of {release['version']} ended with {done.returncode}: {self._clean(said)}")

    def _placed(self, release: dict, named: set | None = None) -> tuple:
        """Return what a release's command told, and where that is in the candidate's list, as in `migrate`."""
        tool, command = self.plan.get("tool") or "", self.plan["version_command"]
        done = self._run(release, command)
        try:
            seen = migration_state.read(tool, done.returncode, done.stdout, done.stderr)
            return seen, migration_state.place(seen, self.plan["listed"], own=False, named=named)
        except migration_state.StateError as error:
            raise RehearsalError(f"`{command}` of {release['version']} {self._clean(str(error))}") from None

    def _clean(self, text: str) -> str:
        for value in self._secrets:
            text = text.replace(value, "[secret]")
        return text[-600:]


def rehearsed(plan: dict, home: str) -> dict:
    """Rehearse in `home`, an empty folder; return what it came to. There is no way back to the host's network."""
    found: dict = {"causes": [], "unknown": [], "locks": [], "figures": {}}
    rehearsal = None
    try:
        os.makedirs(home, exist_ok=True)
        os.chmod(home, 0o700)
        rehearsal = Rehearsal(plan, home)
        redis = [urllib.parse.urlsplit(url).hostname or "" for url in plan["redis_urls"]]
        hosts = [*(host for one in plan["databases"] for host in one["hosts"]), *redis]
        hosts = [host for host in hosts if host and not host.startswith("/")]
        authority.make(os.path.join(home, "tls"), ["localhost", "127.0.0.1", *hosts], "postgres", 7)
        roots = {plan[which]["root"] for which in ("candidate", "stable") if plan[which]}
        trusted = [root + path for root in roots for path in plan["trusted"]]
        trusted += [root + SYSTEM_AUTHORITIES for root in roots if os.path.exists(root + SYSTEM_AUTHORITIES)]
        enter(hosts, trusted, os.path.join(home, "tls", "ca.crt"), os.path.join(home, "layers"))
        for root in roots - {""}:
            furnish(root)
        lend(plan.get("directories", []), account(plan["user"]), os.path.join(home, "lent"))
        rehearsal.run()
    except (CageError, EphemeralError, RehearsalError, authority.CertificateError) as error:
        found["unknown"] = [str(error)]
    except Exception as error:  # it is told, but no text of a library's error, which may hold an address
        traceback.print_tb(error.__traceback__)
        found["unknown"] = [f"{type(error).__name__} in the rehearsal itself"]
    if rehearsal is not None:
        own = {"causes": rehearsal.causes, "locks": rehearsal.locks, "figures": rehearsal.figures}
        found = {**own, "unknown": rehearsal.unknown + found["unknown"]}
    return {
        **found,
        "pending": plan["pending"],
        "verdict": "fail" if found["causes"] else "unknown" if found["unknown"] else "pass",
    }


# The unit, which nobody needs to wait for -------------------------------------------------------------------------


def unit_of(name: str) -> str:
    """Return the name of a rehearsal's unit."""
    return f"turnout-rehearsal-{name}.service"


def active(name: str) -> bool:
    """Tell whether a rehearsal still runs, the removal of what it made included."""
    command = ["systemctl", "show", "--property=ActiveState", "--value", unit_of(name)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    return said not in ("inactive", "failed", "")


def begin(plan: str, name: str, limit_s: int, copy: str) -> None:
    """Start the unit; what an earlier one left that a power cut ended is removed. Raises RehearsalError."""
    for path in (*RUNS.glob("*"), *HOMES.glob("*")):
        if not active(path.name):
            shutil.rmtree(path, ignore_errors=True)
    folder = RUNS / name
    folder.mkdir(mode=0o700, parents=True)
    # The module's own code, which Ansible removes when the module ends.
    shutil.copyfile(__loader__.archive, folder / "code.zip")  # type: ignore[name-defined]
    (folder / "lease").touch()
    with os.fdopen(os.open(folder / "plan", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(plan)
    properties = ["Type=exec", f"RuntimeMaxSec={limit_s}", "TimeoutStopSec=10", f"ExecStopPost=rm -rf {HOMES / name}"]
    if copy:
        properties.append(f"ExecStopPost=-env -u INVOCATION_ID turnout-drill remove {copy}")
    work = f"import sys; sys.path.insert(0, sys.argv[1]); from {MODULE} import work; work(sys.argv[2])"
    done = subprocess.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={unit_of(name)}", *(f"--property={one}" for one in properties),
         "--", sys.executable, "-c", work, str(folder / "code.zip"), name],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise RehearsalError(done.stderr.strip()[-300:])


def work(name: str) -> None:
    """Do the work of the unit: rehearse, write the answer. It ends without one where its lease is not renewed."""
    folder = RUNS / name
    plan = json.loads((folder / "plan").read_text())
    (folder / "plan").unlink()
    copy = Path(plan["data_directory"]).parent if plan.get("data_directory") else None
    threading.Thread(target=watch, args=(folder / "lease", copy), daemon=True).start()
    found = rehearsed(plan, str(HOMES / name))
    (folder / "new").write_text(json.dumps(found))
    (folder / "new").replace(folder / "answer")


def watch(lease: Path, copy: Path | None = None) -> None:
    """End this process, and with it its unit, once the lease was not renewed for LEASE_S seconds.

    Until then the reaper is told that the restored `copy` is in use.
    """
    renewed, seen = time.monotonic(), 0.0
    while time.monotonic() - renewed < LEASE_S:
        if copy is not None and (copy / "state.json").exists():
            with contextlib.suppress(OSError):
                (copy / "lease").touch()
        time.sleep(1)
        with contextlib.suppress(OSError):
            changed = lease.stat().st_mtime
            renewed, seen = (time.monotonic() if changed != seen else renewed), changed
    shutil.rmtree(lease.parent, ignore_errors=True)
    os._exit(1)


def ask(name: str) -> dict:
    """Renew the lease and wait for the end, for ASK_S seconds; return the answer once there is one."""
    folder = RUNS / name
    with contextlib.suppress(OSError):
        (folder / "lease").touch()
    deadline = time.monotonic() + ASK_S
    while active(name):
        if time.monotonic() > deadline:
            return {"over": False}
        time.sleep(0.2)
    try:
        found = json.loads((folder / "answer").read_text())
    except (OSError, ValueError):
        why = "it was ended before its end (its time was over, or the host was lost): journalctl -u " + unit_of(name)
        found = {"causes": [], "unknown": [why], "locks": [], "figures": {}, "pending": [], "verdict": "unknown"}
    shutil.rmtree(folder, ignore_errors=True)
    return {"over": True, **found}


def main():
    """Begin a rehearsal, or ask for its end."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "str", "required": True, "no_log": True},
            "id": {"type": "str", "required": True},
            "limit_s": {"type": "int", "default": 7200},
            "copy": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["begun", "asked"], "default": "begun"},
        }
    )
    params = module.params
    name = re.sub(r"[^a-z0-9]", "-", params["id"].lower())[-40:]
    try:
        if params["state"] == "begun":
            begin(params["plan"], name, params["limit_s"], params["copy"])
        module.exit_json(changed=False, **ask(name))
    except (OSError, RehearsalError, subprocess.TimeoutExpired) as error:
        module.fail_json(
            msg=f"error[rehearsal]: it could not begin: {error}; expected: a host with systemd and room in {HOMES}; to "
            "mend: see the message"
        )


if __name__ == "__main__":
    main()
