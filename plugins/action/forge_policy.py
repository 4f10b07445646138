"""Protect branches of a forge, on the controller."""

from __future__ import annotations

from typing import ClassVar

import yaml
from turnout.controller_action import ControllerAction
from turnout.forge.protect import protect


class ActionModule(ControllerAction):
    """Protect, and show what changed."""

    spec: ClassVar = {
        "service": {"type": "str", "required": True, "no_log": True},
        "checklist": {"type": "str", "required": True, "no_log": True},
        "inventory_dir": {"type": "path", "required": True},
    }

    def perform(self, params):
        """Return what each branch lacked, with the difference of the policies; in check mode nothing is set."""
        lacked, before, after = protect(params, dry_run=self._task.check_mode)
        diff = {"before": yaml.safe_dump(before, sort_keys=True), "after": yaml.safe_dump(after, sort_keys=True)}
        told = "\n".join(f"{branch}: {'; '.join(lacks) or 'as it should be'}" for branch, lacks in lacked.items())
        return {"changed": any(lacked.values()), "lacked": lacked, "diff": diff, "message": told}
