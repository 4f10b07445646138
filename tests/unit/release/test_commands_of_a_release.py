"""The role runs the commands of one moment on their hosts in order, and takes a failure as the moment wants it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
STUB = '''#!/usr/bin/python
import json, os, sys
given = json.loads(r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>""")
with open(os.environ["STORY"], "a") as story:
    story.write(json.dumps({k: v for k, v in given.items() if not k.startswith("_ansible_")} | {"_": "NAME"}) + "\\n")
answer = {"changed": False, "told": [], "seconds": 1.5}
if given.get("name") == "bad":
    answer = {"changed": True, "told": ["bad broke"]} if given["may_fail"] else {"failed": True, "msg": "bad broke"}
print(json.dumps(answer))
sys.exit(1 if answer.get("failed") else 0)
'''
PLAY = """
- hosts: edge:api:worker
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.include_role: {{name: turnout.ops.release, tasks_from: commands}}
      vars: {variables}
    - ansible.builtin.debug: {{msg: "failed: {{{{ release_commands_failed | default([]) }}}}"}}
"""


def command(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "run": f"bin/{name} ${{PORT}}", "undo": None, "when": "before_start", "hosts": "one",
        "timeout_s": 5, "may_fail": False, **more,
    }  # fmt: skip


def ran(folder: Path, when: str, *commands: dict[str, Any]) -> tuple[int, list[dict[str, Any]], str]:
    """Run the role for a moment; return exit code, what modules were told, and the output."""
    collection = folder / "collections/ansible_collections/turnout/ops"
    (collection / "plugins/modules").mkdir(parents=True)
    for path in ("roles", "meta", "galaxy.yml"):
        (collection / path).symlink_to(ROOT / path)
    for path in (ROOT / "plugins").iterdir():
        if path.name not in ("modules", "action", "callback"):
            (collection / "plugins" / path.name).symlink_to(path)
    for name in ("step", "edge"):
        (collection / f"plugins/modules/{name}.py").write_text(STUB.replace("NAME", name))
    variables = {
        "release_service": {"name": "shop", "commands": list(commands)}, "release_id": "1.1.0-aa",
        "release_color": "green", "release_when": when, "release_resume": True,
    }  # fmt: skip
    (folder / "play.yml").write_text(PLAY.format(variables=json.dumps(variables)))
    (folder / "hosts").write_text(
        "[edge]\nedge1\n[api]\napp1\napp2\n[worker]\napp2\napp3\n[all:vars]\nansible_connection=local\n"
        "ansible_python_interpreter={{ ansible_playbook_python }}\nrun_id=R\nrun_fence=7\nrun_actor=anna\n"
    )
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "STORY": str(folder / "story"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"), "ANSIBLE_LOCALHOST_WARNING": "false",
    }  # fmt: skip
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts"), str(folder / "play.yml")],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    story = [json.loads(line) for line in (folder / "story").read_text().splitlines()]
    return done.returncode, story, done.stdout + done.stderr


def test_each_command_ends_on_all_its_hosts_before_the_next_one_begins(tmp_path: Path) -> None:
    asked = [command("one", undo="bin/back"), command("later", when="before_traffic"), command("all", hosts="every")]
    code, story, out = ran(tmp_path, "before_start", *asked)
    assert code == 0, out
    steps = [one for one in story if one["_"] == "step"]
    assert [one["name"] for one in steps] == ["one", "all", "all", "all"]
    assert steps[0]["host"] == "app1"
    assert {one["host"] for one in steps[1:]} == {"app1", "app2", "app3"}
    assert (steps[0]["words"], steps[0]["undo"], steps[1]["undo"]) == (["bin/one", "${PORT}"], ["bin/back"], [])
    assert (steps[0]["fence"], steps[0]["resume"], steps[0]["may_fail"]) == (7, True, False)
    journal = [(one["event"], one["data"]) for one in story if one["_"] == "edge"]
    assert [event for event, _ in journal] == ["intent", "note", "intent", "note"]
    assert journal[0][1] == {"name": "one", "when": "before_start", "release": "1.1.0-aa"}
    assert journal[3][1] == {"name": "all", "seconds": {"app1": 1.5, "app2": 1.5, "app3": 1.5}}


def test_one_that_fails_before_traffic_ends_the_run_and_one_that_may_does_not(tmp_path: Path) -> None:
    code, story, out = ran(tmp_path, "before_start", command("bad"), command("next"))
    assert code != 0, out
    assert [one["name"] for one in story if one["_"] == "step"] == ["bad"]
    other = tmp_path / "other"
    other.mkdir()
    code, story, out = ran(other, "before_start", command("bad", may_fail=True), command("next"))
    assert code == 0, out
    assert [one["name"] for one in story if one["_"] == "step"] == ["bad", "next"]
    assert "bad broke" in out
    assert out.count("failed: []") == 4
    assert next(one for one in story if one.get("event") == "note")["data"]["seconds"] == {"app1": "failed"}


def test_one_that_fails_after_the_promotion_is_kept_for_the_end(tmp_path: Path) -> None:
    after = [command("bad", when="after_promotion"), command("next", when="after_promotion")]
    code, story, out = ran(tmp_path, "after_promotion", *after)
    assert code == 0, out
    assert [one["name"] for one in story if one["_"] == "step"] == ["bad", "next"]
    assert "failed: ['bad broke']" in out
