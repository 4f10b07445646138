"""Load the modules of the provisioning roles, which Ansible finds by folder and not by package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import ansible.module_utils
import pytest

ROLES = Path(__file__).parents[3] / "roles"
# What Ansible does with a role's module_utils when it ships a module.
ansible.module_utils.__path__.append(str(ROLES / "postgres" / "module_utils"))


def load(role: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROLES / role / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pg_role() -> ModuleType:
    return load("postgres", "turnout_pg_role")


@pytest.fixture(scope="session")
def certificate() -> ModuleType:
    return load("postgres", "turnout_pg_certificate")


@pytest.fixture(scope="session")
def pg_database() -> ModuleType:
    return load("postgres", "turnout_pg_database")


@pytest.fixture(scope="session")
def redis_module() -> ModuleType:
    return load("redis", "turnout_redis")
