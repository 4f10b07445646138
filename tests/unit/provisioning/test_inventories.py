"""The inventories that teams copy from, against what the roles and the service's schema accept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from turnout.service import load

PROJECT = Path(__file__).parents[3]
TEMPLATES = ["staging", "production"]
GROUPS = {"edge", "api", "worker", "postgres", "redis", "monitoring", "drill"}


def read(environment: str, name: str) -> dict[str, Any]:
    path = PROJECT / "inventories" / environment / "group_vars" / "all" / name
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def role_variables() -> set[str]:
    specs = [yaml.safe_load(path.read_text()) for path in PROJECT.glob("roles/*/meta/argument_specs.yml")]
    assert specs
    entries = [entry for spec in specs for entry in spec["argument_specs"].values()]
    return {name for entry in entries for name in entry.get("options") or {}}


@pytest.mark.parametrize("environment", TEMPLATES)
def test_ansible_reads_the_inventory_with_all_groups_filled(environment: str) -> None:
    command = [sys.executable, "-m", "ansible", "inventory", "-i", f"inventories/{environment}", "--list"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    inventory = json.loads(done.stdout)
    assert set(inventory["all"]["children"]) >= GROUPS
    assert all(inventory[group]["hosts"] for group in GROUPS)
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("environment", TEMPLATES)
def test_the_service_file_is_one_that_deploys_accept(environment: str) -> None:
    service = load(read(environment, "service.yml")["service"], base_dir=PROJECT / "inventories" / environment)
    assert service.steps[-1].share_bp == 10000


@pytest.mark.parametrize("environment", [*TEMPLATES, "lab"])
def test_every_variable_is_one_that_a_role_has(environment: str) -> None:
    known = role_variables() | {
        f"manage_{part}"
        for part in ("service_hosts", "postgres", "redis", "edge", "monitoring", "node_exporter", "firewall")
    }
    assert set(read(environment, "site.yml")) <= known


@pytest.mark.parametrize("environment", TEMPLATES)
def test_the_vault_example_names_every_secret_and_holds_none(environment: str) -> None:
    example = read(environment, "vault.yml.example")
    assert set(example["postgres_passwords"]) == {"app", "migrate", "backup", "readonly"}
    flat = [*example["postgres_passwords"].values(), *(value for value in example.values() if isinstance(value, str))]
    assert set(flat) == {""}
    used = (PROJECT / "inventories" / environment / "group_vars" / "all" / "service.yml").read_text()
    named = {word for word in used.replace("}}", " ").split() if word.startswith("vault_")} - {"vault_..."}
    assert named == {name for name in example if name.startswith("vault_")}
