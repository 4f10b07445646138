"""Put together what edges and hosts have said, on the controller."""

from __future__ import annotations

import json
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.status import collect, render


class ActionModule(ControllerAction):
    """Collect and render."""

    spec: ClassVar = {
        "edges": {"type": "dict", "required": True},
        "hosts": {"type": "dict", "required": True},
        "programs": {"type": "dict", "default": {}},
        "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
    }

    def perform(self, params):
        """Return the status, as data and as text in the format asked for."""
        status = collect(params["edges"], params["hosts"], params["programs"])
        as_json = params["format"] == "json"
        report = json.dumps(status, indent=2, sort_keys=True) if as_json else render(status)
        return {"report": report, "status": status}
