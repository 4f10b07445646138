#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: page checksums for a PostgreSQL cluster that nobody uses yet."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_checksums
short_description: Page checksums for a PostgreSQL cluster that nobody uses yet
description:
  - Switches data page checksums on, which needs the server stopped. This is done only while the cluster holds no
    database besides those it was born with and no client is connected. A cluster in use is left alone, with a
    warning that says how it can be done.
options:
  data_directory:
    description: Data directory of the cluster.
    type: path
    required: true
  version:
    description: Major version, which names the folder of the server's programs.
    type: str
    required: true
  unit:
    description: systemd unit of the cluster.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Tells what would change, and changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Let a new cluster have checksums
  turnout.ops.pg_checksums:
    data_directory: /var/lib/postgresql/17/main
    version: "17"
    unit: postgresql@17-main
"""

RETURN = r"""
checksums:
  description: Whether the cluster has checksums now (in check mode, would have).
  returned: always
  type: bool
"""

import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError, system_account


def enable(module):
    """Stop the server, write checksums into every page, start it again, also when that failed."""
    params = module.params
    program = f"/usr/lib/postgresql/{params['version']}/bin/pg_checksums"
    module.run_command(["systemctl", "stop", params["unit"]], check_rc=True)
    try:
        done = subprocess.run(
            [program, "--enable", "--pgdata", params["data_directory"]],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **system_account("postgres"),
        )
    finally:
        module.run_command(["systemctl", "start", params["unit"]], check_rc=True)
    if done.returncode != 0:
        raise PsqlError(f"pg_checksums failed: {done.stderr.strip()}")


def main():
    """Look, and enable where that disturbs nobody."""
    module = AnsibleModule(
        argument_spec={
            "data_directory": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    psql = Psql(module.params["data_directory"])
    try:
        if psql.run("SHOW data_checksums;").strip() == "on":
            module.exit_json(changed=False, checksums=True)
        in_use = int(
            psql.run(
                "SELECT (SELECT count(*) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1'))"
                " + (SELECT count(*) FROM pg_stat_activity"
                "    WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid());"
            )
        )
        if in_use:
            unit, folder = module.params["unit"], module.params["data_directory"]
            module.warn(
                "this PostgreSQL cluster has no page checksums and is in use, so they were not switched on. To do it, "
                f"at a time that suits: systemctl stop {unit} && sudo -u postgres "
                f"/usr/lib/postgresql/{module.params['version']}/bin/pg_checksums --enable --pgdata {folder} "
                f"&& systemctl start {unit}. To live without them: set postgres_data_checksums to false"
            )
            module.exit_json(changed=False, checksums=False)
        if not module.check_mode:
            enable(module)
    except PsqlError as error:
        module.fail_json(msg=f"PostgreSQL checksums: {error}")
    module.exit_json(changed=True, checksums=True)


if __name__ == "__main__":
    main()
