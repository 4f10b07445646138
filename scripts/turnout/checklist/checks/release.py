"""What the release itself meets: its environment, the way back, freeze windows, the schema, proofs in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from turnout.acceptance import record
from turnout.acceptance.outcome import NOT_KNOWN, PASS
from turnout.checklist.config import Acceptance, Checklist
from turnout.checklist.model import Facts, Probe, Result, Situation, Verdict, answer_of, seen_at
from turnout.counts import counted
from turnout.drill.gate import decide
from turnout.drill.objectives import Objectives
from turnout.drill.parse import FaultError
from turnout.drill.parse import parse as parse_drill
from turnout.drill.record import Outcome
from turnout.drill.words import duration
from turnout.release.manifest import Manifest, parse
from turnout.release.schema import (
    BY_NUMBER,
    CONTRACT,
    Migration,
    SchemaRange,
    SchemaState,
    late_ones,
    pending,
    runs_on,
    seen_by,
    state_after,
    state_in_database,
)
from turnout.service.environment import METRICS_PORT, RESERVED

SLOTS, EDGE, SCHEMA = "slots", "edge", "schema"
_SET_BY_TURNOUT = frozenset((*RESERVED, METRICS_PORT))


def probes(config: Checklist, situation: Situation, salt: str) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe): what is laid on application hosts, what the edges know, what the database has.

    `salt` is the hexadecimal key of the digests in which environments are compared.
    """
    service = situation.service
    for host in situation.hosts("api", "worker"):
        arguments: dict[str, object] = {"service": service.name, "salt": salt}
        yield host, Probe(SLOTS, "slots", config.limit_of("environment"), arguments)
    for host in situation.hosts("edge"):
        yield host, Probe(EDGE, "edge", config.limit_of("rollback-target"), {"tail": 500})
    if service.migrate is not None:
        listed = [
            {"id": one.id, "version": one.version, "after": one.after} for one in manifest_of(situation).migrations
        ]
        arguments = {
            "service": service.name,
            "user": service.migrate.user,
            "command": service.migrate.version,
            "tool": service.migrate.tool or "",
            "listed": {"order": manifest_of(situation).order, "migrations": listed},
        }
        limit_s = max(config.limit_of("migrations-kind"), 10.0)
        yield situation.hosts("api")[0], Probe(SCHEMA, "schema", limit_s, arguments)


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge everything about the release that needs no forge."""
    yield from _environment(config, situation)
    yield from _rollback_target(situation)
    yield from _freeze(config, situation)
    if config.restore is not None:
        yield _restore(config.restore, situation)
    if config.acceptance is not None:
        yield _acceptance(config.acceptance, situation)
    yield _kind(situation)


def edges(situation: Situation) -> dict[str, Facts]:
    """Return what each edge that answered said."""
    found = {}
    for host in situation.hosts("edge"):
        facts, _, _, _ = answer_of(situation, host, EDGE)
        if facts is not None:
            found[host] = facts
    return found


def ledger(situation: Situation) -> list[Facts]:
    """Return the ledger's entries, newest last: those of the edge that knows most."""
    told = [list(edge.get("ledger") or []) for edge in edges(situation).values()]
    return max(told, key=len, default=[])


def stable_color(situation: Situation) -> str | None:
    """Return the color in service, by the first edge that answered."""
    for edge in edges(situation).values():
        return edge.get("stable")
    return None


# Environment --------------------------------------------------------------------------------------------------------


def _environment(config: Checklist, situation: Situation) -> Iterator[Result]:
    declared = set(situation.service.environment)
    required = set(situation.manifest.get("environment") or ())
    problems = [f"{key} is required by {situation.release} and not in the inventory" for key in _s(required - declared)]
    evidence = f"{counted(len(declared), 'variable')} in the inventory, {len(required)} required by {situation.release}"
    if required:
        unknown = declared - required - set(config.environment.extra)
        problems += [f"{key} is in the inventory and {situation.release} does not ask for it" for key in _s(unknown)]
    elif declared:
        # A team that names no keys when it builds has not said which ones are too many.
        evidence += ", so none is too many; to have them compared: turnout release build --env-key KEY"
    remedy = "correct service.environment, or name what is optional in checklist.environment.extra"
    if problems:
        evidence = "; ".join(problems)
    verdict = Verdict.FAIL if problems else Verdict.PASS
    yield Result("environment", verdict, evidence, remedy if problems else "", "inventory", situation.now_s)
    color = stable_color(situation)
    laid: dict[str, Mapping[str, str]] = {}
    for host in situation.hosts("api", "worker"):
        facts, verdict, words, seconds = answer_of(situation, host, SLOTS)
        if facts is None:
            remedy = f"look at /etc/{situation.service.name} on {host}"
            yield Result("environment", verdict, words, remedy, host, seen_at(situation, host), seconds)
        elif color is not None:
            laid[host] = facts[color]["environment"] or {}
    if color is None:
        text = "nothing is in service yet, so nothing is laid"
        yield Result("environment", Verdict.PASS, text, "", "hosts", situation.now_s)
        return
    first = next(iter(laid), None)
    for host, found in laid.items():
        reference = laid[str(first)]
        differing = _s(key for key in {*found, *reference} if found.get(key) != reference.get(key))
        faults = [f"{', '.join(differing)} differ from {first}"] if differing else []
        if not found:
            faults.append(f"no environment is laid for {color}")
        text = "; ".join(faults) or _changes(situation, found)
        remedy = "deploy the release in service once more, which lays its environment anew" if faults else ""
        verdict = Verdict.FAIL if faults else Verdict.PASS
        yield Result("environment", verdict, text, remedy, host, seen_at(situation, host))


def _changes(situation: Situation, laid: Mapping[str, str]) -> str:
    """Return, in words, what this release changes of the environment that is laid."""
    wanted = situation.environment_digests
    now = {key: value for key, value in laid.items() if key not in _SET_BY_TURNOUT}
    added, gone = _s(set(wanted) - set(now)), _s(set(now) - set(wanted))
    changed = _s(key for key in set(now) & set(wanted) if now[key] != wanted[key])
    told = (("adds", added), ("changes", changed), ("drops", gone))
    parts = [f"{word} {', '.join(keys)}" for word, keys in told if keys]
    return f"{len(now)} laid; this release {'; '.join(parts) or 'changes none'}"


def _s(keys: object) -> list[str]:
    return sorted(str(key) for key in keys)  # type: ignore[attr-defined]


# The way back -------------------------------------------------------------------------------------------------------


def _rollback_target(situation: Situation) -> Iterator[Result]:
    """Judge what a rollback of this release would go back to: the release in service now."""
    color = stable_color(situation)
    told = edges(situation)
    for host in situation.hosts("edge"):
        facts, verdict, words, seconds = answer_of(situation, host, EDGE)
        at_s = seen_at(situation, host)
        if facts is None:
            yield Result("rollback-target", verdict, words, f"turnout-edge show on {host}", host, at_s, seconds)
            continue
        evidence, problems = _on_edge(situation, facts, color)
        remedy = "ansible-playbook turnout.ops.status; a release that cannot be undone must not begin"
        text = "; ".join(problems) if problems else evidence
        verdict = Verdict.FAIL if problems else Verdict.PASS
        yield Result("rollback-target", verdict, text, remedy if problems else "", host, at_s, seconds)
    if color is None:
        return
    expected = ((next(iter(told.values()), {}).get("releases") or {}).get(color) or {}).get("release_id")
    for host in situation.hosts("api", "worker"):
        facts, verdict, words, seconds = answer_of(situation, host, SLOTS)
        at_s = seen_at(situation, host)
        if facts is None:
            yield Result("rollback-target", verdict, words, f"look at {host}", host, at_s, seconds)
            continue
        slot = facts[color]
        problems = [] if slot["complete"] else [f"{slot['release_id'] or 'nothing'} in {color} is not whole"]
        if expected and slot["release_id"] != expected:
            problems.append(f"{slot['release_id']} stands in {color}, {expected} is in service")
        text = "; ".join(problems) or f"{slot['release_id']} is whole in {color}"
        remedy = "deploy the release in service once more" if problems else ""
        verdict = Verdict.FAIL if problems else Verdict.PASS
        yield Result("rollback-target", verdict, text, remedy, host, at_s, seconds)


def _on_edge(situation: Situation, edge: Facts, color: str | None) -> tuple[str, list[str]]:
    if edge.get("stable") is None:
        return "the first release: there is nothing to go back to", []
    stable = str(edge["stable"])
    record = (edge.get("releases") or {}).get(stable) or {}
    problems = []
    if stable != color:
        problems.append(f"{stable} is stable here, {color} elsewhere")
    if not edge.get("agree"):
        problems.append("HAProxy and its edge do not agree")
    if record.get("complete") is False:
        problems.append(f"{record.get('release')} was never laid whole")
    servers = ((edge.get("backends") or {}).get(stable) or {}).get("servers") or []
    # A web process that runs nowhere is one that the release in service does not have, or that its API does without.
    webs = ((edge.get("backends") or {}).get(stable) or {}).get("web") or {}
    without = sorted(name for name, web in webs.items() if not web["up"])
    servers = [server for server in servers if str(server.get("process")).removeprefix("web-") not in without]
    down = [server["name"] for server in servers if not server["up"]]
    if not servers:
        problems.append(f"HAProxy tells no server of {stable}")
    elif down:
        problems.append(f"{', '.join(down)} of {stable} is down by HAProxy's checks")
    limits, recorded = record.get("schema"), edge.get("schema")
    by_number = situation.manifest.get("order", BY_NUMBER) == BY_NUMBER  # else only the database tells what is applied
    if limits and recorded and by_number and situation.manifest.get("migrations"):
        manifest = manifest_of(situation)
        after = state_after(manifest, SchemaState(int(recorded["version"]), int(recorded["last_contract"])))
        if not runs_on(SchemaRange(int(limits["min"]), int(limits["max"])), after):
            problems.append(
                f"{record.get('release')} runs on {limits['min']} to {limits['max']}, and this release brings version "
                f"{after.version} with last contract {after.last_contract}"
            )
    up = ", ".join(server["name"] for server in servers)
    lacks = f", without {', '.join(without)}" if without else ""
    return f"{record.get('release')} on {stable}: whole, up ({up}){lacks}, in schema range", problems


def manifest_of(situation: Situation) -> Manifest:
    """Return the manifest as an object. Raises `FaultsError` where it is none."""
    return parse(json.dumps(dict(situation.manifest)).encode())


# Restore proof, freeze, schema -------------------------------------------------------------------------------------


def _restore(objectives: Objectives, situation: Situation) -> Result:
    """Ask the gate of recovery (turnout.drill.gate) about the drills that the edges' ledger holds."""
    remedy = "run a drill that passes; turnout drill gate tells the same"
    if not edges(situation):
        return Result("restore-proof", Verdict.UNKNOWN, "no edge showed its ledger", "see the rows rollback-target")
    drills = []
    for entry in ledger(situation):
        try:
            drill = parse_drill(json.dumps(entry)) if entry.get("kind") == "drill" else None
        except FaultError as error:
            text = f"the ledger holds a record of a drill that cannot be read: {error}"
            return Result("restore-proof", Verdict.UNKNOWN, text, remedy)
        if drill is not None:
            drills.append(drill)
    drills.sort(key=lambda drill: drill.ended)
    gate = decide(drills, objectives, datetime.fromtimestamp(situation.now_s, UTC))
    verdict = {Outcome.PASS: Verdict.PASS, Outcome.FAIL: Verdict.FAIL}.get(gate.outcome, Verdict.UNKNOWN)
    at_s = gate.proof.ended.timestamp() if gate.proof else None
    if verdict is not Verdict.PASS or gate.proof is None:
        return Result("restore-proof", verdict, "; ".join(gate.causes), remedy, at_s=at_s)
    rto = f", RTO {duration(gate.proof.rto_seconds)}" if gate.proof.rto_seconds is not None else ""
    notes = "".join(f"; {note}" for note in gate.notes)
    return Result("restore-proof", verdict, f"drill {gate.proof.id} passed{rto}{notes}", at_s=at_s)


def _acceptance(wanted: Acceptance, situation: Situation) -> Result:
    """Judge the newest outcome of exactly this artifact's packs, as the edges' ledger keeps it."""
    name, remedy = "acceptance", f"ansible-playbook turnout.ops.acceptance -e release={situation.release}"
    if not edges(situation):
        return Result(name, Verdict.UNKNOWN, "no edge showed its ledger", "see the rows rollback-target")
    digest = manifest_of(situation).artifact.sha256
    found = [one for one in ledger(situation) if one.get("kind") == record.KIND and one.get("sha256") == digest]
    if not found:
        text = f"no acceptance of the artifact {digest[:12]} (a release that declares no packs has none)"
        return Result(name, Verdict.FAIL, text, remedy)
    # What was not asked to the end says nothing, neither of the release nor against an earlier outcome of it.
    known = [entry for entry in found if entry.get("verdict") != NOT_KNOWN]
    if not known:
        why = "; ".join(str(one) for one in found[-1].get("unknown") or []) or "no reason is given"
        return Result(name, Verdict.UNKNOWN, f"it was not asked to the end: {why}", remedy)
    newest: Facts = known[-1]
    at_s, backup_s = float(newest["at_s"]), newest.get("backup_s")
    problems = [str(cause) for cause in newest.get("causes") or []]
    if newest.get("verdict") != PASS and not problems:
        problems.append(f"its verdict was {newest.get('verdict')}")
    if situation.now_s - at_s > wanted.max_age_s:
        problems.append(f"the outcome is older than {wanted.max_age_s / 86400:.1f} days")
    if backup_s is None:
        problems.append("the age of its backup is not on record")
    elif situation.now_s - float(backup_s) > wanted.max_backup_age_s:
        problems.append(f"its backup is older than {wanted.max_backup_age_s / 86400:.1f} days")
    if problems:
        return Result(name, Verdict.FAIL, "; ".join(problems), remedy, at_s=at_s)
    return Result(name, Verdict.PASS, str(newest.get("summary") or "asked"), at_s=at_s)


def _freeze(config: Checklist, situation: Situation) -> Iterator[Result]:
    if not config.freeze:
        return
    now = datetime.fromtimestamp(situation.now_s, UTC)
    for window in config.freeze:
        until = window.until(now)
        if until is not None:
            evidence = f"{window.name} holds until {until.astimezone().isoformat(timespec='minutes')} ({window.zone})"
            remedy = "wait, or waive freeze with a reason"
            yield Result("freeze", Verdict.FAIL, evidence, remedy, window.name, situation.now_s)
            continue
        yield Result("freeze", Verdict.PASS, f"not now ({window.zone})", "", window.name, situation.now_s)


def live_state(situation: Situation) -> tuple[SchemaState | None, str]:
    """Return the schema state that the database itself tells, and in words where it does not.

    The version is the database's; which contract migrations are in it is known from the manifest and the edges.
    """
    manifest = manifest_of(situation)
    if situation.service.migrate is None:
        return SchemaState(0, 0), ""
    if stable_color(situation) is None and edges(situation):
        return SchemaState(0, 0), ""
    facts, _, words, _ = answer_of(situation, situation.hosts("api")[0], SCHEMA)
    if facts is None:
        return None, words
    recorded = next((edge.get("schema") for edge in edges(situation).values() if edge.get("schema")), None) or {}
    return state_in_database(seen_by(manifest, facts.get("pending")), int(facts["version"]), recorded), ""


def pending_now(situation: Situation) -> tuple[tuple[Migration, ...] | None, str]:
    """Return the migrations that this release would apply now, or None and why that is not known."""
    state, words = live_state(situation)
    if state is None:
        return None, words
    facts = answer_of(situation, situation.hosts("api")[0], SCHEMA)[0] or {}
    manifest = seen_by(manifest_of(situation), facts.get("pending"))
    return (*late_ones(manifest, state, facts.get("pending")), *pending(manifest, state)), ""


def _kind(situation: Situation) -> Result:
    if not situation.manifest.get("migrations"):
        return Result("migrations-kind", Verdict.PASS, "the release carries no migration", at_s=situation.now_s)
    todo, words = pending_now(situation)
    at_s = seen_at(situation, situation.hosts("api")[0])
    if todo is None:
        remedy = "see service.migrate.version; run it by hand on the first api host"
        return Result("migrations-kind", Verdict.UNKNOWN, f"the live schema is not known: {words}", remedy, at_s=at_s)
    color = stable_color(situation)
    record: Facts = {}
    for edge in edges(situation).values():
        record = (edge.get("releases") or {}).get(color) or {}
        break
    limit = (record.get("schema") or {}).get("max")
    contract = [m for m in todo if m.kind == CONTRACT]
    breaking = [m.id for m in contract if limit is not None and m.version > int(limit)]
    if breaking:
        evidence = f"{', '.join(breaking)} takes away what {record.get('release')} needs, the way back of this release"
        remedy = "release first a version whose schema max covers it (turnout release build --schema-max)"
        return Result("migrations-kind", Verdict.FAIL, evidence, remedy, at_s=at_s)
    expand = len(todo) - len(contract)
    return Result("migrations-kind", Verdict.PASS, f"pending: {expand} expand, {len(contract)} contract", at_s=at_s)
