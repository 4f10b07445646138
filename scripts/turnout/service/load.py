"""Reads the `service:` variable: every type, range, name and clash is checked, and all faults are told at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError
from turnout.keys import read
from turnout.places import placed
from turnout.service.model import Service

_DATE = {"$date": ""}


def as_json(value: object) -> str:
    """Return the variable `service` as the JSON text that a task passes, in which `read_json` sees what was a date."""

    def unwritable(one: object) -> object:
        if isinstance(one, date):
            return _DATE
        raise TypeError(type(one).__name__)

    return json.dumps(value, default=unwritable)


def read_json(text: str) -> object:
    """Return what the variable `service` holds, from the JSON text that a task passes; raises TurnoutError."""
    try:
        value: object = json.loads(text, object_hook=lambda one: date.min if one == _DATE else one)
    except ValueError:
        raise TurnoutError(
            "service-not-json",
            observed="the parameter `service` is no JSON",
            expected='service: "{{ service | turnout.ops.service_json }}"',
            remedy="pass the variable through the filter turnout.ops.service_json",
        ) from None
    return value


def load(value: object, *, base_dir: Path) -> Service:
    """Return the checked service; relative paths of files in it are taken from `base_dir` (the inventory's folder).

    Raises `FaultsError` (code `service-invalid`) with every fault. No message holds a value of an environment, a
    credential, a header or a body.
    """
    faults: list[Fault] = []
    service = read(Service, value, "service", faults, base_dir=base_dir)
    if faults or service is None:
        raise FaultsError("service-invalid", "the variable `service`", placed(faults, base_dir))
    return service.completed(smoke=isinstance(value, Mapping) and value.get("smoke") is None)
