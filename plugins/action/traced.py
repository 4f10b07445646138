"""Put together what the journals of all hosts hold of a request, on the controller."""

from __future__ import annotations

import json
from typing import ClassVar

from turnout import tracing
from turnout.controller_action import ControllerAction


class ActionModule(ControllerAction):
    """Say what to look for, and at last what was found."""

    spec: ClassVar = {
        "id": {"type": "str", "required": True},
        "edges": {"type": "dict", "default": {}},
        "hosts": {"type": "dict", "default": {}},
        "whole": {"type": "bool", "default": False},
        "hours": {"type": "float", "default": 24.0},
        "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
    }

    def perform(self, params):
        """Return the ids and, of the whole, the lines. Raises TurnoutError for what is no id, or is nowhere."""
        edges, hosts = ({host: one or {} for host, one in params[name].items()} for name in ("edges", "hosts"))
        ids = tracing.further(edges.values(), tracing.forms(params["id"]))
        if not params["whole"]:
            return {"ids": ids}
        trace = tracing.collect(edges, hosts, params["id"])
        if not trace["lines"]:
            raise tracing.missing(trace, params["hours"])
        as_json = params["format"] == "json"
        report = json.dumps({**trace, "ids": ids}, indent=2, sort_keys=True) if as_json else tracing.render(trace)
        return {"ids": ids, "report": report, "trace": trace}
