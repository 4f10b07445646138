"""The options of the running Ansible command line, for further commands that must reach the same hosts the same way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from turnout.beside import beside
from turnout.errors import TurnoutError

# Options of ansible-playbook that say how hosts are found and reached.
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


def program() -> str:
    """Return the `ansible-playbook` that belongs to this Python. Raises TurnoutError where there is none."""
    found = beside("ansible-playbook")
    if not found:
        raise TurnoutError(
            "ansible-missing",
            observed=f"no ansible-playbook beside {sys.executable} or on PATH",
            expected="ansible-core in the Python environment that Turnout is installed in",
            remedy=f"{sys.executable} -m pip install 'ansible-core>=2.20,<2.22'",
        )
    return found


def options(arguments: Mapping[str, Any]) -> list[str]:
    """Return the options for another command. `arguments` are Ansible's own (`context.CLIARGS`).

    Variables of the command line (`-e`) are not among them: they may hold secrets, and travel by `keeper.hand_over`.
    """
    words: list[str] = []
    for source in arguments.get("inventory") or ():
        words += ["-i", source]
    for name in arguments.get("vault_ids") or ():
        words += ["--vault-id", name]
    for name in arguments.get("vault_password_files") or ():
        words += ["--vault-password-file", name]
    for key, flag in _VALUE_OPTIONS.items():
        if arguments.get(key):
            words += [flag, str(arguments[key])]
    if arguments.get("become"):
        words.append("--become")
    return words


def questions(arguments: Mapping[str, Any]) -> list[str]:
    """Return the options by which the command line asks a person for a password: nobody answers a further command."""
    asks = [flag for flag in ("ask_pass", "become_ask_pass", "ask_vault_pass") if arguments.get(flag)]
    return asks + [name for name in arguments.get("vault_ids") or () if str(name).endswith("@prompt")]
