"""docs/checklist.md tells the truth: its table is the catalogue, its example can be read and names every key."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import yaml
from checklist_bed import SERVICE, read
from turnout.checklist.catalog import CATALOG
from turnout.checklist.config import Checklist
from turnout.checklist.reference import table

PAGE = (Path(__file__).parents[3] / "docs/checklist.md").read_text()


def test_its_table_is_the_catalogue() -> None:
    assert table() in PAGE, "run: python -m turnout.checklist.reference"


def test_its_example_can_be_read_and_names_every_part() -> None:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    text = text.replace('"{{ recovery }}"', "{rpo_s: 300, rto_s: 3600, max_age_s: 172800}")
    value = yaml.safe_load(re.sub(r"\{\{ (\w+) \}\}", r"\1", text))["checklist"]
    config = read(value, {**SERVICE, "environment": {**SERVICE["environment"], "LOG_LEVEL": "info"}})
    assert config.limit_of("ci") == 20
    assert len(config.freeze) == 2
    named = {"environment_extra": "environment", "alert_severities": "alerts", "alert_ignore": "alerts"}
    assert {named.get(field.name, field.name) for field in fields(Checklist)} == set(value)


def test_what_a_check_needs_is_a_key_of_the_configuration() -> None:
    known = {field.name for field in fields(Checklist)}
    needed = {entry.needs.partition(".")[0] for entry in CATALOG if entry.needs and " " not in entry.needs}
    assert needed <= known
