"""Who holds the lock: the person, the machine and the process of the playbook, wherever it was typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/unit/edge"))
sys.path.insert(0, str(ROOT / "roles/edge/files"))

from ansible_collections.turnout.ops.plugins.callback import turnout as callback
from ansible_collections.turnout.ops.plugins.modules import edge as module
from edge_model import edge_confirmed

SHOW = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [RUN]
  tasks:
    - ansible.builtin.copy: {content: "{{ run_actor }} {{ run_owner }} {{ run_pid }}", dest: DEST, mode: "0600"}
"""
MACHINE = os.uname().nodename


def seen(folder: Path, **given: str) -> tuple[list[str], int]:
    """Return what the variables say in a playbook with this environment and nothing else, and its process id."""
    run, told = ROOT / "playbooks/group_vars/all/run.yml", folder / "told"
    (folder / "show.yml").write_text(SHOW.replace("RUN", str(run)).replace("DEST", str(told)))
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    env |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "ANSIBLE_HOME": str(folder / "a"), **given}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(folder / "show.yml")]
    process = subprocess.Popen(
        argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, text=True,
    )  # fmt: skip
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    return told.read_text().split(), process.pid


@pytest.mark.parametrize("plugin", ["turnout.ops.turnout", "ansible.builtin.default"])
@pytest.mark.parametrize(
    ("given", "who"),
    [({}, "root"), ({"SUDO_USER": "ann"}, "ann"), ({"TURNOUT_ACTOR": ""}, "root"), ({"TURNOUT_ACTOR": "ci"}, "ci")],
)
def test_without_a_terminal_or_a_name_in_the_environment_it_is_who_runs_it(
    tmp_path: Path, plugin: str, given: dict[str, str], who: str
) -> None:
    (actor, owner, pid), process = seen(tmp_path, ANSIBLE_STDOUT_CALLBACK=plugin, **given)
    assert (actor, owner) == (who, f"{who}@{MACHINE}")
    assert int(pid) == (process if plugin == "turnout.ops.turnout" else 0)


def test_a_user_without_a_name_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert callback.actor() == "uid54321"
    fallback = (ROOT / "playbooks/group_vars/all/run.yml").read_text()
    assert "unknown" not in fallback


def test_a_rollback_by_a_playbook_holds_the_lock_as_the_one_who_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"command": "rollback", "run": "r9", "actor": "ann", "owner": "ann@laptop", "pid": 4711}
    words = module.words_for(options)
    assert not [word for word in words if word.startswith(("--owner", "--pid"))], "an older program knows them not"
    monkeypatch.setattr(os, "environ", dict(os.environ))
    module.tell_holder(options)
    edge = edge_confirmed()
    edge.run(" ".join(words))
    holder = json.loads(edge.files.data["/state/lock.json"])["holder"]
    assert (holder["run"], holder["owner"], holder["pid"]) == ("r9", "ann@laptop", 4711)
