"""The lab's own service asks for what production's does: an address that hides TLS would hide what breaks by it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
SERVICE = ROOT / "inventories" / "lab" / "group_vars" / "all" / "service.yml"


def test_every_address_of_the_database_asks_for_tls() -> None:
    service = yaml.safe_load(SERVICE.read_text())["service"]
    variables = {**service["environment"], **service["migrate"]["environment"]}
    addresses = {name: text for name, text in variables.items() if str(text).startswith("postgresql://")}
    assert set(addresses) == {"DATABASE_URL", "MIGRATE_DATABASE_URL"}
    for name, text in addresses.items():
        assert re.search(r"[?&]sslmode=(require|verify-ca|verify-full)\b", text), name
