"""Write the results of the keeper's beats as JSON lines into the file that TURNOUT_BEATS names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: turnout_beats
type: stdout
short_description: Results of the keeper's beats as JSON lines
description: Used by the keeper alone; it writes where the environment variable TURNOUT_BEATS says.
"""

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """One line a host: its name, the command's exit code, and whether it could be reached."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "turnout_beats"

    def _write(self, result, unreachable=False):
        row = {"host": result.host.get_name(), "rc": result.result.get("rc"), "unreachable": unreachable}
        with open(os.environ["TURNOUT_BEATS"], "a", encoding="utf-8") as beats:
            beats.write(json.dumps(row) + "\n")

    def v2_runner_on_ok(self, result):
        """Write a beat that was answered."""
        self._write(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Write a beat that the edge refused."""
        self._write(result)

    def v2_runner_on_unreachable(self, result):
        """Write an edge that could not be reached."""
        self._write(result, unreachable=True)
