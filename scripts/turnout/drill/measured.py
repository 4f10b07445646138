"""From what the host of a drill measured to the record, and to what a person reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from turnout import tables
from turnout.counts import counted
from turnout.drill.arithmetic import measure_phases
from turnout.drill.finish import finish
from turnout.drill.parse import newer_format
from turnout.drill.record import FORMAT, Check, Drill, Failure, Mode, Outcome, Recovered, Sizes


def complete(params: Mapping[str, Any], raw: Mapping[str, Any]) -> Drill:
    """Return the record of what a host measured.

    `params` holds what was declared: `detect_s` and `decide_s` in seconds, `rpo_target_s` and `rto_target_s` in seconds
    or None. Raises TurnoutError (also for what a newer program measured), ValueError.
    """
    if raw.get("format", FORMAT) != FORMAT:
        raise newer_format(f"what drill {raw.get('id')} measured", raw["format"])
    declared = {"detect": params["detect_s"], "decide": params["decide_s"]}
    point = {
        name: raw[name] and {**raw[name], "at": datetime.fromisoformat(raw[name]["at"])}
        for name in ("failure", "recovered")
    }
    phases = () if raw["began_s"] is None else measure_phases(raw["began_s"], raw["marks"], declared)
    return finish(
        id=raw["id"],
        mode=Mode(raw["mode"]),
        started=datetime.fromisoformat(raw["started"]),
        ended=max(datetime.fromisoformat(raw["ended"]), datetime.fromisoformat(raw["started"])),
        failure=Failure(**point["failure"]) if point["failure"] else None,
        recovered=Recovered(**point["recovered"]) if point["recovered"] else None,
        phases=phases,
        sizes=Sizes(**raw["sizes"]),
        checks=tuple(
            Check(check["name"], Outcome(check["outcome"]), check["seconds"], check["detail"])
            for check in raw["checks"]
        ),
        egress_blocked=raw["egress_blocked"],
        causes=raw["causes"],
        rpo_target_s=params["rpo_target_s"],
        rto_target_s=params["rto_target_s"],
    )


def told(record: Mapping[str, Any], raw: Mapping[str, Any] | None) -> list[str]:
    """Return a record, as a ledger has it, as lines for a person, with what the host noted beside it."""
    lines = [f"drill {record['id']} ({record['mode']}): {record['verdict']}"]
    lines += [f"  because {cause}" for cause in record["causes"]]
    if record["rpo"]:
        rpo = record["rpo"]
        beats = counted(rpo["heartbeats"], "heartbeat")
        lines.append(f"  RPO {rpo['seconds']:.1f} s ({beats}, {counted(rpo['wal_bytes'], 'byte')} of WAL)")
    if record["rto_seconds"] is not None:
        lines.append(f"  RTO {record['rto_seconds']:.1f} s")
    phases = [(p["name"], f"{p['seconds']:.2f} s", p["source"]) for p in record["phases"]]
    checks = [(f"check {c['name']}", c["outcome"], f"{c['seconds']:.2f} s", c["detail"]) for c in record["checks"]]
    lines += [f"    {line}" for line in tables.lines(phases, right=(1,))]
    lines += [f"  {line}" for line in tables.lines(checks, right=(2,))]
    notes = (raw or {}).get("notes", {})
    if record["egress_blocked"] is not None:
        whose = ", ".join(f"{name} {count}" for name, count in notes.get("blocked", {}).items())
        lines.append(f"  outgoing calls blocked: {record['egress_blocked']}{f' ({whose})' if whose else ''}")
    if notes.get("subscriptions"):
        lines.append(f"  subscriptions switched off: {notes['subscriptions']}")
    backup = notes.get("backup")
    return lines + ([f"  from backup {backup}"] if backup else [])
