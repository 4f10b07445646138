"""Judge what edges and hosts have said before a release, on the controller."""

from __future__ import annotations

import json
import time
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.counts import counted
from turnout.faults import table
from turnout.preflight import Limits, decide
from turnout.release.manifest import parse


class ActionModule(ControllerAction):
    """Judge, and fail with the table of faults when there are any."""

    spec: ClassVar = {
        "manifest": {"type": "dict", "required": True},
        "service": {"type": "dict", "required": True},
        "edges": {"type": "dict", "required": True},
        "hosts": {"type": "dict", "required": True},
        "asked_at": {"type": "float", "required": True},
        "run": {"type": "str", "required": True},
        "disk_reserve_bytes": {"type": "int", "required": True},
        "clock_skew_s": {"type": "float", "required": True},
        "again": {"type": "str", "default": ""},
        "resume": {"type": "bool", "default": False},
        "configuration": {"type": "str", "default": ""},
    }

    def perform(self, params):
        """Return the decision: which color, what is in service, and what a person should know."""
        decision = decide(
            manifest=parse(json.dumps(params["manifest"]).encode()),
            service=params["service"],
            edges=params["edges"],
            hosts=params["hosts"],
            asked_s=(params["asked_at"], time.time()),
            run=params["run"],
            limits=Limits(params["disk_reserve_bytes"], params["clock_skew_s"]),
            again=params["again"],
            resume=params["resume"],
            configuration=params["configuration"],
        )
        if decision.faults:
            faults = counted(len(decision.faults), "fault")
            return {
                "failed": True,
                "msg": f"error[preflight]: {faults} in the way of this release\n{table(decision.faults)}",
                "code": "preflight",
                "faults": [fault.as_dict() for fault in decision.faults],
            }
        return {
            "candidate": decision.candidate,
            "stable": decision.stable,
            "stable_release": decision.stable_release,
            "already": decision.already,
            "quarantined": decision.quarantined,
            "notes": list(decision.notes),
            "configuration": params["configuration"],
            "named": decision.named,
            "stable_named": decision.stable_named,
            "stable_configuration": decision.stable_configuration,
            "differs": list(decision.differs),
        }
