"""Environment values are texts: what YAML has read as something else is refused, with the line that it stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from service_examples import full
from turnout.faults import Fault, FaultsError
from turnout.service import as_json, load, read_json

WRITTEN = ["012345", "22:30", "1.10", "NO", "0022", "8", "yes", "1.0e+3", "0x1F", "2026-01-02", ".inf", "1_000"]
WRITTEN += ["2026-01-02 03:04:05", "12:30:45.5", "true", "+1", "0b11"]


def faults(value: Any, inventory: Path) -> list[Fault]:
    """Return what is wrong with a service that came through a task, as one JSON text."""
    try:
        load(read_json(as_json(value)), base_dir=inventory)
    except FaultsError as error:
        return list(error.faults)
    return []


@pytest.mark.parametrize("part", ["environment", "migrate.environment", "releases.http.headers"])
@pytest.mark.parametrize("written", WRITTEN)
def test_what_yaml_has_changed_is_refused(part: str, written: str, tmp_path: Path) -> None:
    value = full()
    place = value
    for name in part.split("."):
        place = place.setdefault(name, {})
    place["PIN"] = yaml.safe_load(written)
    assert not isinstance(place["PIN"], str), "PyYAML reads it as a text, and so does Ansible"
    (fault,) = faults(value, tmp_path)
    assert fault.path == f"service.{part}.PIN"
    assert fault.expected == "a text"
    assert "write it in quotes" in fault.remedy
    assert str(place["PIN"]) not in fault.observed


@pytest.mark.parametrize("written", [*WRITTEN, "", "null", "~", "plain"])
def test_in_quotes_it_reaches_the_process_as_it_was_written(written: str, tmp_path: Path) -> None:
    value = full()
    value["environment"]["PIN"] = yaml.safe_load(f'"{written}"')
    assert load(read_json(as_json(value)), base_dir=tmp_path).environment["PIN"] == written


def test_the_line_is_told(tmp_path: Path) -> None:
    text = yaml.safe_dump({"service": full()}, sort_keys=False)
    text = text.replace("  environment:\n    DATABASE_URL", "  environment:\n    PIN: 012345\n    DATABASE_URL")
    folder = tmp_path / "group_vars/all"
    folder.mkdir(parents=True)
    (folder / "service.yml").write_text(text)
    (fault,) = faults(yaml.safe_load(text)["service"], tmp_path)
    line = text.splitlines().index("    PIN: 012345") + 1
    assert (fault.path, fault.place) == ("service.environment.PIN", f"group_vars/all/service.yml:{line}")
    assert fault.observed == "a whole number"


def test_a_value_that_is_declared_elsewhere_is_told_by_its_name(tmp_path: Path) -> None:
    value = full()
    value["environment"]["SINCE"] = yaml.safe_load("2026-01-02")
    (fault,) = faults(value, tmp_path)
    assert (fault.path, fault.observed, fault.place) == ("service.environment.SINCE", "a date", "")
