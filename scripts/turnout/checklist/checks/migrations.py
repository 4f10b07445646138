"""Migrations: reviewed and linted before the hosts have answered which are pending; judged once they have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from turnout.checklist.checks.forge import connect
from turnout.checklist.checks.release import edges, ledger, manifest_of, pending_now, stable_color
from turnout.checklist.config import Checklist, Migrations
from turnout.checklist.engine import Task
from turnout.checklist.model import Facts, Result, Situation, Verdict, answer_of
from turnout.forge.model import Forge
from turnout.migrations import files, lint, review
from turnout.release.schema import Migration

NEWEST = 20
"""So many of a release's migrations are looked at ahead; older ones that are pending are not known."""
REVIEWED, LINTED, REHEARSED = "migrations-reviewed", "migrations-linted", "migrations-rehearsed"


def tasks(config: Checklist, situation: Situation, artifact: Path | None) -> Iterator[Task]:
    """Yield the checks of the controller: one review and one lint for all of the newest migrations."""
    wanted = config.migrations
    if wanted is None or not situation.manifest.get("migrations"):
        return
    newest = sorted(manifest_of(situation).migrations, key=lambda one: one.version)[-NEWEST:]
    commit = str(situation.manifest["commit"])

    def reviewed() -> list[Result]:
        found = _files(artifact, newest)
        forge = connect(config, config.forge, REVIEWED) if config.forge else None
        return [_reviewed(one, found.get(one.id), forge, wanted, commit) for one in newest]

    def linted() -> list[Result]:
        found = _files(artifact, newest)
        return [_linted(one, found.get(one.id), wanted) for one in newest]

    yield Task(REVIEWED, config.limit_of(REVIEWED), reviewed)
    yield Task(LINTED, config.limit_of(LINTED), linted)


def _files(artifact: Path | None, migrations: list[Migration]) -> dict[str, files.MigrationFile]:
    return files.read(artifact, migrations) if artifact is not None else {}


def _reviewed(
    one: Migration, file: files.MigrationFile | None, forge: Forge | None, wanted: Migrations, commit: str
) -> Result:
    signed, words = review.by_statement(one, wanted.statements, wanted.reviewers, wanted.revoked_reviewers)
    back = "" if file is None else f"; way back: {Path(file.down).name if file.down else 'none'}"
    problem = None
    if file is None:
        problem = "the artifact holds no file of its checksum"
    elif file.down is None:
        problem = "it has no down script"
    if not signed and forge is not None and file is not None:
        paths = review.paths_in_repository(file, wanted.folder)
        path = next((path for path in paths if forge.sha256(path, commit) == one.sha256), None)
        signed, words = review.by_pull_request(forge.reviews(path or paths[0], commit))
        if path is None and signed:
            signed = False
            words = f"{paths[0]} at {commit[:12]} is not what the release carries (checklist.migrations.folder)"
    elif not signed and forge is None:
        words += ", and no forge is configured"
    remedy = f"let somebody review it, or sign: {review.statement(one).decode().strip()} (docs/checklist.md)"
    if problem or not signed:
        text = "; ".join(part for part in (problem, None if signed else words) if part) + back
        return Result(REVIEWED, Verdict.FAIL, text, remedy, one.id, time.time())
    return Result(REVIEWED, Verdict.PASS, words + back, "", one.id, time.time())


def _linted(one: Migration, file: files.MigrationFile | None, wanted: Migrations) -> Result:
    if file is None:
        text = "the artifact holds no file of its checksum"
        return Result(LINTED, Verdict.UNKNOWN, text, "build the release with its migrations", one.id)
    if not file.path.endswith(".sql"):
        text = f"{file.path} is no SQL, so squawk cannot read it"
        return Result(LINTED, Verdict.UNKNOWN, text, "write it as SQL, or waive it with a reason", one.id)
    found = lint.findings(file.text, allowed=wanted.allowed, in_transaction=file.in_transaction)
    if not found:
        return Result(LINTED, Verdict.PASS, "squawk finds nothing beyond what is allowed", "", one.id, time.time())
    remedy = "mend it (squawkhq.com/docs/rules), or add the rule to checklist.migrations.allowed"
    return Result(LINTED, Verdict.FAIL, "; ".join(found), remedy, one.id, time.time())


def judge(config: Checklist, situation: Situation, own: list[Result]) -> list[Result]:
    """Return `own` without the migrations that are not pending, and the rehearsal's row.

    Where the live schema is not known, nothing is dropped: every migration counts as pending.
    """
    if config.migrations is None:
        return own
    todo, words = pending_now(situation) if situation.manifest.get("migrations") else ((), "")
    rest = [one for one in own if one.check not in (REVIEWED, LINTED)]
    mine = [one for one in own if one.check in (REVIEWED, LINTED)]
    if todo is None:
        remedy = "see the row migrations-kind"
        text = f"the live schema is not known: {words}"
        return [*rest, *mine, Result(REHEARSED, Verdict.UNKNOWN, text, remedy)]
    names = {one.id: one for one in todo}
    if not names:
        rows = [Result(check, Verdict.PASS, "nothing is pending", at_s=situation.now_s) for check in (REVIEWED, LINTED)]
        return [*rest, *rows, Result(REHEARSED, Verdict.PASS, "nothing is pending", at_s=situation.now_s)]
    kept = [_unchanged(situation, one, names) for one in mine if one.subject in names or not one.subject]
    told = {(one.check, one.subject) for one in kept if one.subject}
    cut = {one.check for one in kept if not one.subject}
    for check in (REVIEWED, LINTED):
        for name in names:
            if (check, name) not in told and check not in cut:
                text = f"not among the {NEWEST} newest migrations that are looked at"
                kept.append(Result(check, Verdict.UNKNOWN, text, "release in smaller steps", name))
    return [*rest, *kept, rehearsed(config.migrations, situation, list(todo))]


def _unchanged(situation: Situation, result: Result, names: dict[str, Migration]) -> Result:
    """Fail a review of a migration that the release in service carries with another content."""
    if result.check != REVIEWED or not result.subject:
        return result
    problem = review.changed(_carried(situation), names[result.subject])
    if problem is None:
        return result
    remedy = "never change a migration that was released: write a new one"
    return replace(result, verdict=Verdict.FAIL, evidence=problem, remedy=remedy)


def _carried(situation: Situation) -> dict[str, str]:
    """Return id and checksum of the migrations of the release in service, as its hosts keep its manifest."""
    color = stable_color(situation)
    for host in situation.hosts("api", "worker"):
        facts, _, _, _ = answer_of(situation, host, "slots")
        if facts is not None and color is not None:
            carried: dict[str, str] = facts[color].get("migrations") or {}
            return carried
    return {}


def rehearsed(wanted: Migrations, situation: Situation, todo: list[Migration]) -> Result:
    """Judge the newest rehearsal of exactly these migrations, as the edges' ledger keeps it."""
    remedy = f"ansible-playbook turnout.ops.migration_check -e release={situation.release}"
    if not edges(situation):
        return Result(REHEARSED, Verdict.UNKNOWN, "no edge showed its ledger", "see the rows rollback-target")
    checksums = {one.id: one.sha256 for one in todo}
    found = [
        entry
        for entry in ledger(situation)
        if entry.get("kind") == "migration-rehearsal"
        and all((entry.get("migrations") or {}).get(name) == digest for name, digest in checksums.items())
    ]
    if not found:
        return Result(REHEARSED, Verdict.FAIL, f"no rehearsal of {', '.join(checksums)} as they are", remedy)
    # What could not be rehearsed says nothing, neither of the release nor against an earlier rehearsal of it.
    known = [entry for entry in found if entry.get("verdict") != "unknown"]
    if not known:
        why = "; ".join(str(one) for one in found[-1].get("unknown") or []) or "no reason is given"
        return Result(REHEARSED, Verdict.UNKNOWN, f"it could not be rehearsed: {why}", remedy)
    newest: Facts = known[-1]
    at_s = float(newest["at_s"])
    problems = [str(cause) for cause in newest.get("causes") or []]
    if newest.get("verdict") != "pass" and not problems:
        problems.append(f"its verdict was {newest.get('verdict')}")
    if situation.now_s - at_s > wanted.max_rehearsal_age_s:
        problems.append(f"the rehearsal is older than {wanted.max_rehearsal_age_s / 86400:.1f} days")
    if wanted.copy:
        backup_s = newest.get("backup_s")
        if backup_s is None:
            problems.append("it ran on an empty database only, not on a copy of the latest backup")
        elif situation.now_s - float(backup_s) > wanted.max_backup_age_s:
            problems.append(f"its backup is older than {wanted.max_backup_age_s / 86400:.1f} days")
    if problems:
        return Result(REHEARSED, Verdict.FAIL, "; ".join(problems), remedy, at_s=at_s)
    return Result(REHEARSED, Verdict.PASS, str(newest.get("summary") or "rehearsed"), at_s=at_s)
