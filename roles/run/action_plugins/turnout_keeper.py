"""Start the keeper of this run on the controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from turnout.keeper import process_started

# Options of ansible-playbook that say how hosts are found and reached: the beats and the put-back need the same.
_VALUE_OPTIONS = {
    "private_key_file": "--private-key",
    "remote_user": "--user",
    "connection": "--connection",
    "timeout": "--timeout",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "become_method": "--become-method",
    "become_user": "--become-user",
    "become_password_file": "--become-password-file",
    "connection_password_file": "--connection-password-file",
}


class ActionModule(ActionBase):
    """Write the plan into the run's folder and start `python -m turnout.keeper` in a session of its own."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"run", "folder", "playbook", "beat_s", "edges"})

    def _options(self, folder: Path) -> list[str]:
        args = context.CLIARGS
        options: list[str] = []
        for source in args.get("inventory") or ():
            options += ["-i", source]
        for name in args.get("vault_ids") or ():
            options += ["--vault-id", name]
        for name in args.get("vault_password_files") or ():
            options += ["--vault-password-file", name]
        for key, flag in _VALUE_OPTIONS.items():
            if args.get(key):
                options += [flag, str(args[key])]
        if args.get("become"):
            options.append("--become")
        extra = folder / "extra-vars.json"
        if args.get("extra_vars"):
            # Variables of the command line may hold secrets: they travel in a file, never in a process's arguments.
            loader = self._loader
            values: dict[str, object] = {}
            from ansible.utils.vars import load_extra_vars  # noqa: PLC0415 - only needed here

            values.update(load_extra_vars(loader))
            extra.touch(mode=0o600)
            extra.write_text(json.dumps(values, default=str))
            options += ["-e", f"@{extra}"]
        return options

    def _check_unattended(self) -> None:
        args = context.CLIARGS
        asks = [flag for flag in ("ask_pass", "become_ask_pass", "ask_vault_pass") if args.get(flag)]
        asks += [name for name in args.get("vault_ids") or () if str(name).endswith("@prompt")]
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
