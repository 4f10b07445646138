"""Reads the `service:` variable: every type, range, name and clash is checked, and all faults are told at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError
from turnout.faults import Fault, FaultsError
from turnout.keys import read
from turnout.places import placed
from turnout.service.environment_file import SYNTAXES, EnvironmentFileError, is_content, parse
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
    whole, lines = _with_files(value, base_dir, faults)
    service = read(Service, whole, "service", faults, base_dir=base_dir)
    faults = [_in_file(fault, lines) for fault in faults]
    if faults or service is None:
        raise FaultsError("service-invalid", "the variable `service`", placed(faults, base_dir))
    return service.completed(smoke=isinstance(value, Mapping) and value.get("smoke") is None)


def _with_files(value: object, base_dir: Path, faults: list[Fault]) -> tuple[object, dict[str, str]]:
    """Return the service with the variables of its environment files in place of the files, and where each stands."""
    lines: dict[str, str] = {}
    if not isinstance(value, Mapping):
        return value, lines
    whole = _with_file(value, "service", base_dir, faults, lines)
    if isinstance(whole.get("migrate"), Mapping):
        whole["migrate"] = _with_file(whole["migrate"], "service.migrate", base_dir, faults, lines)
    return whole, lines


def _with_file(
    part: Mapping[Any, Any], path: str, base_dir: Path, faults: list[Fault], lines: dict[str, str]
) -> dict[Any, Any]:
    result = dict(part)
    given, syntax = part.get("environment_file"), part.get("environment_syntax")
    if not isinstance(given, str) or not given or not isinstance(syntax, str | None):
        return result
    if syntax not in (None, *SYNTAXES):
        return result  # told with the other faults
    where, file = f"{path}.environment_file", "the text"
    del result["environment_file"]
    text = given
    if not is_content(given):
        file = given
        try:
            text = (base_dir / given).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            faults.append(Fault(where, f"{given}: {reason}", "a file that can be read", "correct the path or the file"))
            return result
    if text.startswith("$ANSIBLE_VAULT"):
        remedy = f"write \"{{{{ lookup('ansible.builtin.unvault', inventory_dir ~ '/{given}') }}}}\""
        faults.append(Fault(where, f"{file}, which Ansible Vault has encrypted", "the text of the file", remedy))
        return result
    try:
        entries = parse(text, syntax)
    except EnvironmentFileError as error:
        observed = f"line {error.line}: {error.observed}"
        faults.append(Fault(where, observed, "an environment file", error.remedy, f"{file}:{error.line}"))
        return result
    there = part.get("environment") or {}
    if isinstance(there, Mapping):
        for name in entries.keys() & there.keys():
            at = f"{file}:{entries[name].line}"
            faults.append(
                Fault(f"{path}.environment.{name}", f"{at} has it too", "one of them", f"remove {name} from one")
            )
        result["environment"] = {**{name: entry.value for name, entry in entries.items()}, **there}
        lines.update({f"{path}.environment.{name}": f"{file}:{entry.line}" for name, entry in entries.items()})
    return result


def _in_file(fault: Fault, lines: dict[str, str]) -> Fault:
    """Return the fault of a variable with the file and the line that it stands on."""
    place = lines.get(fault.path)
    if place is None or fault.place:
        return fault
    return replace(fault, place=place, remedy=fault.remedy.replace("service.environment", place.rpartition(":")[0]))
