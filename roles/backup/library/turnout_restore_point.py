#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a named restore point in the WAL."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: turnout_restore_point
short_description: A named restore point in the WAL
description:
  - Calls C(pg_create_restore_point) and returns its place.
options:
  name:
    description: Its name.
    type: str
    required: true
  data_directory:
    description: Data directory of the cluster, which knows the port that the server listens on.
    type: path
    required: true
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
author:
  - The Turnout authors
"""

EXAMPLES = r"""
- name: Name the state before the release
  turnout_restore_point:
    name: before-1.4.2
    data_directory: /var/lib/postgresql/17/main
"""

RETURN = r"""
point:
  description: Its name, LSN and time.
  returned: always
  type: dict
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.turnout_psql import Psql, PsqlError


def main():
    """Make the point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "data_directory": {"type": "path", "required": True},
        }
    )
    name = module.params["name"]
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,63}", name):
        module.fail_json(
            msg=f"error[restore-point]: {name!r} is no name of a restore point; expected: at most 63 letters, digits, "
            "dots, dashes, pluses and underscores; to mend: name it so"
        )
    try:
        row = Psql(module.params["data_directory"]).rows(
            "SELECT pg_create_restore_point(:'name')::text AS lsn,"
            " to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at",
            name=name,
        )[0]
    except PsqlError as error:
        module.fail_json(msg=f"error[restore-point]: PostgreSQL: {error}; expected: a running primary")
    module.exit_json(changed=True, point={"name": name, **row})


if __name__ == "__main__":
    main()
