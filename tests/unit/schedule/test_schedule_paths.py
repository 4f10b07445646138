"""Where scheduled jobs find playbooks and inventory: from the inventory's own folder, never from Turnout's code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles" / "schedule"
PLAY = """
- hosts: controller
  gather_facts: false
  vars_files: [{defaults}, {vars}]
  vars:
    service: {{name: shop}}
  tasks:
    - ansible.builtin.set_fact:  # here the host is still itself
        said:
          jobs: "{{{{ schedule_mine | map(attribute='command') | map('join', ' ') }}}}"
          folder: "{{{{ schedule_folder }}}}"
          inventory: "{{{{ schedule_inventory }}}}"
          needs: "{{{{ schedule_needs }}}}"
    - ansible.builtin.copy: {{content: "{{{{ said | to_json }}}}", dest: "{out}", mode: "0600"}}
      delegate_to: localhost
"""


class Repository:
    """A team's repository, with an inventory somewhere in it."""

    def __init__(self, folder: Path, inventory: str, host: str, *, config: bool = True) -> None:
        self.folder, self.inventory = folder / "shop-ops", inventory
        place = self.folder / inventory
        place.mkdir(parents=True)
        (place / "hosts.yml").write_text(f"controller: {{hosts: {{ops1: {{{host}}}}}}}\n")
        if config:
            (self.folder / "ansible.cfg").write_text(f"[defaults]\ninventory = {inventory}/hosts.yml\n")

    def says(self, *words: str) -> Any:
        """Return what the role works out, run from the repository's folder."""
        out, play = self.folder / "said.json", self.folder / "play.yml"
        play.write_text(PLAY.format(defaults=ROLE / "defaults/main.yml", vars=ROLE / "vars/main.yml", out=out))
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", str(play), *words], cwd=self.folder, env=env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(out.read_text())


LOCAL = "ansible_connection: local"
REMOTE = "ansible_host: 192.0.2.61"


@pytest.mark.parametrize("words", [(), ("-i", "environments/live")])
def test_on_this_machine_jobs_use_the_inventory_of_this_run_wherever_it_lies(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    repository = Repository(tmp_path, "environments/live", LOCAL)
    said = repository.says(*words)
    used = repository.folder / "environments/live" / ("" if words else "hosts.yml")
    assert said["inventory"] == str(used)
    assert said["folder"] == str(repository.folder)  # where ansible.cfg lies
    program = f"{Path(sys.executable).parent}/ansible-playbook"
    assert f"{program} -i {used} turnout.ops.backup -e type=full" in said["jobs"]
    assert all(f"-i {used} turnout.ops." in job and ".yml -" not in job for job in said["jobs"])
    assert str(used) in said["needs"]


def test_without_a_configuration_jobs_start_in_the_inventorys_folder(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "hosts", LOCAL, config=False)
    said = repository.says("-i", "hosts/hosts.yml")
    assert said["folder"] == str(repository.folder / "hosts")
    assert said["inventory"] == str(repository.folder / "hosts" / "hosts.yml")


def test_on_another_machine_the_inventory_lies_in_the_clone_as_it_does_here(tmp_path: Path) -> None:
    said = Repository(tmp_path, "environments/live", REMOTE).says("-i", "environments/live")
    assert (said["folder"], said["inventory"]) == ("/opt/turnout", "environments/live")
    assert (
        "/opt/turnout/.venv/bin/ansible-playbook -i environments/live turnout.ops.restore_drill -e mode=latest"
        in (said["jobs"])
    )
    assert said["needs"] == [
        "/opt/turnout",
        "/opt/turnout/.venv/bin/ansible-playbook",
        "/opt/turnout/environments/live",
    ]
