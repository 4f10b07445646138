"""Run a command in the color in service: decide which that is, begin it on the host, and say how to connect to it."""

from __future__ import annotations

import json
import os

from ansible.plugins.action import ActionBase
from turnout import beside_ansible
from turnout.controller_action import plain
from turnout.errors import TurnoutError
from turnout.in_service import color_in_service

PROGRAM = "/usr/local/sbin/turnout-run"


class ActionModule(ActionBase):
    """Add to the module's options what only the controller knows; write what the client needs to `hand_over`."""

    TRANSFERS_FILES = False
    _supports_check_mode = False
    _supports_async = False
    _VALID_ARGS = frozenset({
        "state", "service", "id", "edges", "hand_over", "color", "release_id", "client_uid", "words", "actor",
        "terminal", "timeout_s", "detach",
    })  # fmt: skip

    def run(self, tmp=None, task_vars=None):
        """Return what the module returned on the host."""
        result = super().run(tmp, task_vars)
        options = dict(self._task.args)
        hand_over, edges = options.pop("hand_over", None), plain(options.pop("edges", {}))
        state = options.get("state", "begun")
        try:
            if hand_over:
                argv = self._argv(options["id"])
            if state == "begun":
                options["color"], options["release_id"] = color_in_service(edges)
                options["client_uid"] = beside_ansible.uid(self)  # may attach, without becoming anybody
        except TurnoutError as error:
            return {**result, "failed": True, "msg": str(error), **error.as_dict()}
        result |= self._execute_module("turnout.ops.command", module_args=options, task_vars=task_vars)
        if hand_over and "record" in result:
            told = {
                "argv": argv,
                "host": task_vars["inventory_hostname"],
                **{key: result.get(key) for key in ("record", "running", "output")},
            }
            descriptor = os.open(hand_over, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(plain(told), file)
        return result

    def _argv(self, ident: str) -> list[str]:
        """Return the words that connect a client, by the connection that Ansible uses. Raises TurnoutError."""
        attach = [PROGRAM, "attach", ident]
        connection = self._connection
        if connection.transport == "local":
            return attach
        beside_ansible.see_connection("run-connection", connection, self._play_context.password)
        return beside_ansible.words(connection, "-T", beside_ansible.host_of(connection), " ".join(attach))
