"""A second ssh beside Ansible's, by the same words that ansible.cfg and the inventory give to its connection."""

from __future__ import annotations

import os
from typing import Any

from turnout.errors import TurnoutError


def see_connection(code: str, connection: Any, password: object) -> None:
    """Raise `TurnoutError` of this code where no ssh can go beside Ansible's own: another plugin, or a password."""
    kind = connection.transport
    by_password = kind == "ssh" and (connection.get_option("password") or password)
    if kind != "ssh" or by_password:
        raise TurnoutError(
            code,
            observed="the host is reached by a password" if by_password else f"the connection plugin {kind}",
            expected="a connection by ssh with a key, which a client can use beside Ansible",
            remedy="ansible_connection: ssh, and ansible_ssh_private_key_file or a key in ssh-agent",
        )


def host_of(connection: Any) -> str:
    """Return the address by which ssh reaches the host."""
    return str(connection.get_option("host") or connection._play_context.remote_addr)


def words(connection: Any, *more: str) -> list[str]:
    """Return ssh's whole command with `more` at its end: whatever is said of the connection counts here too."""
    made = connection._build_command(connection.get_option("ssh_executable"), "ssh", *more)
    return [os.fsdecode(word) for word in made]


def uid(action: Any) -> int:
    """Return the user that the connection of an action logs in as, whoever it becomes then."""
    said = action._low_level_execute_command("id -u", sudoable=False)
    last = str(said.get("stdout", "")).split()[-1:]
    return int(last[0]) if last and last[0].isdigit() else 0
