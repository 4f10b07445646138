"""Judge pending migrations against the live schema, on the controller."""

from __future__ import annotations

import json
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.faults import table
from turnout.preflight import schema_faults, unforeseen
from turnout.release.manifest import parse
from turnout.release.schema import late_ones, pending, seen_by, state_after, state_in_database


class ActionModule(ControllerAction):
    """Judge, and fail with the table of faults when there are any."""

    spec: ClassVar = {
        "manifest": {"type": "dict", "required": True},
        "version": {"type": "int", "required": True},
        "todo": {"type": "list", "elements": "str"},
        "unlisted": {"type": "list", "elements": "str", "default": []},
        "recorded": {"type": "dict", "default": {}},
        "stable_record": {"type": "dict", "default": {}},
    }

    def perform(self, params):
        """Return what is pending, and the last contract migration once it is applied."""
        manifest = seen_by(parse(json.dumps(params["manifest"]).encode()), params["todo"])
        state = state_in_database(manifest, params["version"], params["recorded"])
        late = late_ones(manifest, state, params["todo"])
        faults = schema_faults(manifest, state, params["stable_record"])
        faults += unforeseen(late, params["unlisted"], params["stable_record"])
        if faults:
            return {
                "failed": True,
                "msg": f"error[schema]: the schema forbids this release\n{table(faults)}",
                "code": "schema",
                "faults": [fault.as_dict() for fault in faults],
            }
        after = state_after(manifest, state)
        return {
            "pending": [
                *(step.id for step in late),
                *(step.id for step in pending(manifest, state)),
                *params["unlisted"],
            ],
            "version": after.version,
            "last_contract": after.last_contract,
            "contracted": state.last_contract,
            "contracts": [step.version for step in manifest.migrations if step.kind == "contract"],
        }
