"""Write down when each task of a playbook begins, and wait at one of them until a fault has been put in."""

from __future__ import annotations

DOCUMENTATION = r"""
name: turnout_moments
type: aggregate
short_description: The moments of a playbook, for the fault matrix
description:
  - Appends one JSON line to C(TURNOUT_FAULTS_MOMENTS) for each task that begins.
  - Before the task that C(TURNOUT_FAULTS_STOP_AT) names it waits for C(TURNOUT_FAULTS_MOMENTS.go), 20 s at most.
"""

import json
import os
import re
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

LONGEST_STOP_S = 20.0


class CallbackModule(CallbackBase):
    """The moments of one playbook: that which is first to find its file missing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "turnout_moments"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._play = ""
        self._seen = {}
        self._stop_at = os.environ.get("TURNOUT_FAULTS_STOP_AT", "")
        self._path = os.environ.get("TURNOUT_FAULTS_MOMENTS", "")
        try:
            # A put-back that the keeper starts has the same environment: the file is not its own.
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            self._path = ""

    def v2_playbook_on_play_start(self, play):
        """Note the play: the same task may stand in several."""
        self._play = re.sub(r"^\w+ \| ", "", play.get_name().strip()).replace(" | ", " ")

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Write the moment down, and wait if it is the one."""
        if not self._path:
            return
        # Which color takes the release depends on the lab: the moment is the same one.
        name = re.sub(r"\b(blue|green)\b", "COLOR", f"{self._play} | {task.get_name().strip()}")
        self._seen[name] = self._seen.get(name, 0) + 1
        key = f"{name} #{self._seen[name]}"
        with Path(self._path).open("a", encoding="utf-8") as moments:
            moments.write(json.dumps({"key": key, "t": time.monotonic()}) + "\n")
        if key == self._stop_at:
            until = time.monotonic() + LONGEST_STOP_S
            while not Path(self._path + ".go").exists() and time.monotonic() < until:
                time.sleep(0.005)

    v2_playbook_on_handler_task_start = lambda self, task: self.v2_playbook_on_task_start(task, False)  # noqa: E731
