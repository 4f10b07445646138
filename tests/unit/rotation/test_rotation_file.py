"""The file of the logins is read and written by the playbook's own action, encrypted, and no password is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PASSWORD = "canary-of-the-old-login"
OLD = {"user": "shop_a", "password": PASSWORD}
ROTATED = {"rotated": {"database": OLD, "mail": {"user": "m", "password": "other"}}}
SERVICE = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    "environment": {"DATABASE_URL": "postgresql://{{ rotated.database.user }}:{{ rotated.database.password }}@db/shop"},
    "rotation": {"database": {"postgres": ["shop_a", "shop_b"], "environment": ["DATABASE_URL"]}},
}
OPTIONS = {"file": "{{ inventory_dir }}/group_vars/all/rotated.yml", "inventory_dir": "{{ inventory_dir }}"}
READ = {"state": "read", "service": "{{ service | turnout.ops.service_json }}", **OPTIONS}


def vault(folder: Path) -> VaultLib:
    return VaultLib([("default", VaultSecret((folder / "password").read_bytes()))])


def inventory(folder: Path, content: object, *, encrypted: bool = True) -> Path:
    """Write an inventory whose service reads the file, and the file; return the file."""
    (folder / "password").write_text("opens it")
    (folder / "signers").write_text("")
    variables = folder / "group_vars" / "all"
    variables.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text(
        yaml.safe_dump({"all": {"hosts": {"localhost": {"ansible_connection": "local"}}, "vars": {"service": SERVICE}}})
    )
    file = variables / "rotated.yml"
    text = yaml.safe_dump(content)
    file.write_bytes(vault(folder).encrypt(text) if encrypted else text.encode())
    return file


def played(folder: Path, *tasks: dict[str, Any], more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run tasks of the action; each result but one that is hidden goes to a file."""
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]
    (folder / "play.yml").write_text(json.dumps(play))
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_STDOUT_CALLBACK": "default"}
    return subprocess.run(
        [
            str(BIN / "ansible-playbook"), str(folder / "play.yml"), "-i", str(folder / "hosts.yml"), "-vvv",
            "--vault-password-file", str(folder / "password"), *more,
        ],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def action(**options: Any) -> dict[str, Any]:
    return {"turnout.ops.rotation": options, "register": "done"}


def opened(folder: Path, file: Path) -> Any:
    return yaml.safe_load(vault(folder).decrypt(file.read_bytes()))["rotated"]


def test_a_password_is_begun_and_adopted_and_never_shown(tmp_path: Path) -> None:
    file = inventory(tmp_path, ROTATED)
    done = played(tmp_path, action(**READ), action(state="begun", users={"database": "shop_b"}, **OPTIONS))
    assert done.returncode == 0, done.stdout
    assert file.read_text().startswith("$ANSIBLE_VAULT")
    begun = opened(tmp_path, file)
    following = begun["database"]["next"]
    assert (following["user"], len(following["password"])) == ("shop_b", 48)
    assert begun["database"]["password"] == PASSWORD
    assert begun["mail"] == ROTATED["rotated"]["mail"]
    trial = {
        **action(
            state="trials", service="{{ service | turnout.ops.service_json }}", credentials={"database": 1}, **OPTIONS
        ),
        "vars": {"rotated": "{{ found.trial }}"},
        "no_log": True,
    }
    secrets = {**action(state="secrets", credentials={"database": 1}, **OPTIONS), "no_log": True, "register": "found"}
    sees = {
        "ansible.builtin.assert": {
            "that": [
                "(done.probes | from_json)[0].arguments.address.user == 'shop_b'",
                "(done.probes | from_json)[0].arguments.address.password == found.secrets.database.next.password",
                "found.begun == ['database']",
            ]
        }
    }
    adopt = action(state="adopted", users={"database": "shop_b"}, **OPTIONS)
    done = played(tmp_path, secrets, trial, sees, adopt)
    assert done.returncode == 0, done.stdout
    assert opened(tmp_path, file)["database"] == {**following, "before": "shop_a"}
    for secret in (PASSWORD, following["password"]):
        assert secret not in done.stdout + done.stderr
    assert [path.name for path in file.parent.iterdir()] == ["rotated.yml"]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    file = inventory(tmp_path, ROTATED)
    before = file.read_bytes()
    done = played(tmp_path, action(state="begun", users={"database": "shop_b"}, **OPTIONS), more=("--check",))
    assert done.returncode == 0, done.stdout
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "encrypted", "words"),
    [
        (ROTATED, False, "ansible-vault encrypt"),
        ({"rotated": {"database": {**OLD, "next": {}}}}, True, ""),
        (
            {"rotated": {"database": {**OLD, "next": {"user": 3}}}},
            True,
            "not user and",
        ),
    ],
)
def test_a_file_that_is_no_file_of_logins_is_refused(
    tmp_path: Path, content: object, encrypted: bool, words: str
) -> None:
    inventory(tmp_path, content, encrypted=encrypted)
    done = played(tmp_path, action(**READ))
    assert (done.returncode != 0) == bool(words), done.stdout
    assert words in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
