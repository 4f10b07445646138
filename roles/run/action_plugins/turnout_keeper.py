"""Start the keeper of this run on the controller, and tell it when the release stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from turnout.ansible_options import options, questions
from turnout.keeper import process_started


class ActionModule(ActionBase):
    """Write the plan into the run's folder and start `python -m turnout.keeper` in a session of its own.

    With `state: committed` leave word in that folder that every edge has confirmed. (A copy to the controller itself
    would take a second of a release.)
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"run", "folder", "playbook", "beat_s", "edges", "state"})

    def _options(self, folder: Path) -> list[str]:
        extra = load_extra_vars(self._loader) if context.CLIARGS.get("extra_vars") else {}
        return options(context.CLIARGS, extra, folder)

    def _check_unattended(self) -> None:
        asks = questions(context.CLIARGS)
        if asks:
            raise AnsibleActionFail(
                f"observed: this run asks for a password ({', '.join(asks)}); expected: passwords from files, since "
                "an automatic put-back has nobody to ask; to mend: use --vault-password-file, "
                "--become-password-file or --connection-password-file"
            )

    def run(self, tmp=None, task_vars=None):
        """Start the keeper; the result's `keeper_pid` is its process id."""
        result = super().run(tmp, task_vars)
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no keeper in check mode"}
        if self._task.args.get("state") == "committed":
            (Path(self._task.args["folder"]) / "committed").write_text(f"{self._task.args['run']}\n")
            return {**result, "changed": False}
        self._check_unattended()
        folder = Path(self._task.args["folder"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        parent = os.getppid()
        plan = {
            "run": self._task.args["run"],
            "parent_pid": parent,
            "parent_started": process_started(parent),
            "beat_s": float(self._task.args.get("beat_s", 3)),
            "ansible_options": self._options(folder),
            "playbook": str(self._task.args["playbook"]),
            "cwd": os.getcwd(),
            "verbosity": int(context.CLIARGS.get("verbosity") or 0),
            "edges": list(self._task.args.get("edges") or []),
        }
        draft = folder / "keeper.json"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(plan))
        with (folder / "keeper.err").open("ab") as errors:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "turnout.keeper", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                close_fds=True,
            )
        return {**result, "changed": False, "keeper_pid": keeper.pid}
