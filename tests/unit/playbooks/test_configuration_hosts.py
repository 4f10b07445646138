"""What is in service beside what the service file asks for, on hosts that are this machine: real role, real `slot`.

Each host is a folder, as in test_rollback_hosts; `turnout-edge` is a file.
"""

from __future__ import annotations

import base64
import copy
import getpass
import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_rollback_hosts import EDGE, ROOT, Hosts
from turnout import service as services

SECRET = "hunter2-that-nobody-may-see"
RELEASE_ID = "1.0.0-bbbbbbbbbbbb"
SERVICE: dict[str, Any] = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "/etc/signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}, "health": {"headers": {"X-Key": SECRET}}},
    "environment": {"PASSWORD": SECRET, "LEVEL": "info", "HOST": "{{ inventory_hostname }}"},
}
MANIFEST = {
    "manifest": 1,
    "name": "shop",
    "version": "1.0.0",
    "commit": "a" * 40,
    "built_at": "2026-01-02T03:04:05Z",
    "artifact": {"kind": "tarball", "file": "shop-1.0.0.tar.zst", "sha256": "b" * 64, "bytes": 1, "unpacked_bytes": 1},
    "environment": [],
    "schema": {"min": 0, "max": 0},
    "migrations": [],
}
PLAY = """
- name: Deploy | 1/1 | look
  hosts: edge:api:worker
  gather_facts: false
  vars:
    run_id: r1
    preflight_manifest: {manifest}
    preflight_release_id: {release_id}
    preflight_service: {public}
    preflight_key_file: "{folder}/{{{{ inventory_hostname }}}}/configuration.key"
  tasks:
    - ansible.builtin.import_role: {{name: turnout.ops.preflight}}
    - ansible.builtin.debug: {{msg: "SAID {{{{ preflight_decision | to_json }}}}"}}
      run_once: true
    - turnout.ops.slot: &active
        state: active
        service: shop
        run: r1
        fence: 1
        user: {user}
        color: blue
        release_id: {release_id}
        environment: "{{{{ service | turnout.ops.env_text('blue', '1.0.0', inventory_dir) }}}}"
        configuration: "{{{{ service | turnout.ops.configuration(inventory_dir) }}}}"
        configuration_id: "{{{{ preflight_decision.configuration }}}}"
      when: lays is defined and inventory_hostname not in groups['edge']
"""


class Released(Hosts):
    """The hosts, with 1.0.0 laid in blue on each, and in service."""

    limit_s = 400.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        modules = self.collection / "plugins/modules"
        slot = (ROOT / "plugins/modules/slot.py").read_text()
        (modules / "slot.py").unlink()
        here = slot.replace(
            '"root": {"type": "path", "default": "/"}', '"root": {"type": "path", "default": os.environ["HOST"]}'
        )
        (modules / "slot.py").write_text(here.replace("import errno\n", "import errno\nimport os\n"))
        shown = {
            "stable": "blue", "previous": None, "candidate": None, "share_bp": 0, "agree": True, "unfinished": [],
            "live": {"reachable": True, "error": None}, "schema": None, "ok": True, "changed": False,
            "releases": {"blue": {"release": "1.0.0", "release_id": RELEASE_ID, "sha256": "b" * 64}, "green": None},
        }  # fmt: skip
        (modules / "edge.py").write_text(
            EDGE.replace("print(json", f"result |= json.loads({json.dumps(json.dumps(shown))})\nprint(json")
        )
        public = services.load(SERVICE, base_dir=folder).public()
        play = PLAY.format(
            user=getpass.getuser(),
            manifest=json.dumps(MANIFEST),
            release_id=RELEASE_ID,
            public=json.dumps(public),
            folder=folder,
        )
        (folder / "run.yml").write_text(play)
        for name in ("app1", "app2"):
            laid = folder / name / "opt/shop/releases" / RELEASE_ID
            laid.mkdir(parents=True)
            (laid / ".turnout-complete").write_text(json.dumps({"release_id": RELEASE_ID, "manifest": MANIFEST}))

    def look(self, *words: str, **changes: Any) -> dict[str, Any]:
        """Return the preflight's decision for the service file with these changes."""
        service = copy.deepcopy(SERVICE)
        for part, change in changes.items():
            service[part] = {**service[part], **change}
        said = self.rollback("-e", json.dumps({"service": service}), *words)
        for secret in (SECRET, *self.keys(), *(base64.b64encode(key.encode()).decode() for key in self.keys())):
            assert secret not in said, "a secret is shown"
        found = re.search(r"SAID (\{.*\})", said.replace('\\"', '"'))
        assert found, said[-4000:]
        return dict(json.loads(found[1]))

    def keys(self) -> set[str]:
        return {path.read_text() for path in self.folder.glob("edge*/configuration.key")}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Lay 1.0.0 with its configuration."""
    hosts = Released(tmp_path_factory.mktemp("hosts"))
    hosts.look("-e", "lays=true")
    return hosts


def test_what_stands_as_the_service_file_has_it_is_in_service_already(hosts: Released) -> None:
    found = hosts.look()
    assert (found["already"], found["differs"]) == (True, [])
    (key,) = hosts.keys()  # one for all edges, for root only
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert {path.stat().st_mode & 0o777 for path in hosts.folder.glob("edge*/configuration.key")} == {0o600}


def test_a_change_is_told_by_name_and_gets_a_name_that_stays(hosts: Released) -> None:
    old = hosts.look()["configuration"]
    changes = {"environment": {"PASSWORD": f"{SECRET}-2", "NEW": "1"}, "api": {"drain_s": 31}}
    found = hosts.look("-vvv", **changes)
    assert (found["already"], found["candidate"]) == (False, "green")
    assert found["differs"] == ["api.drain_s", "environment.NEW", "environment.PASSWORD"]
    assert found["configuration"] != old and found["named"] == f"1.0.0 with configuration {found['configuration']}"
    assert hosts.look(**changes)["configuration"] == found["configuration"]


def test_an_edge_that_joins_gets_the_key_of_the_others(hosts: Released) -> None:
    (key,) = hosts.keys()
    (hosts.folder / "edge1/configuration.key").write_text("no key")  # the first of the group
    assert hosts.look()["already"]
    assert hosts.keys() == {key}


def test_a_variable_that_was_changed_by_hand_on_one_host_is_seen(hosts: Released) -> None:
    path = hosts.folder / "app2/etc/shop/blue.env"
    laid = path.read_text()
    path.write_text(laid.replace('LEVEL="info"', 'LEVEL="debug"'))
    try:
        assert hosts.look()["differs"] == ["environment.LEVEL"]
    finally:
        path.write_text(laid)


def test_a_first_look_with_check_names_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    hosts = Released(tmp_path)
    found = hosts.look("--check")
    assert (found["configuration"], found["named"]) == ("", "1.0.0")
    assert hosts.keys() == set()
