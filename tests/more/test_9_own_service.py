"""A service that shares nothing with the sample, by docs/bring-your-own-service.md: one edge, one host, nothing else.

Its inventory has the groups `edge` and `api` alone. Two of the lab's hosts that the sample does not use for these stand
for it, under its own inventory, and are cleared afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import BIN, PLAYBOOK_LIMIT_S, ROOT, Load, Turnout

TINY = ROOT / "examples" / "tiny_service"
EDGE, API = "store1", "mon1"


class Own:
    """A team's own folder: an inventory, a key, releases; and what it types."""

    def __init__(self, turnout: Turnout, folder: Path) -> None:
        self.turnout, self.inventory = turnout, folder / "inventory"
        self.key, self.store = folder / "release.key", folder / "store"
        variables = self.inventory / "group_vars" / "all"
        variables.mkdir(parents=True)
        lab = turnout.lab
        (self.inventory / "hosts.yml").write_text(
            yaml.safe_dump(
                {
                    "all": {
                        "vars": {
                            "ansible_user": "root",
                            "ansible_ssh_private_key_file": str(lab.private_key),
                            "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes",
                        },
                        "children": {
                            "edge": {"hosts": {EDGE: {"ansible_host": turnout.address(EDGE)}}},
                            "api": {"hosts": {API: {"ansible_host": turnout.address(API)}}},
                        },
                    }
                }
            )
        )
        shutil.copy(TINY / "service.yml", variables / "service.yml")
        own = {
            "tiny_release_source": str(self.store), "tiny_allowed_signers": "allowed_signers", "tiny_greeting": "hello",
        }  # fmt: skip
        (variables / "own.yml").write_text(yaml.safe_dump(own))
        self.says(
            "turnout", "release", "keygen", "--key", str(self.key), "--principal", "ci@example.org",
            "--allowed-signers", str(self.inventory / "allowed_signers"),
        )  # fmt: skip

    def says(self, program: str, *words: str, good: bool = True) -> str:
        """Type a command; return what it printed."""
        done = subprocess.run(
            [str(BIN / program), *words], cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=PLAYBOOK_LIMIT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out = done.stdout + done.stderr
        assert (done.returncode == 0) is good, out[-4000:]
        assert "Traceback" not in out
        return out

    def playbook(self, name: str, *words: str, good: bool = True) -> str:
        """Run a playbook on this inventory."""
        return self.says("ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}.yml", *words, good=good)

    def publish(self, version: str) -> None:
        """Build a release of the tiny service as the documentation says, and publish it."""
        folder = self.inventory.parent / version
        folder.mkdir()
        shutil.copy(TINY / "serve", folder)
        as_someone = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
        as_someone |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", version]):
            subprocess.run(["git", "-C", str(folder), *words], check=True, env=as_someone)
        built = self.inventory.parent / "build"
        self.says(
            "turnout", "release", "build", str(folder), "--name", "tiny", "--version", version, "--key", str(self.key),
            "--out", str(built),
        )  # fmt: skip
        self.says("turnout", "release", "publish", str(built / f"tiny-{version}.release.yml"), "--to", str(self.store))

    def serves(self) -> str:
        """Return the version that answers a user."""
        with urllib.request.urlopen(f"http://{self.turnout.address(EDGE)}/greet", timeout=10) as answer:
            assert answer.read() == b"hello\n"
            return str(answer.headers["X-Release"])


@pytest.fixture
def own(turnout: Turnout, tmp_path: Path) -> Iterator[Own]:
    """Return a team's folder; the two hosts are cleared of its service afterwards."""
    yield Own(turnout, tmp_path)
    turnout.ssh(EDGE, "systemctl disable --now haproxy turnout-edge-watch; rm -rf /etc/turnout /var/lib/turnout")
    turnout.ssh(API, "systemctl stop 'tiny-*'; rm -rf /opt/tiny /etc/tiny /etc/systemd/system/tiny-*", check=False)


def test_a_service_of_ones_own_is_released_over_and_taken_back(own: Own) -> None:
    own.playbook("site")
    own.publish("1.0.0")
    own.publish("1.1.0")
    own.playbook("deploy", "-e", "release=1.0.0")
    assert own.serves() == "1.0.0"
    load = Load(own.turnout, 15, 120, {"mix": "get:/greet=3,get:/up=1", "authorization": "plain"}, edges=(EDGE,))
    try:
        own.playbook("deploy", "-e", "release=1.1.0")
        assert own.serves() == "1.1.0"
        own.playbook("rollback")
        assert own.serves() == "1.0.0"
    finally:
        load.stop()
    report = load.report
    assert report["failed"] == 0, report["failures"]
    assert set(report["releases"]) == {"1.0.0", "1.1.0"}
    assert "in service already" in own.playbook("deploy", "-e", "release=1.0.0")
    status = json.loads(own.playbook("status", "-e", "format=json"))
    assert status["releases"][status["stable"]]["release"] == "1.0.0"
    assert "release-unknown" in own.playbook("deploy", "-e", "release=9.9.9", good=False)
    assert not [line for line in own.playbook("site").splitlines() if line.rstrip().endswith("changed")]
