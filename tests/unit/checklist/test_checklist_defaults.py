"""What the role checks without any word of the inventory: a team that writes no `checklist` is no error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEFAULTS = Path(__file__).parents[3] / "roles" / "checklist" / "defaults" / "main.yml"
USERS = {"service": {"user": "service"}, "checklist": {"user": "checklist"}}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"checklist": {"limit_s": 3}}, {"limit_s": 3}),
        ({"checklist": {"prometheus": {}}}, {"prometheus": {"url": "http://127.0.0.1:9090"}}),
        ({"checklist": {"prometheus": {"url": "http://p"}}}, {"prometheus": {"url": "http://p"}}),
    ],
)
def test_the_configuration_is_what_was_written_and_no_more(
    tmp_path: Path, variables: dict[str, Any], expected: dict[str, Any]
) -> None:
    out, play = tmp_path / "said.json", tmp_path / "play.yml"
    copy = {"content": "{{ checklist_config | to_json }}", "dest": str(out), "mode": "0600"}
    known = {"redis_logins": USERS, "service": {"name": "shop"}, **variables}
    one = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(DEFAULTS)], "vars": known}
    play.write_text(yaml.safe_dump([{**one, "tasks": [{"ansible.builtin.copy": copy}]}]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", str(play)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text()) == expected
