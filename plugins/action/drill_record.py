"""Compute the record of a drill, on the controller."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.drill.finish import finish
from turnout.drill.measured import complete, told
from turnout.drill.record import Mode, as_dict


class ActionModule(ControllerAction):
    """Compute; a drill that measured nothing has a record that says why."""

    spec: ClassVar = {
        "measured": {"type": "str", "required": True},
        "id": {"type": "str", "required": True},
        "mode": {"type": "str", "required": True},
        "detect_s": {"type": "float", "required": True},
        "decide_s": {"type": "float", "required": True},
        "rpo_target_s": {"type": "float"},
        "rto_target_s": {"type": "float"},
        "lost": {"type": "str", "default": ""},
        "earlier": {"type": "str", "default": "[]"},
    }

    def perform(self, params):
        """Return the record, those of earlier drills, and the table."""
        raw = json.loads(params["measured"]) if params["measured"] else None
        try:
            if raw is None:
                now = datetime.now(UTC)
                drill = finish(
                    id=params["id"], mode=Mode(params["mode"]), started=now, ended=now, causes=[params["lost"]]
                )
            else:
                drill = complete(params, raw)
            earlier = [as_dict(complete(params, one)) for one in json.loads(params["earlier"])]
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        record = as_dict(drill)
        return {"record": record, "earlier": earlier, "lines": told(record, raw)}
