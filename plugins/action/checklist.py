"""Judge what the checklist's questions brought, on the controller."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import ClassVar

from turnout.checklist import config as checklist_config
from turnout.checklist import plan, render
from turnout.checklist.model import HostSeen, Situation
from turnout.controller_action import ControllerAction
from turnout.faults import table as fault_table
from turnout.service import load


class ActionModule(ControllerAction):
    """Judge, keep, return."""

    spec: ClassVar = {
        "service": {"type": "str", "required": True, "no_log": True},
        "checklist": {"type": "str", "required": True, "no_log": True},
        "manifest": {"type": "dict", "required": True},
        "groups": {"type": "dict", "required": True},
        "inventory_dir": {"type": "path", "required": True},
        "salt": {"type": "str", "required": True, "no_log": True},
        "seen": {"type": "dict", "required": True},
        "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
        "keep": {"type": "path"},
    }

    def perform(self, params):
        """Return the report, and whether a release may go on."""
        outcome, now_s, took_s = judge(params)
        whole = render.as_json(outcome, now_s=now_s, release=str(params["manifest"]["version"]), took_s=took_s)
        text = json.dumps(whole, indent=2)
        if params["keep"]:
            with open(os.open(params["keep"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text + "\n")
        causes = render.causes(outcome.obstacles)
        if outcome.refused_waivers:
            causes = f"waivers that do not count, so that none does:\n{fault_table(outcome.refused_waivers)}\n{causes}"
        return {
            "report": text if params["format"] == "json" else render.table(outcome, now_s),
            "passed": outcome.passed,
            "causes": causes,
            "waivers": whole["waivers"],
            "summary": whole["summary"],
            "took_s": took_s,
        }


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
