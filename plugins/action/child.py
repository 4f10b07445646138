"""Run another playbook of this project to its end, as a person would, and tell how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from turnout.ansible_options import options, questions
from turnout.keeper import hand_over, take_back

CAUSE_LIMIT = 600


def first_cause(output):
    """Return the first cause that a playbook gave, on one line; nothing where it gave none."""
    _, found, rest = output.rpartition("\nFirst cause")
    if not found:
        return ""
    _, _, words = rest.partition("\n")
    told = []
    for line in words.splitlines():
        if not line.startswith("  "):
            break
        told.append(line.strip())
    return " ".join(told)[:CAUSE_LIMIT]


class ActionModule(ActionBase):
    """Run C(playbook) with this run's own connection options and C(extra); never fails for the playbook's failure."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"name", "playbook", "extra", "folder", "limit_s"})

    def run(self, tmp=None, task_vars=None):
        """Return code, seconds, cause and the file of its output."""
        result = super().run(tmp, task_vars)
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no playbook in check mode"}
        asks = questions(context.CLIARGS)
        if asks:
            raise AnsibleActionFail(
                f"observed: this run asks for a password ({', '.join(asks)}); expected: passwords from files, since "
                "the playbooks of a rehearsal have nobody to ask; to mend: use --vault-password-file, "
                "--become-password-file or --connection-password-file"
            )
        args = self._task.args
        folder = Path(args["folder"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        extra = load_extra_vars(self._loader) if context.CLIARGS.get("extra_vars") else {}
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(args["playbook"]),
            *options(context.CLIARGS),
            *hand_over(folder, extra),
            "-e",
            json.dumps(args.get("extra") or {}),
        ]
        # A run of its own, with a folder of its own.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TURNOUT_RUN")}
        log = folder / f"{args['name']}.log"
        started = time.monotonic()
        with log.open("wb") as stream:
            try:
                code = subprocess.run(
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    timeout=float(args.get("limit_s", 3600)),
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = 124
            finally:
                take_back(folder)
        seconds = time.monotonic() - started
        cause = first_cause(log.read_text(errors="replace"))
        return {**result, "changed": True, "code": code, "seconds": seconds, "cause": cause, "log": str(log)}
