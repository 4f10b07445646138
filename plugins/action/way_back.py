"""Decide on the controller, from what the edges said, what a rollback may do to the processes of the hosts."""

from __future__ import annotations

from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.way_back import plan


class ActionModule(ControllerAction):
    """Return the plan as `plan`; fail where there is none."""

    spec: ClassVar = {"edges": {"type": "dict", "required": True}}

    def perform(self, params):
        """`edges` maps each edge of the inventory to what `turnout-edge rollback` answered there, or to nothing."""
        return {"plan": plan(params["edges"]).as_dict()}
