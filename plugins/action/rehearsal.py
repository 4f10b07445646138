"""Compute the evidence of a rehearsed rollback, on the controller."""

from __future__ import annotations

from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.rehearsal import Stage, evidence, lines, look


class ActionModule(ControllerAction):
    """Compute and return."""

    spec: ClassVar = {
        "stages": {"type": "list", "elements": "dict", "required": True},
        "looks": {"type": "dict", "required": True},
        "versions": {"type": "dict", "required": True},
        "edges": {"type": "list", "elements": "str", "required": True},
    }

    def perform(self, params):
        """Return the ledger's entry and the lines that a person reads."""
        stages = [
            Stage(one["name"], int(one["code"]), float(one["seconds"]), one.get("cause") or "")
            for one in params["stages"]
        ]
        looks = [
            {
                name: look(said[index]["shown"], said[index]["probe"])
                for name, said in params["looks"].items()
                if index < len(said)
            }
            for index in range(len(stages) + 1)
        ]
        entry = evidence(stages, looks, params["versions"], params["edges"])
        return {"entry": entry, "lines": lines(entry)}
