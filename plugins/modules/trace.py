#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what this host's journal holds of a request."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: trace
short_description: What this host's journal holds of a request
description:
  - Reads the lines of the journal in which an id stands. Values of the environment of the unit that wrote a line are
    replaced by their names. Changes nothing.
options:
  ids:
    description: What is looked for, each 32 hexadecimal digits, or a UUID.
    type: list
    elements: str
    required: true
  units:
    description: Units whose journal is read, as names or patterns.
    type: list
    elements: str
    required: true
  hours:
    description: How far back it is read.
    type: float
    required: true
  lines:
    description: The most lines that are returned, the oldest first.
    type: int
    default: 500
  limit_s:
    description: Seconds that reading may take.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Look in the journal of HAProxy
  turnout.ops.trace:
    ids: [4bf92f35-77b3-4da6-a3ce-929d0e0e4736]
    units: [haproxy.service]
    hours: 24
"""

RETURN = r"""
found:
  description: Each line, with its moment (seconds since 1970, this host's clock), its unit and its text.
  returned: always
  type: list
  elements: dict
more:
  description: Whether there were more lines than are returned.
  returned: always
  type: bool
begins:
  description: Moment of the oldest line that these units have in this host's journal; null where they have none.
  returned: always
  type: float
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import Places, SlotError, needed

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NONE = "No data available"  # in journalctl's words: no unit of that name ever wrote
_LENGTH = 600  # characters of a line that are shown
_COLORED = re.compile(r"[^@]+@(?:blue|green)\b.*")
HIDDEN = "[a line that may hold a secret: the environment of its unit cannot be read]"


def asked(units: list[str]) -> list[str]:
    """Return what every question to the journal has in common."""
    return ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", *(f"--unit={unit}" for unit in units)]


def moment(entry: dict) -> float:
    """Return when a line was taken, in seconds."""
    return int(entry["__REALTIME_TIMESTAMP"]) / 1e6


def text_of(entry: dict) -> str:
    """Return a line's text; journald tells what is no UTF-8 as a list of bytes."""
    said = entry.get("MESSAGE")
    if isinstance(said, list):
        said = bytes(said).decode("utf-8", "replace") if all(isinstance(one, int) for one in said) else str(said)
    return str(said or "")


def begins(units: list[str], limit_s: int) -> float | None:
    """Return the moment of the oldest line that there is."""
    with subprocess.Popen(asked(units), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        line = next(iter(process.stdout or ()), "")
        process.kill()
        process.wait(limit_s)
    return moment(json.loads(line)) if line.strip() else None


class Redacted:
    """Takes the values of a unit's environment out of what it wrote."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.known: dict[str, list[tuple[str, str]] | None] = {}

    def __call__(self, unit: str, text: str) -> str:
        """Return the text as it may be shown. Raises SlotError on a host that was laid by an older Turnout."""
        if not _COLORED.fullmatch(unit):
            return text
        said = needed(self.places, "said", "a request is traced without showing secrets")
        if unit not in self.known:
            try:
                self.known[unit] = said.secrets_of_unit(unit, str(self.places.root))
            except OSError:
                self.known[unit] = None
        secrets = self.known[unit]
        return HIDDEN if secrets is None else said.redact(text, secrets)


def look(params: dict, places: Places) -> dict:
    """Return what the module returns. Raises OSError, SlotError, ValueError, subprocess.TimeoutExpired."""
    for one in params["ids"]:
        if not _ID.fullmatch(one):
            raise ValueError(f"the id {one!r}; expected: 32 hexadecimal digits, or a UUID")
    since = time.time() - params["hours"] * 3600
    done = subprocess.run(
        [*asked(params["units"]), f"--since=@{since:.0f}", f"--grep={'|'.join(params['ids'])}", "--case-sensitive=no"],
        capture_output=True, text=True, errors="replace", check=False, timeout=params["limit_s"],
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    # 1 where nothing fits.
    if done.returncode and _NONE not in done.stderr and (done.returncode != 1 or done.stderr.strip()):
        raise ValueError(f"journalctl ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    redacted, found, lines = Redacted(places), [], done.stdout.splitlines()
    for line in lines[: params["lines"]]:
        entry = json.loads(line)
        unit = str(entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or "")
        shown = "".join(c for c in redacted(unit, text_of(entry)) if c.isprintable())
        found.append({"at": moment(entry), "unit": unit, "text": shown[:_LENGTH]})
    return {"found": found, "more": len(lines) > params["lines"], "begins": begins(params["units"], params["limit_s"])}


def main():
    """Look."""
    module = AnsibleModule(
        argument_spec={
            "ids": {"type": "list", "elements": "str", "required": True},
            "units": {"type": "list", "elements": "str", "required": True},
            "hours": {"type": "float", "required": True},
            "lines": {"type": "int", "default": 500},
            "limit_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module.params, Places(Path("/"), "")))
    except subprocess.TimeoutExpired:
        module.fail_json(
            msg=f"error[trace-slow]: the journal could not be read within {module.params['limit_s']} s; expected: an"
            " answer; to mend: -e hours=1, or a larger trace_limit_s"
        )
    except SlotError as error:
        module.fail_json(msg=error.message(), **error.fields)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"error[trace]: {error}; to mend: see journalctl on the host")


if __name__ == "__main__":
    main()
