"""Action plugin: what a host asks Redis to see how the service's queues stand, from the checklist."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.turnout.ops.plugins.action.look import situation_of
from turnout.checklist.queue_questions import questions
from turnout.errors import TurnoutError


class ActionModule(ActionBase):
    """Read the checklist, and ask nobody."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"service", "checklist", "groups", "inventory_dir"})

    def run(self, tmp=None, task_vars=None):
        """Return `queues`: for each its probe's arguments (with Redis's address, a secret) and its limits."""
        result = super().run(tmp, task_vars)
        try:
            config, _ = situation_of({**self._task.args, "manifest": {}})
        except TurnoutError as error:
            raise AnsibleActionFail(str(error)) from None
        return {**result, "changed": False, "queues": questions(config)}
