#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a named restore point in the WAL."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restore_point
short_description: A named restore point in the WAL
description:
  - Calls C(pg_create_restore_point) and returns its place.
options:
  name:
    description: Its name. One that is longer than PostgreSQL's 63 bytes is cut, and ends with a checksum of all of it.
    type: str
    required: true
  release:
    description: Id of the release that it is named before, as a restore looks for it.
    type: str
  data_directory:
    description: Data directory of the cluster. By default that of the only cluster that runs on the host.
    type: path
attributes:
  check_mode:
    support: none
    description: It is skipped.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Name the state before the release
  turnout.ops.restore_point:
    name: before-1.4.2-0a1b2c3d4e5f-20260131T030000-laptop-4711
    release: 1.4.2-0a1b2c3d4e5f
"""

RETURN = r"""
point:
  description: Its name, LSN, time, and the release where there is one.
  returned: always
  type: dict
"""

import hashlib
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError

MOST_BYTES = 63  # MAXFNAMELEN - 1 in PostgreSQL


def fitting(name):
    """Return a name that PostgreSQL takes, the same for the same name."""
    if len(name) <= MOST_BYTES:
        return name
    return f"{name[:50]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def running_cluster():
    """Return the data directory of the only running cluster, None where there is not exactly one."""
    found = [path.parent for path in Path("/var/lib/postgresql").glob("*/*/postmaster.pid")]
    return str(found[0]) if len(found) == 1 else None


def main():
    """Make the point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "release": {"type": "str"},
            "data_directory": {"type": "path"},
        }
    )
    name = fitting(module.params["name"])
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", name):
        module.fail_json(
            msg=f"error[restore-point]: {name!r} is no name of a restore point; expected: letters, digits, dots, "
            "dashes, pluses and underscores; to mend: name it so"
        )
    folder = module.params["data_directory"] or running_cluster()
    if folder is None:
        module.fail_json(
            msg="error[restore-point]: not exactly one PostgreSQL cluster runs below "
            "/var/lib/postgresql; expected: one; to mend: systemctl start postgresql"
        )
    try:
        row = Psql(folder).rows(
            "SELECT pg_create_restore_point(:'name')::text AS lsn,"
            " to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at",
            name=name,
        )[0]
    except PsqlError as error:
        module.fail_json(msg=f"error[restore-point]: PostgreSQL: {error}; expected: a running primary")
    release = {"release": module.params["release"]} if module.params["release"] else {}
    module.exit_json(changed=True, point={"name": name, **row, **release})


if __name__ == "__main__":
    main()
