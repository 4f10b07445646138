"""Start the keeper of this run on the controller, and tell it how far the run is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from turnout import keeper
from turnout.ansible_options import options, program, questions
from turnout.errors import TurnoutError

TOLD = ("taken", "releasing", "released", "committed")  # states that are files in the run's folder
ENDS = (*TOLD, "ended", "keeper.done")  # what only a run leaves that has begun before


class ActionModule(ActionBase):
    """Write the plan into the run's folder and start `python -m turnout.keeper` in a session of its own.

    With another `state` leave word in that folder: C(taken), the run holds the lock on every edge; C(committed), every
    edge has confirmed; C(releasing), the lock is about to be given back; C(released), it was. (A copy to the controller
    itself would take a second of a release.)
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"run", "folder", "playbook", "beat_s", "lease_s", "ttl_s", "edges", "state"})

    def _check_unattended(self) -> None:
        asks = questions(context.CLIARGS)
        if asks:
            raise AnsibleActionFail(
                f"observed: this run asks for a password ({', '.join(asks)}); expected: passwords from files, since "
                "an automatic put-back has nobody to ask; to mend: use --vault-password-file, "
                "--become-password-file or --connection-password-file"
            )

    def _check_unused(self, folder: Path) -> None:
        left = [name for name in ENDS if (folder / name).exists()]
        if left:
            raise AnsibleActionFail(
                f"error[run-used]: observed: {folder} is of a run that has begun before (it left {', '.join(left)}); "
                "expected: a run with a name of its own, for its keeper would believe what the other one left; "
                "to mend: unset TURNOUT_RUN TURNOUT_RUN_FOLDER, or set them anew for each command "
                "(an id of a CI job that is exported once is none)"
            )

    def _program(self) -> str:
        try:
            return program()
        except TurnoutError as missing:
            raise AnsibleActionFail(str(missing)) from None

    def run(self, tmp=None, task_vars=None):
        """Start the keeper; the result's `keeper_pid` and `playbook_pid` are process ids on the controller."""
        result = super().run(tmp, task_vars)
        if self._play_context.check_mode:
            return {**result, "changed": False, "skipped": True, "msg": "no keeper in check mode"}
        args = self._task.args
        folder = Path(args["folder"])
        state = args.get("state")
        if state in TOLD:
            keeper.write(folder / state, f"{keeper.boottime() if state == 'taken' else args['run']}\n")
            return {**result, "changed": False}
        self._check_unattended()
        self._check_unused(folder)
        ansible = self._program()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        parent = os.getppid()
        extra = load_extra_vars(self._loader) if context.CLIARGS.get("extra_vars") else {}
        plan = {
            "run": args["run"],
            "parent_pid": parent,
            "parent_started": keeper.process_started(parent),
            "beat_s": float(args["beat_s"]),
            "lease_s": float(args["lease_s"]),
            "ttl_s": float(args["ttl_s"]),
            "ansible_options": [*options(context.CLIARGS), *keeper.hand_over(folder, extra)],
            "playbook": str(args["playbook"]),
            "cwd": os.getcwd(),
            "edges": list(args.get("edges") or []),
            "boottime": keeper.boottime(),
            "program": ansible,
        }
        keeper.write(folder / "keeper.json", json.dumps(plan))
        return {**result, "changed": False, "keeper_pid": keeper.start(folder), "playbook_pid": parent}
