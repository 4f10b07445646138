#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module, on the controller: from what a drill measured to its record."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drill_record
short_description: From what a drill measured to its record
description:
  - Computes RPO, RTO and verdict (see C(turnout.drill)), and the table that a person reads.
options:
  measured:
    description: What the drill host returned, as JSON text; empty where it was lost.
    type: str
    required: true
  id:
    description: Name of the drill.
    type: str
    required: true
  mode:
    description: Its mode.
    type: str
    required: true
  detect_s:
    description: Declared seconds until a failure is noticed.
    type: float
    required: true
  decide_s:
    description: Declared seconds until a restore is decided.
    type: float
    required: true
  rpo_target_s:
    description: Seconds of data that may be lost; what measured more fails.
    type: float
  rto_target_s:
    description: Seconds until the service answers again; what measured more fails.
    type: float
  lost:
    description: What is known of a drill host that returned nothing.
    type: str
    default: ""
  earlier:
    description: Records of other drills that nobody has entered into the ledger, as JSON text.
    type: str
    default: "[]"
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Compute the record
  turnout.ops.drill_record:
    measured: "{{ drill_ran.measured | to_json }}"
    id: 20260131t030000
    mode: latest
    detect_s: 60
    decide_s: 120
  delegate_to: localhost
"""

RETURN = r"""
record:
  description: The record, as the ledger takes it.
  returned: always
  type: dict
earlier:
  description: The records of the other drills.
  returned: always
  type: list
  elements: dict
lines:
  description: The table.
  returned: always
  type: list
  elements: str
"""

import json
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from turnout.drill.arithmetic import measure_phases
from turnout.drill.finish import finish
from turnout.drill.record import Check, Failure, Mode, Outcome, Recovered, Sizes, as_dict
from turnout.errors import TurnoutError


def moment(text):
    """Return a time."""
    return datetime.fromisoformat(text)


def complete(params, raw):
    """Return the record. Raises TurnoutError."""
    declared = {"detect": params["detect_s"], "decide": params["decide_s"]}
    point = {name: raw[name] and {**raw[name], "at": moment(raw[name]["at"])} for name in ("failure", "recovered")}
    phases = () if raw["began_s"] is None else measure_phases(raw["began_s"], raw["marks"], declared)
    return finish(
        id=raw["id"],
        mode=Mode(raw["mode"]),
        started=moment(raw["started"]),
        ended=max(moment(raw["ended"]), moment(raw["started"])),
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


def table(record, raw):
    """Return the record as lines for a person."""
    lines = [f"drill {record['id']} ({record['mode']}): {record['verdict']}"]
    lines += [f"  because {cause}" for cause in record["causes"]]
    if record["rpo"]:
        rpo = record["rpo"]
        lines.append(f"  RPO {rpo['seconds']:.1f} s ({rpo['heartbeats']} heartbeats, {rpo['wal_bytes']} bytes of WAL)")
    if record["rto_seconds"] is not None:
        lines.append(f"  RTO {record['rto_seconds']:.1f} s")
    lines += [f"    {p['name']:<14}{p['seconds']:>8.2f} s  {p['source']}" for p in record["phases"]]
    lines += [
        f"  check {c['name']:<22}{c['outcome']:<8}{c['seconds']:>7.2f} s  {c['detail']}" for c in record["checks"]
    ]
    notes = (raw or {}).get("notes", {})
    if record["egress_blocked"] is not None:
        whose = ", ".join(f"{name} {count}" for name, count in notes.get("blocked", {}).items())
        lines.append(f"  outgoing calls blocked: {record['egress_blocked']}{f' ({whose})' if whose else ''}")
    if notes.get("subscriptions"):
        lines.append(f"  subscriptions switched off: {notes['subscriptions']}")
    backup = notes.get("backup")
    return lines + ([f"  from backup {backup}"] if backup else [])


def main():
    """Compute."""
    module = AnsibleModule(
        argument_spec={
            "measured": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True},
            "detect_s": {"type": "float", "required": True},
            "decide_s": {"type": "float", "required": True},
            "rpo_target_s": {"type": "float"},
            "rto_target_s": {"type": "float"},
            "lost": {"type": "str", "default": ""},
            "earlier": {"type": "str", "default": "[]"},
        },
        supports_check_mode=True,
    )
    params = module.params
    raw = json.loads(params["measured"]) if params["measured"] else None
    try:
        if raw is None:
            now = datetime.now(UTC)
            drill = finish(
                id=params["id"], mode=Mode(params["mode"]), started=now, ended=now, causes=[params["lost"]]
            )  # fmt: skip
        else:
            drill = complete(params, raw)
        others = [as_dict(complete(params, one)) for one in json.loads(params["earlier"])]
    except (TurnoutError, ValueError) as error:
        module.fail_json(msg=str(error))
    record = as_dict(drill)
    module.exit_json(changed=False, record=record, earlier=others, lines=table(record, raw))


if __name__ == "__main__":
    main()
