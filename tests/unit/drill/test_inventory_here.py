"""A command without --inventory takes the inventory that Ansible would take, and says so where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from turnout.drill.cli import drill
from turnout.errors import TurnoutError
from turnout.inventory_here import inventory_here


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    return tmp_path


def test_it_is_the_one_of_the_configuration_here(here: Path) -> None:
    (here / "ansible.cfg").write_text("[defaults]\ninventory = environments/live, more\n")
    assert inventory_here() == Path("environments/live")


def test_it_is_the_one_of_the_configuration_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "other").mkdir()
    (here / "other" / "ansible.cfg").write_text("[defaults]\ninventory = live\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(here / "other" / "ansible.cfg"))
    assert inventory_here() == here / "other" / "live"


def test_the_environment_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "ansible.cfg").write_text("[defaults]\ninventory = environments/live\n")
    monkeypatch.setenv("ANSIBLE_INVENTORY", "/srv/inventory")
    assert inventory_here() == Path("/srv/inventory")


@pytest.mark.parametrize("config", [None, "", "[defaults]\nforks = 1\n", "no section\n"])
def test_without_one_the_way_out_is_told(here: Path, config: str | None) -> None:
    if config is not None:
        (here / "ansible.cfg").write_text(config)
    with pytest.raises(TurnoutError, match="no inventory was named") as told:
        inventory_here()
    assert "-i inventories/NAME" in told.value.remedy


def test_the_commands_of_drills_use_it(here: Path) -> None:
    targets = here / "live" / "group_vars" / "all"
    targets.mkdir(parents=True)
    (targets / "recovery.yml").write_text(
        "recovery: {rpo_s: 60, rto_s: 600, max_age_s: 172800, detect_s: 60, decide_s: 300}\n"
    )
    (here / "ansible.cfg").write_text("[defaults]\ninventory = live\n")
    done = CliRunner().invoke(drill, ["metrics", "none.jsonl"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "turnout_" in done.output
    assert "ansible.cfg" in CliRunner().invoke(drill, ["report", "--help"]).output
