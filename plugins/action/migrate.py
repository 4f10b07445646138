"""Run a release's migrations on their host, and show meanwhile what the module there tells of them."""

from __future__ import annotations

import contextlib
import contextvars
import secrets
import shlex
import threading

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

POLL_S = 2.0


class ActionModule(ActionBase):
    """The module of the same name; what it applies is shown line by line."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(
        {"service", "user", "layout", "version_command", "up_command", "environment_file_text", "timeout_s", "progress"}
        | {"tool", "tool_command", "listed", "group"}
    )

    def run(self, tmp=None, task_vars=None):
        """Return what the module says; C(shown): the lines of C(message) have been on the screen."""
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        if not args.get("up_command") or self._play_context.check_mode:
            return {**result, **self._execute_module(module_args=args, task_vars=task_vars)}
        self._host = str((task_vars or {}).get("inventory_hostname"))
        self._file = f"/run/turnout/migrate-{args['service']}-{secrets.token_hex(8)}.lines"
        self._shown = []
        self._read = 0
        said = {}
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._migrate, {**args, "progress": self._file}, dict(task_vars or {}), said),
            daemon=True,
        )
        thread.start()
        while thread.is_alive():
            thread.join(POLL_S)
            self._look()
        if "error" in said:
            raise said["error"]
        # The file is gone by then: what was told since the last look.
        self._show([line for line in str(said.get("message") or "").splitlines() if line not in self._shown])
        return {**result, **said, "shown": True}

    def _migrate(self, args, task_vars, said):
        try:
            said.update(self._execute_module(module_args=args, task_vars=task_vars))
        except Exception as error:  # it is raised where Ansible waits for it
            said["error"] = error

    def _look(self):
        """Show what was told since the last look. A host that does not answer meanwhile is asked again."""
        command = f"tail --bytes=+{self._read + 1} {shlex.quote(self._file)}"
        with contextlib.suppress(AnsibleError):
            text = self._low_level_execute_command(command, sudoable=True)["stdout"]
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole.encode())
            self._show(whole.splitlines())

    def _show(self, lines):
        self._shown += lines
        for line in lines:
            Display().display(f"{'':9}{self._host}: {line}")
