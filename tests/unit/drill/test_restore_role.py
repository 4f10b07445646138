"""The role `restore` beside the role `drill`, in a real ansible-playbook: what it asks the program of a host to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: db1
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: turnout.ops.restore, tasks_from: "{{ entry }}"}
      when: false
    - ansible.builtin.copy:
        content: "{{ {'plan': restore_plan, 'redis': restore_redis_plan, 'data': restore_redis_data_directory,
          'keep_s': restore_copy_keep_s, 'id': restore_id} | to_json }}"
        dest: "{{ playbook_dir }}/found.json"
        mode: "0600"
"""
INVENTORY: dict[str, Any] = {
    "run_id": "20260131-025000-Ann.2",
    "service": {"name": "shop"},
    "backup_repositories": [{"options": {"type": "posix"}, "reader": {"path": "/backups"}}],
}


def of_role(folder: Path, variables: dict[str, Any], entry: str = "main") -> dict[str, Any]:
    """Return what the role makes of an inventory's variables and a command line."""
    hosts = {"db1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    inventory = {"postgres": {"hosts": hosts, "vars": INVENTORY | variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(PLAY)
    (folder / "ansible.cfg").touch()
    result = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts.yml", "-e", f"entry={entry}", "play.yml"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("entry", ["main", "redis", "copy"])
def test_a_restore_takes_what_is_common_from_the_drill_and_the_rest_from_itself(tmp_path: Path, entry: str) -> None:
    found = of_role(tmp_path, {"target": "point", "point": "before-1.4.2", "drill_limit_s": 60}, entry)
    plan = found["plan"]
    assert plan["target"] == {"type": "name", "value": "before-1.4.2"}
    assert (plan["store"], plan["mode"], plan["keep"], plan["keep_s"]) == ("postgres", "time", True, None)
    assert plan["id"] == found["id"] == "20260131-025000-ann-2"
    assert (plan["limit_s"], plan["stanza"], plan["repository"]) == (60, "shop", 1)
    assert plan["repository_options"] == {"type": "posix", "path": "/backups"}
    assert (plan["directory"], plan["segment_bytes"]) == ("/var/lib/postgresql/turnout-restore", 16777216)
    assert (found["redis"]["store"], found["redis"]["directory"]) == ("redis", "/var/lib/turnout-drill")
    assert (found["data"], found["keep_s"]) == ("/var/lib/redis", 45)


@pytest.mark.parametrize("prefix", ["drill_restore_", "restore_"])
def test_an_inventory_may_use_the_names_of_before_the_role(tmp_path: Path, prefix: str) -> None:
    """Before there was a role for restores these variables were the drill's."""
    other = "drill_" if prefix == "drill_restore_" else "restore_"
    given = {
        f"{prefix}directory": "/a",
        f"{prefix}redis_directory": "/b",
        f"{other}redis_data_directory": "/c",
        f"{other}segment_bytes": 1048576,
        f"{other}copy_keep_s": 60,
    }
    found = of_role(tmp_path, given)
    assert (found["plan"]["directory"], found["redis"]["directory"], found["data"]) == ("/a", "/b", "/c")
    assert (found["plan"]["segment_bytes"], found["keep_s"]) == (1048576, 60)
