"""Base of the actions that decide on the controller, from what the hosts have said.

They run in Ansible's own process. As modules each would have Ansible start another Python and load its library there,
which takes longer than what any of them does, and a release asks five.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase

from turnout.errors import TurnoutError


def plain(value: Any) -> Any:
    """Return a value of Ansible's as plain Python: its containers template what they hold when they are looked into,
    and its texts remember where they come from.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


class ControllerAction(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """One action: `spec` is an argument spec as modules have it, `perform` the work.

    The documentation of an action stands in `plugins/modules`, under the same name, where Ansible looks for it.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True  # nothing changes
    _supports_async = False
    spec: ClassVar[dict[str, dict[str, Any]]] = {}

    def perform(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the task's result; `failed` and `msg` in it are a failure. May raise TurnoutError."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options, perform, and tell what went wrong in the project's own words."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, params = self.validate_argument_spec(argument_spec=self.spec)
        try:
            return {**result, "changed": False, **self.perform(plain(params))}
        except TurnoutError as error:
            faults = [fault.as_dict() for fault in getattr(error, "faults", ())]
            return {**result, "failed": True, "msg": str(error), "faults": faults, **error.as_dict()}
