"""The edges know how far migrations may go before one runs, and how far they went, also where they failed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

# What the hosts would do, told to a file: which module, on which host, with which options.
STUB = '''#!/usr/bin/python
import json, os, sys
given = json.loads(r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>""")
name = "NAME"
with open(os.environ["STORY"], "a") as story:
    told = {k: v for k, v in given.items() if not k.startswith("_ansible_")}
    story.write(json.dumps([name, told]) + "\\n")
answers = json.loads(os.environ["ANSWERS"])
key = name + ("_up" if name == "migrate" and given.get("up_command") else "")
answer = {"changed": False, **answers.get(key, {})}
print(json.dumps(answer))
sys.exit(1 if answer.get("failed") else 0)
'''

PLAY = """
- hosts: edge:api
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.include_tasks: {tasks}
      vars:
        migrate_service: sample
        migrate_user: sample
        migrate_commands: {{up: bin/up, version: bin/version, timeout_s: 5}}
        migrate_manifest: {{version: 1.1.0}}
        migrate_release_id: 1.1.0-aa
        migrate_stable_record: {{}}
        migrate_environment_text: ""
        migrate_host: app1
        migrate_directories: []
        migrate_group: ""
        migrate_lock_timeout_s: 5
        migrate_statement_timeout_s: 5
        run_id: R
        run_actor: anna
        preflight_edge: {{schema: {{version: 5, last_contract: 2}}}}
"""
PLAN = {"pending": ["6", "7"], "version": 7, "last_contract": 7, "contracted": 2, "contracts": [2, 7]}


def told(tmp_path: Path, answers: dict[str, Any]) -> tuple[int, list[dict[str, Any]], str]:
    """Run the role's tasks on two edges and an application host; return what the edges were told of the schema."""
    plugins = tmp_path / "ansible_collections/turnout/ops/plugins"
    for kind in ("modules", "filter"):
        (plugins / kind).mkdir(parents=True)
    for name in ("migrate", "schema", "edge"):
        (plugins / f"modules/{name}.py").write_text(STUB.replace("NAME", name))
    (plugins / "filter/layout.py").write_text(
        "class FilterModule:\n    def filters(self):\n        return {'layout': lambda manifest, path, service: {}}\n"
    )
    (tmp_path / "hosts").write_text(
        "[edge]\nedge1\nedge2\n[api]\napp1\n[all:vars]\nansible_connection=local\n"
        "ansible_python_interpreter={{ ansible_playbook_python }}\n"
    )
    (tmp_path / "play.yml").write_text(PLAY.format(tasks=ROOT / "roles/migrate/tasks/main.yml"))
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "STORY": str(tmp_path / "story"),
        "ANSWERS": json.dumps(answers),
    }
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "hosts"), str(tmp_path / "play.yml")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (tmp_path / "story").exists(), done.stdout + done.stderr
    story = [json.loads(line) for line in (tmp_path / "story").read_text().splitlines()]
    keys = ("version", "last_contract", "planned", "planned_contract")
    heard = [
        {"applied": True} if name == "migrate" else {key: int(given[key]) for key in keys if key in given}
        for name, given in story
        if name == "edge" or (name == "migrate" and given.get("up_command"))
    ]
    return done.returncode, heard, done.stdout + done.stderr


PLANNED = {"planned": 7, "planned_contract": 7}


@pytest.mark.parametrize(
    ("up", "code", "record"),
    [
        ({"before": 5, "after": 7, "changed": True}, 0, {"version": 7, "last_contract": 7}),
        # It failed half-way: migration 6 is in, contract migration 7 is not.
        ({"failed": True, "msg": "7 broke", "before": 5, "after": 6}, 2, {"version": 6, "last_contract": 2}),
        # It failed after the contract migration: the way back is shut, and the edges know.
        ({"failed": True, "msg": "late", "before": 5, "after": 7}, 2, {"version": 7, "last_contract": 7}),
        # The database does not answer any more: the upper bound stays.
        ({"failed": True, "msg": "no answer"}, 2, None),
    ],
    ids=["applied", "half", "late", "no answer"],
)
def test_the_edges_hear_the_bound_before_and_the_truth_after(
    tmp_path: Path, up: dict[str, Any], code: int, record: dict[str, int] | None
) -> None:
    answers = {"migrate": {"before": 5}, "schema": PLAN, "migrate_up": up}
    returned, heard, said = told(tmp_path, answers)
    assert returned == code, said
    assert heard == [PLANNED, PLANNED, {"applied": True}, *([record, record] if record else [])], said
    assert up.get("msg", "") in said


def test_an_edge_that_cannot_be_told_stops_it_before_anything_is_applied(tmp_path: Path) -> None:
    answers = {
        "migrate": {"before": 5},
        "schema": PLAN,
        "edge": {"failed": True, "msg": "the lock"},
    }
    returned, heard, said = told(tmp_path, answers)
    assert returned == 2, said
    assert {"applied": True} not in heard


def test_without_anything_pending_only_the_truth_is_told(tmp_path: Path) -> None:
    plan = {**PLAN, "pending": [], "version": 5, "last_contract": 2}
    returned, heard, said = told(tmp_path, {"migrate": {"before": 5}, "schema": plan})
    assert returned == 0, said
    assert heard == [{"version": 5, "last_contract": 2}] * 2
