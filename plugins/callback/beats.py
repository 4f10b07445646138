"""Write what an edge answers to one of the keeper's beats to the descriptor that TURNOUT_BEATS names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: beats
type: stdout
short_description: The answer to one of the keeper's beats, as a JSON object
description: Used by the keeper alone. The environment variable TURNOUT_BEATS is the number of the descriptor.
"""

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """One host's answer: its name, the command's exit code and output, and whether it could be reached."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "turnout.ops.beats"

    def _write(self, result, unreachable=False):
        row = {"host": result.host.get_name(), "unreachable": unreachable}
        row |= {key: result.result.get(key) for key in ("rc", "stdout")}
        os.write(int(os.environ["TURNOUT_BEATS"]), json.dumps(row).encode())

    def v2_runner_on_ok(self, result):
        """Write a beat that was answered."""
        self._write(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Write a beat that the edge refused."""
        self._write(result)

    def v2_runner_on_unreachable(self, result):
        """Write an edge that could not be reached."""
        self._write(result, unreachable=True)
