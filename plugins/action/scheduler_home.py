"""Decide on the controller, from what the hosts said, where the scheduler may start."""

from __future__ import annotations

from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.scheduler_home import choose


class ActionModule(ControllerAction):
    """Return the decision as `home`; fail where a person's word cannot be followed."""

    spec: ClassVar = {
        "workers": {"type": "list", "elements": "str", "required": True},
        "answers": {"type": "dict", "required": True},
        "word": {"type": "str", "default": ""},
        "named": {"type": "str", "default": ""},
        "takeover_s": {"type": "int", "default": 0},
    }

    def perform(self, params):
        """`answers` maps worker hosts and edges to what turnout.ops.units answered there, or to nothing."""
        answers = {
            name: None if not said or said.get("failed") or said.get("unreachable") or "units" not in said else said
            for name, said in params["answers"].items()
        }
        decision = choose(
            params["workers"], answers, word=params["word"], named=params["named"], takeover_s=params["takeover_s"]
        )
        return {"home": decision.as_dict()}
