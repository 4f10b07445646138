"""Check the service file and the inventory, on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from turnout.controller_action import ControllerAction
from turnout.faults import FaultsError
from turnout.inventory_check import check
from turnout.judge.declared import check_declared
from turnout.service import load, read_json


class ActionModule(ControllerAction):
    """Check everything, and fail with all faults in one table."""

    spec: ClassVar = {
        "service": {"type": "str", "required": True, "no_log": True},
        "inventory_dir": {"type": "path", "required": True},
        "groups": {"type": "dict"},
        "hosts": {"type": "dict", "default": {}},
        "judged": {"type": "bool", "default": True},
    }

    def perform(self, params):
        """Return the service as everybody may see it."""
        value = read_json(params["service"])
        faults = []
        service = None
        try:
            service = load(value, base_dir=Path(params["inventory_dir"]))
        except FaultsError as error:
            faults += error.faults
        if params["groups"] is not None:
            faults += check(params["groups"], params["hosts"], service if service is not None else value)
        if faults:
            raise FaultsError("service-invalid", "the service file and the inventory", faults)
        if params["judged"] and service.judge is not None:
            check_declared(service)
        return {"service": service.public(), "faults": []}
