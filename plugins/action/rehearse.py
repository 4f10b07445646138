"""Begin a rehearsal on its host, and ask for its end until it is over; one that nobody asks for ends by itself."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Ask again and again: the answers end with this playbook, however that ends."""

    _VALID_ARGS = frozenset({"plan", "id", "limit_s", "copy", "state"})

    def run(self, tmp=None, task_vars=None):
        """Return what the module says at the end."""
        result = super().run(tmp, task_vars)
        state = "begun"
        while state:
            arguments = {**self._task.args, "state": state}
            said = self._execute_module(module_args=arguments, task_vars=task_vars)
            state = "" if said.get("failed") or said.get("over", True) else "asked"
        return {**result, **said}
