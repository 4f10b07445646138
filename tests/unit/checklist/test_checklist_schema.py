"""The JSON Schema of the checklist and the table of its keys in the docs: both come from the declaration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from checklist_bed import read
from jsonschema import Draft202012Validator
from turnout.checklist.config import Checklist
from turnout.faults import FaultsError
from turnout.key_docs import begin, rows, schema, table

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs/checklist.md"
SCHEMA = schema(Checklist, "checklist")
FILES = sorted(PROJECT.glob("inventories/*/group_vars/all/checklist.yml"))


def wrong(checklist: Any) -> list[str]:
    return [error.json_path for error in Draft202012Validator(SCHEMA).iter_errors({"checklist": checklist})]


def test_it_is_a_schema_and_takes_the_files_as_they_are_written() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert FILES
    for file in FILES:
        assert wrong(yaml.safe_load(file.read_text())["checklist"]) == []


def test_it_takes_the_example_of_the_docs() -> None:
    assert wrong(yaml.safe_load(PAGE.read_text().partition("```yaml\n")[2].partition("```")[0])["checklist"]) == []


@pytest.mark.parametrize(
    "value",
    [
        {"hosts": {"disk_free_percent": 200}},
        {"host": {}},
        {"limits": {"disks": 3}},
        {"limits": {"disk": "x"}},
        {"queues": [{"name": "jobs", "layout": "kafka"}]},
        {"queues": [{"name": "j", "layout": "prometheus", "queries": {}}]},
        {"outgoing": [{"name": "push", "url": "ftp://x"}]},
        {"s3": {}},
        {"forge": {"kind": "gitlab", "repository": "a/b"}},
        {"redis": {"evictions": "no"}},
        {"waivers": [{"check": "disk"}]},
        {"freeze": [{"name": "weekend", "zone": "Europe/Berlin", "to": "mon 08:00"}]},
        {"waivers": {"check": "disk"}},
    ],
)
def test_it_refuses_what_the_loader_refuses_by_its_shape(value: dict[str, Any]) -> None:
    with pytest.raises(FaultsError):
        read(value)
    assert wrong(value)


def test_the_docs_have_the_table_that_the_command_writes() -> None:
    assert f"{begin('checklist')}\n{table(Checklist)}\n" in PAGE.read_text(), (
        f"run: turnout schema checklist --into {PAGE}"
    )


def test_every_key_has_a_meaning() -> None:
    assert [path for path, _, means in rows(Checklist) if not means] == []
