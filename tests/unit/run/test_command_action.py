"""How a client connects to a person's command: by the very ssh that Ansible uses, with all that is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible_collections.turnout.ops.plugins.action.command import ActionModule
from turnout.errors import TurnoutError


def action(kind: str, **options: Any) -> ActionModule:
    made = ActionModule.__new__(ActionModule)
    made._play_context = PlayContext()
    made._connection = connection_loader.get(kind, made._play_context)
    made._connection.set_options(direct={"host": "192.0.2.7", "ssh_args": "-o ControlMaster=auto", **options})
    return made


def test_what_the_inventory_says_of_ssh_counts_for_the_client_too() -> None:
    words = action("ssh", port=2222, remote_user="ann", private_key_file="/k", ssh_common_args="-J bastion")._argv("ID")
    assert words[0] == "ssh"
    assert words[-3:] == ["-T", "192.0.2.7", "/usr/local/sbin/turnout-run attach ID"]
    for one in ("Port=2222", 'User="ann"', 'IdentityFile="/k"', "bastion", "ControlMaster=auto"):
        assert one in words, words


def test_a_local_connection_needs_no_ssh() -> None:
    made = ActionModule.__new__(ActionModule)
    made._connection = connection_loader.get("local", PlayContext())
    assert made._argv("ID") == ["/usr/local/sbin/turnout-run", "attach", "ID"]


def test_a_password_is_refused_before_anything() -> None:
    with pytest.raises(TurnoutError) as refused:
        action("ssh", password="secret-word")._argv("ID")
    assert refused.value.code == "run-connection"
    assert "secret-word" not in str(refused.value)
