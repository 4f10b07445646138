#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: how exposed units of this host are, as systemd-analyze security tells."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: exposure
short_description: How exposed units of this host are
description:
  - Asks C(systemd-analyze security) about every unit whose file in /etc/systemd/system has one of the names. Of a
    template it is the instance C(blue) that is asked about, with its drop-ins. Changes nothing.
options:
  units:
    description: Patterns of file names.
    type: list
    elements: str
    required: true
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
- name: Ask about our own units
  turnout.ops.exposure:
    units: [turnout-*.service]
"""

RETURN = r"""
exposure:
  description: Exposure from 0 to 10 by unit file.
  returned: always
  type: dict
"""

import re
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

_UNITS = Path("/etc/systemd/system")
_TOLD = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")


def units(patterns: list[str]) -> list[str]:
    """Return the names of the unit files that were laid here: files, not links."""
    found = {path.name for pattern in patterns for path in _UNITS.glob(pattern) if path.is_file()}
    return sorted(name for name in found if not (_UNITS / name).is_symlink())


def exposure(name: str) -> float:
    """Return the exposure of a unit. Raises ValueError with systemd's own words."""
    instance = name.replace("@.service", "@blue.service")
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", instance],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = _TOLD.search(done.stdout)
    if told is None:
        raise ValueError(f"systemd tells no exposure of {instance}: {(done.stdout + done.stderr).strip()[-300:]}")
    return float(told.group(1))


def main():
    """Ask about each."""
    module = AnsibleModule(
        argument_spec={"units": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    try:
        found = {name: exposure(name) for name in units(module.params["units"])}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"error[exposure]: {error}")
    module.exit_json(changed=False, exposure=found)


if __name__ == "__main__":
    main()
