# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration that stands in a color: its name, and by which keys another one differs from it. Never a value.

The variables are compared with the color's environment file. Of the other keys (commands, signals, ports) a file beside
it keeps digests under a salt of that file: what it says of a value serves for nothing but to compare it here.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets

from ansible_collections.turnout.ops.plugins.module_utils.slot_files import Places

FORMAT = 1
IDENTITY = re.compile(r"[0-9a-f]{6}")
VARIABLE = re.compile(rb"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.MULTILINE)
SET_BY_TURNOUT = ("TURNOUT_COLOR", "TURNOUT_RELEASE", "TURNOUT_SERVICE")


def variables_of(content: bytes) -> dict[str, bytes]:
    """Return the variables of an environment file that Turnout wrote, where every variable is one line."""
    return {key.decode(): value for key, value in VARIABLE.findall(content)}


def read_record(places: Places, color: str) -> dict | None:
    """Return the record of the configuration that stands in a color; None without one, and for a damaged one."""
    try:
        record = json.loads((places.root / places.configuration(color)).read_bytes())
    except (OSError, ValueError):
        return None
    return record if is_record(record) else None


def is_record(record: object) -> bool:
    """Tell whether that is a record of a configuration; one of a newer Turnout has a name, and what else is its own."""
    if not isinstance(record, dict) or not isinstance(record.get("format"), int) or record["format"] < 1:
        return False
    if not isinstance(record.get("id"), str) or not IDENTITY.fullmatch(record["id"]):
        return False
    keys, salt = record.get("keys"), record.get("salt")
    sound = isinstance(salt, str) and isinstance(keys, dict) and all(isinstance(one, str) for one in keys.values())
    return record["format"] > FORMAT or sound


def configuration_id(places: Places, color: str) -> str | None:
    """Return the name of the configuration that stands in a color, None where none is on record."""
    record = read_record(places, color)
    return record["id"] if record else None


def record_text(places: Places, color: str, params: dict) -> bytes:
    """Return the record of the configuration that `params` brings; the one that stands there where it says the same."""
    wanted = json.loads(params["configuration"])
    found = read_record(places, color)
    known = found and found["format"] == FORMAT and found["id"] == params["configuration_id"]
    if known and found["keys"] == digests(wanted, found["salt"]):
        return (places.root / places.configuration(color)).read_bytes()
    salt = secrets.token_hex(16)
    record = {"format": FORMAT, "id": params["configuration_id"], "salt": salt, "keys": digests(wanted, salt)}
    return json.dumps(record, sort_keys=True).encode()


def digests(keys: dict, salt: str) -> dict[str, str]:
    """Return the digest of each key's value."""
    return {name: hmac.new(salt.encode(), value.encode(), "sha256").hexdigest() for name, value in keys.items()}


def told(places: Places, color: str, params: dict) -> dict:
    """Return what is told of a color's configuration: `id`, `format`, and what differs from it in `params`, by name.

    `differs` is None where `params` brings none. Of a release that was laid before configurations were on record only
    the variables are compared: what else it runs with is not known.
    """
    record = read_record(places, color)
    result = {"id": record["id"] if record else None, "format": record["format"] if record else None, "differs": None}
    if params["environment"] is None or not params["configuration"] or (record and record["format"] > FORMAT):
        return result
    try:
        laid = variables_of((places.root / places.environment(color)).read_bytes())
    except FileNotFoundError:
        laid = {}
    wanted = variables_of(params["environment"].encode())
    names = {f"environment.{name}" for name in unlike(laid, wanted) if name not in SET_BY_TURNOUT}
    if record:
        names.update(unlike(record["keys"], digests(json.loads(params["configuration"]), record["salt"])))
    return {**result, "differs": sorted(names)}


def unlike(one: dict, two: dict) -> set[str]:
    """Return the names that only one of two mappings has, or of which the values differ."""
    return {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}
