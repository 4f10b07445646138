"""The role in a real ansible-playbook at -vvv: vaulted values arrive, and no secret is ever shown."""

import getpass
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from turnout.release.publish import publish
from turnout.release.store import FolderStore

ROOT = Path(__file__).resolve().parents[3]
SECRETS = {"plain": "plain-s3cr3t $x\"'", "vaulted": "vaulted-s3cr3t", "s3": "s3-s3cr3t", "smoke": "smoke-s3cr3t"}
BIN = Path(sys.executable).parent

PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: turnout.ops.release, tasks_from: resolve}
      vars: {release_version: "{{ wanted }}"}
    - ansible.builtin.copy:
        content: "{{ {'service': release_service, 'manifest': release_manifest, 'id': release_id} | to_json }}"
        dest: "{{ inventory_dir | default(hostvars['app1'].inventory_dir) }}/found.json"
        mode: "0600"
- hosts: app1
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: turnout.ops.release, tasks_from: resolve}
      vars: {release_version: "{{ wanted }}"}
    - turnout.ops.slot:
        state: laid
        root: "{{ inventory_dir }}/root"
        service: shop
        run: r1
        fence: 1
        release_id: "{{ release_id }}"
        src: "{{ release_artifact }}"
        sha256: "{{ release_manifest.artifact.sha256 }}"
        manifest: "{{ release_manifest }}"
    - turnout.ops.slot:
        state: active
        root: "{{ inventory_dir }}/root"
        service: shop
        run: r1
        fence: 1
        user: "{{ user }}"
        color: green
        release_id: "{{ release_id }}"
        environment: "{{ service | turnout.ops.env_text('green', release_manifest.version) }}"
        migrate_environment: "{{ service | turnout.ops.migrate_env_text('green', release_manifest.version) }}"
"""


class Project:
    """An inventory with one host, which is this machine."""

    def __init__(self, folder: Path, built: Any, keys: Any) -> None:
        self.folder = folder
        publish(built.manifest_path, FolderStore(folder / "store"))
        (folder / "password").write_text("vault password")
        (folder / "ansible.cfg").touch()
        (folder / "play.yml").write_text(PLAY)
        shutil.copytree(
            ROOT / "roles/service_host/files/turnout_host", folder / "root/usr/local/lib/turnout-host/turnout_host"
        )
        self.groups: dict[str, Any] = {name: {"hosts": {"app1": {}}} for name in ("edge", "api", "worker")}
        self.service: dict[str, Any] = {
            "name": "shop",
            "releases": {
                "source": str(folder / "store"),
                "allowed_signers": str(keys.allowed),
                "s3": {"access_key": "8", "secret_key": SECRETS["s3"]},
            },
            "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
            "migrate": {"up": "bin/up", "version": "bin/version", "environment": {"MIGRATE": SECRETS["plain"]}},
            "environment": {"DATABASE_URL": "{{ vaulted }}", "PLAIN": SECRETS["plain"], "HOUR": "8", "FLAG": "true"},
            "smoke": [{"path": "/", "headers": {"X-Key": SECRETS["smoke"]}}],
        }

    def run(self) -> tuple[int, str]:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "password"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_LOG_PATH": str(self.folder / "log"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }
        vaulted = subprocess.run(
            [BIN / "ansible-vault", "encrypt_string", "--stdin-name", "vaulted"],
            input=SECRETS["vaulted"], capture_output=True, text=True, check=True, env=environment,
        ).stdout  # fmt: skip
        local = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_host": "10.0.0.1",
        }
        inventory = {"all": {"vars": local, "children": self.groups}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
        variables = self.folder / "group_vars/all"
        variables.mkdir(parents=True, exist_ok=True)
        (variables / "service.yml").write_text(yaml.safe_dump({"service": self.service}))
        (variables / "vault.yml").write_text(vaulted)
        command = [BIN / "ansible-playbook", "-vvv", "--diff", "-i", self.folder / "hosts.yml",
                   self.folder / "play.yml", "-e", "wanted=1.1.0", "-e", f"user={getpass.getuser()}"]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        output = result.stdout + result.stderr + (self.folder / "log").read_text()
        for name, secret in SECRETS.items():
            assert "s3cr3t" not in output, (
                f"{name} {secret!r} is shown: {output[output.index('s3cr3t') - 500 :][:1000]}"
            )
        return result.returncode, output


@pytest.fixture
def project(tmp_path, built, keys) -> Project:
    return Project(tmp_path, built, keys)


def test_a_release_is_resolved_laid_and_activated_without_showing_a_secret(project, built):
    code, output = project.run()
    assert code == 0, output
    found = json.loads((project.folder / "found.json").read_text())
    assert found["manifest"] == built.manifest.as_dict()
    assert found["id"] == built.manifest.release_id
    assert found["service"]["api"]["ports"] == {"blue": 8001, "green": 8002}
    assert found["service"]["environment"] == ["DATABASE_URL", "FLAG", "HOUR", "PLAIN"]
    text = (project.folder / "root/etc/shop/green.env").read_text()
    assert 'DATABASE_URL="vaulted-s3cr3t"\n' in text
    assert 'PLAIN="plain-s3cr3t \\$x\\"\'"\n' in text
    assert 'HOUR="8"\n' in text
    assert 'FLAG="true"\n' in text
    assert 'MIGRATE="plain-s3cr3t' in (project.folder / "root/etc/shop/green.migrate.env").read_text()


def test_faults_of_service_and_inventory_come_in_one_table_without_secrets(project):
    del project.groups["edge"]
    project.service["api"]["ports"]["green"] = 8001
    project.service["environment"]["BROKEN"] = SECRETS["plain"] + "\nsecond line"
    project.service["enviroment"] = {"X": SECRETS["plain"]}
    code, output = project.run()
    assert code != 0
    for place in ("groups.edge", "service.api.ports.green", "service.environment.BROKEN", "service.enviroment"):
        assert place in output


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda project: project.service["environment"].pop("DATABASE_URL"), "release-unfit"),
        (lambda project: project.service["releases"].update(source=SECRETS["plain"]), "service-invalid"),
    ],
)
def test_a_release_that_cannot_be_had_fails_with_its_code_and_no_secret(project, spoil, code):
    spoil(project)
    status, output = project.run()
    assert status != 0
    assert code in output
