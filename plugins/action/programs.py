"""Compare on the controller which Turnout laid the programs of the hosts with the one that runs."""

from __future__ import annotations

import pathlib
from typing import ClassVar

from turnout.command.versions import version_in
from turnout.controller_action import ControllerAction
from turnout.faults import FaultsError
from turnout.programs import compare

HERE = pathlib.Path(__file__).parents[2]  # the collection that this file belongs to


class ActionModule(ControllerAction):
    """Return what is to be told; with `refuse`, fail where this Turnout cannot work with what is there."""

    spec: ClassVar = {
        "laid": {"type": "dict", "required": True},
        "refuse": {"type": "bool", "default": False},
    }

    def perform(self, params):
        """`laid` maps each host to what `turnout.ops.laid` found there, or to nothing."""
        own = version_in(HERE)
        laid = {host: facts if facts and "programs" in facts else None for host, facts in params["laid"].items()}
        compared = compare(own, laid)
        if params["refuse"] and compared.faults:
            raise FaultsError("programs", "the programs on hosts", compared.faults)
        hosts = {host: facts and facts["programs"] for host, facts in laid.items()}
        notes = [*compared.notes, *(f"{fault.path}: {fault.observed}; {fault.remedy}" for fault in compared.faults)]
        return {"own": own, "hosts": hosts, "notes": notes}
