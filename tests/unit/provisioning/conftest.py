"""The modules that the provisioning roles use."""

from __future__ import annotations

from types import ModuleType

import pytest
from ansible_collections.turnout.ops.plugins.modules import pg_certificate, redis
from ansible_collections.turnout.ops.plugins.modules import pg_database as pg_database_module
from ansible_collections.turnout.ops.plugins.modules import pg_role as pg_role_module


@pytest.fixture(scope="session")
def pg_role() -> ModuleType:
    return pg_role_module


@pytest.fixture(scope="session")
def certificate() -> ModuleType:
    return pg_certificate


@pytest.fixture(scope="session")
def pg_database() -> ModuleType:
    return pg_database_module


@pytest.fixture(scope="session")
def redis_module() -> ModuleType:
    return redis
