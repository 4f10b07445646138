#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: judge what hosts and controller saw, and show the checklist as one table."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: turnout_checklist
short_description: Judge the evidence of the checklist
description:
  - Runs on the controller, asks nothing, and never fails for what it found - the task after it does.
options:
  service: {description: The variable C(service) as JSON text. Never shown., type: str, required: true}
  checklist: {description: The variable C(checklist) as JSON text. Never shown., type: str, required: true}
  manifest: {description: The release's manifest., type: dict, required: true}
  groups: {description: The inventory's groups., type: dict, required: true}
  inventory_dir: {description: Folder from which relative paths are taken., type: path, required: true}
  salt: {description: Key of the digests of environments. Never shown., type: str, required: true}
  seen:
    description: What C(turnout_look) returned on each host; localhost carries the controller's own results.
    type: dict
    required: true
  format: {description: Table for a person or one JSON object., type: str, choices: [table, json], default: table}
  keep: {description: File on the controller that gets the JSON object., type: path}
author: [The Turnout authors]
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
"""

EXAMPLES = r"""
- name: Judge what was seen
  turnout_checklist:
    service: "{{ service | to_json }}"
    checklist: "{{ checklist | to_json }}"
    manifest: "{{ release_manifest }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
    salt: "{{ checklist_salt }}"
    seen: "{{ seen }}"
  delegate_to: localhost
"""

RETURN = r"""
report: {description: The table or the JSON text., returned: success, type: str}
passed: {description: Whether the release may begin., returned: success, type: bool}
causes: {description: "What stops it, one line each.", returned: success, type: str}
waivers: {description: "Waivers that let something pass, each with what it covered.", returned: success, type: list,
  elements: dict}
"""

import json
import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from turnout.checklist import config as checklist_config
from turnout.checklist import plan, render
from turnout.checklist.model import HostSeen, Situation
from turnout.errors import TurnoutError
from turnout.faults import table as fault_table
from turnout.service import load


def host_seen(answer):
    """Return what a host answered, from its registered result."""
    if answer.get("unreachable") or "answers" not in answer:
        reason = str(answer.get("away") or answer.get("msg") or "it gave no answer").strip() or "it gave no answer"
        return HostSeen(unreachable=reason)
    return HostSeen(
        answers=answer["answers"],
        asked_s=float(answer["asked_s"]),
        answered_s=float(answer["answered_s"]),
        clock=tuple(answer["clock"][name] for name in ("before_s", "wall_s", "after_s"))
        if answer.get("clock")
        else None,
    )


def judge(params):
    """Return (outcome, seconds that looking took)."""
    base_dir = Path(params["inventory_dir"])
    service = load(json.loads(params["service"]), base_dir=base_dir)
    config = checklist_config.load(json.loads(params["checklist"]), service=service, base_dir=base_dir)
    seen = params["seen"]
    own = [plan.from_plain(one) for one in seen.get("localhost", {}).get("own", [])]
    clocks = [(one["asked_s"], one["answered_s"]) for one in seen.values() if "answered_s" in one]
    situation = Situation(
        service=service,
        manifest=params["manifest"],
        groups={name: list(hosts) for name, hosts in params["groups"].items()},
        now_s=time.time(),
        seen={host: host_seen(answer) for host, answer in seen.items() if host != "localhost"},
        environment_digests=plan.digests(service.environment, params["salt"]),
    )
    took_s = max(end for _, end in clocks) - min(begin for begin, _ in clocks) if clocks else 0.0
    return plan.judge(config, situation, own), situation.now_s, took_s


def main():
    """Judge, keep, return."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True, "no_log": True},
            "checklist": {"type": "str", "required": True, "no_log": True},
            "manifest": {"type": "dict", "required": True},
            "groups": {"type": "dict", "required": True},
            "inventory_dir": {"type": "path", "required": True},
            "salt": {"type": "str", "required": True, "no_log": True},
            "seen": {"type": "dict", "required": True},
            "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
            "keep": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        outcome, now_s, took_s = judge(module.params)
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())
    whole = render.as_json(outcome, now_s=now_s, release=str(module.params["manifest"]["version"]), took_s=took_s)
    text = json.dumps(whole, indent=2)
    if module.params["keep"]:
        with open(os.open(module.params["keep"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
    causes = render.causes(outcome.obstacles)
    if outcome.refused_waivers:
        causes = f"waivers that do not count, so that none does:\n{fault_table(outcome.refused_waivers)}\n{causes}"
    module.exit_json(
        changed=False,
        report=text if module.params["format"] == "json" else render.table(outcome, now_s),
        passed=outcome.passed,
        causes=causes,
        waivers=whole["waivers"],
        summary=whole["summary"],
        took_s=took_s,
    )


if __name__ == "__main__":
    main()
