"""The lab's inventory, against what the roles accept. (What `turnout init` writes: tests/unit/init.)"""

from __future__ import annotations

from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[3]


def role_variables() -> set[str]:
    specs = [yaml.safe_load(path.read_text()) for path in PROJECT.glob("roles/*/meta/argument_specs.yml")]
    assert specs
    entries = [entry for spec in specs for entry in spec["argument_specs"].values()]
    return {name for entry in entries for name in entry.get("options") or {}}


def test_every_variable_is_one_that_a_role_has() -> None:
    known = role_variables() | {
        f"manage_{part}"
        for part in ("service_hosts", "postgres", "redis", "edge", "monitoring", "node_exporter", "firewall")
    }
    path = PROJECT / "inventories" / "lab" / "group_vars" / "all" / "site.yml"
    assert set(yaml.safe_load(path.read_text())) <= known
