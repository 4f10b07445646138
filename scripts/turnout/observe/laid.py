"""The alerts in rule files that roles of the collection lay beside the declared ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROLES = Path(__file__).parents[2] / "ansible_collections/turnout/ops/roles"


@dataclass(frozen=True, slots=True)
class Laid:
    """One alert of a rule file."""

    name: str
    severity: str
    summary: str
    action: str
    expr: str


def alerts() -> Iterator[Laid]:
    """Yield the alerts of the roles monitoring and recovery_monitoring, in the order of their files."""
    for path in sorted(ROLES.glob("*monitoring/files/turnout-*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                told = rule["annotations"]
                yield Laid(rule["alert"], rule["labels"]["severity"], told["summary"], told["action"], rule["expr"])
