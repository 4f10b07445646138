"""A fault in the service file is told with the file and the line that it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from turnout.faults import FaultsError
from turnout.service import load

TEXT = """---
# A comment.
service:
  name: Shop
  releases:
    source: /srv/releases
    allowed_signers: signers
  api:
    command: bin/api
    ports:
      blue: 8001
      green: 8001
  smoke:
    - path: /up
    - {path: up}
  environment: {A: "1", b-c: "2"}
"""


def places(inventory: Path, text: str = TEXT) -> dict[str, str]:
    with pytest.raises(FaultsError) as caught:
        load(yaml.safe_load(text)["service"], base_dir=inventory)
    return {fault.path: fault.place for fault in caught.value.faults}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    folder = tmp_path / "group_vars/all"
    folder.mkdir(parents=True)
    (folder / "service.yml").write_text(TEXT)
    (folder / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    (folder / "other.yml").write_text("other: {service: 1}\n")
    return tmp_path


def test_every_fault_has_its_line(inventory: Path) -> None:
    file = "group_vars/all/service.yml"
    assert places(inventory) == {
        "service.name": f"{file}:4",
        "service.api.ports.green": f"{file}:12",
        "service.smoke[1].path": f"{file}:15",
        "service.environment.b-c": f"{file}:16",
    }


def test_a_key_that_is_missing_has_the_line_of_what_should_hold_it(inventory: Path) -> None:
    (inventory / "group_vars/all/service.yml").write_text(text := TEXT.replace("    command: bin/api\n", ""))
    assert places(inventory, text)["service.api.command"] == "group_vars/all/service.yml:8"


def test_the_table_shows_it(inventory: Path) -> None:
    with pytest.raises(FaultsError) as caught:
        load(yaml.safe_load(TEXT)["service"], base_dir=inventory)
    assert "service.name" in str(caught.value)
    assert "service.yml:4" in str(caught.value).replace("\n", "")
    assert caught.value.faults[0].as_dict()["place"] == "group_vars/all/service.yml:4"


def test_one_file_for_all_hosts_works_too(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(TEXT)
    assert places(tmp_path)["service.name"] == "group_vars/all.yml:4"


@pytest.mark.parametrize("other", [TEXT, None])
def test_no_line_is_better_than_a_wrong_one(inventory: Path, other: str | None) -> None:
    if other is None:
        (inventory / "group_vars/all/service.yml").write_text("service: [not closed\n")
    else:
        (inventory / "group_vars/all/zz.yml").write_text(other)
    assert set(places(inventory).values()) == {""}
