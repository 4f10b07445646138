"""Judge pending migrations against the live schema, on the controller."""

from __future__ import annotations

import json
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.faults import table
from turnout.preflight import schema_faults
from turnout.release.manifest import parse
from turnout.release.schema import SchemaState, pending, state_after


class ActionModule(ControllerAction):
    """Judge, and fail with the table of faults when there are any."""

    spec: ClassVar = {
        "manifest": {"type": "dict", "required": True},
        "version": {"type": "int", "required": True},
        "recorded": {"type": "dict", "default": {}},
        "stable_record": {"type": "dict", "default": {}},
    }

    def perform(self, params):
        """Return what is pending, and the last contract migration once it is applied."""
        manifest = parse(json.dumps(params["manifest"]).encode())
        state = state_in_database(manifest, params["version"], params["recorded"])
        faults = schema_faults(manifest, state, params["stable_record"])
        if faults:
            return {
                "failed": True,
                "msg": f"error[schema]: the schema forbids this release\n{table(faults)}",
                "code": "schema",
                "faults": [fault.as_dict() for fault in faults],
            }
        after = state_after(manifest, state)
        return {
            "pending": [step.id for step in pending(manifest, state)],
            "version": after.version,
            "last_contract": after.last_contract,
            "contracted": state.last_contract,
            "contracts": [step.version for step in manifest.migrations if step.kind == "contract"],
        }


def state_in_database(manifest, version, recorded):
    """Return the schema state: the version is the database's, what was contracted is known from manifest and record."""
    applied = [step.version for step in manifest.migrations if step.kind == "contract" and step.version <= version]
    remembered = int(recorded.get("last_contract") or 0)
    return SchemaState(version, max([0, *applied, remembered if remembered <= version else 0]))
