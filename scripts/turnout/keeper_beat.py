"""Beats to the edges by Ansible's own means: its inventory, connections, jump hosts and `become` are the run's."""

from __future__ import annotations

from typing import Any

from ansible.cli.adhoc import AdHocCLI
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.playbook.play import Play
from ansible.plugins.loader import init_plugin_loader


class Beats:
    """What every beat needs: options, inventory, variables, passwords; read once, inherited by forked children."""

    def __init__(self, options: list[str]) -> None:
        cli = AdHocCLI(["ansible", "all", *options, "--become", "-m", "ansible.builtin.raw", "-a", "true"])
        cli.parse()
        init_plugin_loader()
        connection, become = cli.ask_passwords()  # from files: a run that would ask a person is refused
        self.passwords = {"conn_pass": connection, "become_pass": become}
        self.loader, self.inventory, self.variables = cli._play_prereqs()

    def send(self, edge: str, command: str) -> int:
        """Run a command on one edge; the callback plugin `turnout.ops.beats` writes the answer."""
        tasks = [{"ansible.builtin.raw": command}]
        play: Any = {"name": "beat", "hosts": [edge], "gather_facts": False, "tasks": tasks}
        manager = TaskQueueManager(
            inventory=self.inventory,
            variable_manager=self.variables,
            loader=self.loader,
            passwords=self.passwords,
            stdout_callback_name="turnout.ops.beats",
            run_additional_callbacks=False,
            forks=1,
        )
        try:
            manager.load_callbacks()
            return int(manager.run(Play().load(play, variable_manager=self.variables, loader=self.loader)))
        finally:
            manager.cleanup()
