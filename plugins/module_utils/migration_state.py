# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""What a migration tool prints about a database, and where that is in a release's own list of migrations.

The outputs are those of golang-migrate 4.19, goose 3.27, dbmate 2.36, Alembic 1.20, Django 6.1, yoyo 9.0, Flyway 11
(`info -outputType=json`), Knex 3.3, Laravel 12, Rails 8 and TypeORM 0.3.
"""

from __future__ import annotations

import itertools
import json
import re

# One line of a list of migrations: what tells that it is applied, and its name. A line with another mark is pending.
LISTS = {
    "dbmate": (r"^\[(?P<mark>[X ])\] (?P<name>\S+)\s*$", ("X",)),
    "django": (r"^\[(?P<mark>[X ])\]\s+(?P<name>[^\s.]+\.\S+)", ("X",)),
    "goose": (r"(?P<mark>Pending|\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\s+-- (?P<name>\S+)\s*$", None),
    "laravel": (r"^\s*(?P<name>\S+) \.*\s*(?:\[\d+\] )?(?P<mark>Ran|Pending)\s*$", ("Ran",)),
    "rails": (r"^\s*(?P<mark>up|down)\s+(?P<name>\d+)\s", ("up",)),
    # The class, which ends in the number that its file begins with.
    "typeorm": (r"^\[(?P<mark>[X ])\] (?:\d+ )?\S*?(?P<name>\d{13})\s*$", ("X",)),
    "yoyo": (r"^(?P<mark>[AU])\s+(?P<name>\S+)\s", ("A",)),
}
# What a tool says, and ends with code 1, where the database has no table of its own yet: nothing is applied.
EMPTY = {
    "golang-migrate": r"^(?:\d{4}/\S+ \S+ )?error: no migration\s*$",
    "laravel": r"^\s*ERROR\s+Migration table not found\.\s*$",
    "rails": r"^Schema migrations table does not exist yet\.\s*$",
}
OF_FILES = ("dbmate", "goose")  # they call a migration by its file
_EXTENSION = re.compile(r"(\.up)?\.[A-Za-z]+$")
_ERROR = re.compile(
    r"^(?:error(?! during migration )|fatal|failed)\b|^[\w.:]+(?:Error|Exception|errors\.\w+)\b"
    r"|\b(?:ERROR|FATAL|PANIC):|\bgoose run:",
    re.IGNORECASE,
)
_APPLIED = re.compile(
    r"^(?:\d{4}/\S+ \S+ )?(?:\d+/u |OK\s+\d|Applied: \S+ in |\s+Applying \S+\.\.\.|INFO\b.* Running upgrade "
    r"|== \d+ .*: migrated |Migrating schema |Migration \S+ has been executed "
    r"|\s+\d{4}(?:_\d\d){2}_\d{6}_\S+ .*\bDONE\s*$)"
)
_OUR_LINES = 3


class StateError(Exception):
    """What was printed tells no state; the message is for a person and may hold what the command printed."""


def stem(name):
    """Return a migration's name without the extension of its file."""
    return _EXTENSION.sub("", name)


def read(tool, code, out, err):
    """Return what a command told: {"applied", "pending"} (names), or {"at": names of the last ones}; with "dirty" the
    name of a migration that failed half way.

    `tool` is "" for a command of the team's own, which prints the last applied migration on one line: a number, a
    timestamp, a hash or a name; nothing (or 0) for none. Raises StateError.
    """
    text = out + "\n" + err
    if tool in EMPTY and re.search(EMPTY[tool], text, re.MULTILINE):
        return {"at": []}
    if code:
        raise StateError(f"ended with code {code} and said: {last_words(text)}")
    told = _told(tool, out, text)
    if told is None:
        raise StateError(f"said: {last_words(text)}")
    if not tool and not out.strip() and err.strip():
        # Not an empty database: golang-migrate and goose write their version there.
        raise StateError(
            f"printed nothing but on standard error: {last_words(err)} (service.migrate.tool says whose it is)"
        )
    return told


def _told(tool, out, text):
    """Return what an output tells, None where it tells nothing."""
    told = None
    if tool == "golang-migrate":
        found = re.search(r"^(?:\d{4}/\S+ \S+ )?(\d+)( \(dirty\))?\s*$", text, re.MULTILINE)
        told = found and {"at": [found[1]], "dirty": found[1] if found[2] else ""}
    elif tool == "alembic":
        told = {"at": re.findall(r"^([^\s:()]+)(?: \([a-z ]+\))*\s*$", out, re.MULTILINE)}
    elif tool == "flyway":
        told = _flyway(out)
    elif tool == "knex":
        found = re.search(r"^Current Version: (\w+)\s*$", out, re.MULTILINE)
        told = found and {"at": [] if found[1] == "none" else [found[1]]}
    elif tool == "goose" and (found := re.search(r"goose: version (\d+)", text)):
        told = {"at": [found[1]] if int(found[1]) else []}
    elif tool in LISTS:
        told = _listed(tool, text)
    elif "\n" not in (said := out.strip()):
        told = {"at": [] if said in ("", "0") else [said]}
    return told


def _listed(tool, text):
    pattern, applied = LISTS[tool]
    told = {"applied": [], "pending": []}
    for found in re.finditer(pattern, text, re.MULTILINE):
        done = found["mark"] in applied if applied else found["mark"] != "Pending"
        told["applied" if done else "pending"].append(stem(found["name"]) if tool in OF_FILES else found["name"])
    return told


def _flyway(out):
    """`info -outputType=json`; versions of repeatable migrations are empty, and they are in no list."""
    try:
        rows = [row for row in json.loads(out)["migrations"] if row.get("version")]
        rows = [row for row in rows if "UNDO" not in str(row.get("type")) and row["state"] != "Undone"]
        told = {"applied": [], "pending": [], "dirty": ""}
        for row in rows:
            state, name = str(row["state"]).lower(), str(row["version"])
            if "failed" in state:
                told["dirty"] = name
            elif state in ("pending", "above target", "ignored"):
                told["pending"].append(name)
            else:
                told["applied"].append(name)
        return told
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def named(seen, listed):
    """Return the ids of a release's list that a tool names, applied or pending; None where it names the last alone."""
    if "at" in seen:
        return None
    return {_find(name, listed["migrations"]) for name in (*seen["applied"], *seen["pending"])} - {None}


def place(seen, listed, own=True, named=None):
    """Return where a state is in a release's list: {"version", "pending" (ids, in order), "unlisted", "words"}.

    `listed` has the manifest's `order` and `migrations`. `version` is the highest applied number; in a list without
    numbers, how many of it are applied. `unlisted` are names that the tool would apply and the list does not have.
    `own`: the tool is the release's own, so that what it does not name is nothing that it would apply. Where another
    one told the state, what the release's own names (`named`) may be given. Raises StateError where the list does not
    have what is applied.
    """
    migrations, by_number = listed["migrations"], listed["order"] == "number"
    ids = [one["id"] for one in migrations]
    ahead, unlisted = 0, []
    if "at" in seen:
        applied, ahead = _up_to(seen["at"], migrations, by_number)
        pending = [name for name in ids if name not in applied]
    else:
        todo = {name: _find(name, migrations) for name in seen["pending"]}
        applied = {_find(name, migrations) for name in seen["applied"]}
        if own and ids and not {*todo.values(), *applied} - {None}:
            raise StateError(
                f"names none of the {len(ids)} migrations of the release: it looks for them in another folder than the "
                "release has them in (service.migrate.command)"
            )
        unlisted = [name for name, known in todo.items() if known is None]
        new = set() if own else {name for name in ids if name not in applied and (named is None or name in named)}
        pending = [name for name in ids if name in todo.values() or name in new]
        if by_number:  # also of those that a later release left behind
            digits = [re.match(r"\d+", name) for name in seen["applied"] if _find(name, migrations) is None]
            ahead = max([0, *(int(found[0]) for found in digits if found)])
    done = [one for one in migrations if one["id"] not in pending]
    version = max([ahead, *(one["version"] for one in done)]) if by_number else max(ahead, len(done))
    last = ", ".join(seen.get("at") or [one["id"] for one in done][-1:])
    words = f"dirty at {seen['dirty']}" if seen.get("dirty") else f"at {last}" if last else "empty"
    return {"version": version, "pending": pending, "unlisted": unlisted, "words": words}


def _up_to(names, migrations, by_number):
    """Return (ids up to these, the number that a state of no name has, 0 for none)."""
    follows = {two["id"]: two.get("after") or [one["id"]] for one, two in itertools.pairwise(migrations)}
    applied, ahead = set(), 0
    for name in names:
        known = _find(name, migrations)
        if known is None and not name.isdecimal():
            raise StateError(f"says {name}, which is none of the {len(migrations)} migrations of the release")
        if known is None:
            ahead = max(ahead, int(name))
        if known is None or by_number:
            labels = {one["id"]: one["version"] if by_number else place for place, one in enumerate(migrations, 1)}
            applied.update(one for one, label in labels.items() if label <= labels.get(known, ahead))
            continue
        todo = [known]
        while todo:
            one = todo.pop()
            if one not in applied:
                applied.add(one)
                todo += follows.get(one, [])
    return applied, ahead


def _find(name, migrations):
    """Return the id of the one migration that a tool calls `name`, None without one."""
    flyway = re.compile(rf"V0*{re.escape(name).replace(re.escape('.'), '[._]')}__")
    for fits in (
        lambda one: one["id"] in (name, stem(name)),
        lambda one: name.isdecimal() and re.match(rf"0*{int(name)}(\D|$)", one["id"]),
        lambda one: re.match(rf"{re.escape(name)}[-_.]", one["id"]) or flyway.match(one["id"]),
    ):
        found = [one["id"] for one in migrations if fits(one)]
        if len(found) == 1:
            return found[0]
    return None


def first_error(text):
    """Return the lines of a command's output that tell its first error; its last words where none looks like one."""
    lines = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if _ERROR.search(line):
            return "\n".join(lines[number : number + _OUR_LINES])
    return "\n".join(lines[-_OUR_LINES:]) or "nothing"


def progress(text):
    """Return the lines in which a tool tells that it has applied a migration, as it wrote them."""
    return [line.strip() for line in text.splitlines() if _APPLIED.search(line)]


def last_words(text):
    """Return the last 500 characters of an output in one line."""
    return " ".join(text.split())[-500:] or "nothing"


def way_out(params, seen):
    """Return how a person gets out of a migration that failed half way, by the tool's own commands.

    `params` are those of the module C(migrate).
    """
    tool, migrations = params["tool"], params["listed"]["migrations"]
    command = params["tool_command"] or params["version_command"].rpartition(" ")[0]
    dirty, again = seen.get("dirty"), "then deploy again"
    if tool == "golang-migrate" and dirty:
        before = [one["version"] for one in migrations if one["version"] < int(dirty)]
        back = f"force {before[-1]}" if before else "force -- -1"
        return (
            f"undo by hand what {dirty} did before its error, mend it, and `{command} {back}`, which has it run again; "
            f"or finish it by hand, and `{command} force {dirty}`; {again}"
        )
    if tool == "flyway" and dirty:
        return f"undo by hand what {dirty} did before its error, mend it, and `{command} repair`; {again}"
    if tool == "yoyo":
        again = f"`{command} break-lock` where it was killed and its lock is left; {again}"
    return (
        "mend the migration (what one did outside of a transaction, such as CREATE INDEX CONCURRENTLY, is still there: "
        f"undo that by hand); {again}"
    )
