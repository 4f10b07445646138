"""A repository on a host of one's own, over TLS: archived to, backed up to, restored from; strangers are not let in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import ROOT, Turnout

HAND = "/var/lib/postgresql/from-repository-host"


@pytest.fixture(scope="module")
def beside(turnout: Turnout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the lab a second repository, on store1; the file has its settings. Afterwards it has the first alone."""
    turnout.ensure("1.0.0")
    settings = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/backup.yml").read_text())
    settings["backup_repositories"].append(
        {
            "host": "store1",
            "options": {"path": "/var/lib/pgbackrest", "cipher-type": "aes-256-cbc", "cipher-pass": "of-the-test"},
            "retention": {"full": 1},
        }
    )
    place = "{{ lab_state_dir }}/backup-tls"
    settings["backup_tls"] = {"ca_file": f"{place}/ca.crt"} | {
        host: {"cert_file": f"{place}/{host}.crt", "key_file": f"{place}/{host}.key"} for host in ("data1", "store1")
    }
    file = tmp_path_factory.mktemp("tls") / "backup.json"
    file.write_text(json.dumps(settings))
    run = turnout.playbook("site", "--tags", "backup", "-e", f"@{file}")
    assert run.rc == 0, run.tail
    yield file
    run = turnout.playbook("site", "--tags", "backup")
    assert run.rc == 0, run.tail
    turnout.ssh("store1", "systemctl stop pgbackrest; rm -rf /var/lib/pgbackrest/archive /var/lib/pgbackrest/backup")


def pgbackrest(turnout: Turnout, host: str, words: str, *, check: bool = True) -> str:
    return turnout.ssh(host, f"cd / && sudo -u postgres pgbackrest --stanza=sample {words}", check=check, timeout_s=180)


def test_a_backup_on_the_repository_host_is_whole_and_can_be_restored(turnout: Turnout, beside: Path) -> None:
    run = turnout.playbook("backup", "-e", "type=full", "-e", "repository=2", "-e", f"@{beside}")
    assert run.rc == 0, run.tail
    # `check` archives a segment into every repository and waits for it.
    pgbackrest(turnout, "data1", "check")
    info = json.loads(pgbackrest(turnout, "data1", "--output=json --repo=2 info"))
    assert len(info[0]["backup"]) == 1
    assert not info[0]["backup"][0]["error"]
    pgbackrest(turnout, "data1", f"--repo=2 --pg1-path={HAND} --archive-mode=off restore")
    assert turnout.ssh("data1", f"cat {HAND}/PG_VERSION").strip() == "17"
    turnout.ssh("data1", f"rm -rf {HAND}")


def test_nobody_without_a_certificate_reaches_the_repository(turnout: Turnout, beside: Path) -> None:
    assert beside.exists()
    reach = "--repo1-host=store1 --repo1-host-type=tls --repo1-host-port=8432 --repo1-path=/var/lib/pgbackrest"
    said = turnout.ssh(
        "mon1", f"cd / && sudo -u postgres pgbackrest --config=/dev/null --stanza=sample {reach} repo-ls 2>&1; true"
    )
    assert "backup" not in said.split(), said
    assert "ERROR" in said, said


def test_a_second_run_changes_nothing(turnout: Turnout, beside: Path) -> None:
    run = turnout.playbook(
        "site", "--tags", "backup", "-e", f"@{beside}", env={"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    )
    assert run.rc == 0, run.tail
    assert "changed=0" in run.out
    assert "changed=1" not in run.out, run.tail
