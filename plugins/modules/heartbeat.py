#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the schema of the heartbeat."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: heartbeat
short_description: The schema of the heartbeat
description:
  - Makes schema and table C(turnout_heartbeat.beats) in a database, owned by the role C(turnout-heartbeat).
extends_documentation_fragment:
  - turnout.ops.cluster
options:
  database:
    description: The database.
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
- name: Create the heartbeat's schema
  turnout.ops.heartbeat:
    database: shop
    data_directory: /var/lib/postgresql/17/main
"""

RETURN = r"""#"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError, quote_identifier

_THERE = (
    "SELECT to_regclass('turnout_heartbeat.beats') IS NOT NULL"
    " AND has_database_privilege('turnout-heartbeat', current_database(), 'CONNECT') AS there"
)


def main():
    """Look, and make what is missing in one transaction."""
    module = AnsibleModule(
        argument_spec={
            "database": {"type": "str", "required": True},
            "data_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    psql = Psql(module.params["data_directory"], database=module.params["database"])
    try:
        there = bool(psql.rows(_THERE)[0]["there"])
        if not there and not module.check_mode:
            psql.run(
                "BEGIN;"
                f'GRANT CONNECT ON DATABASE {quote_identifier(module.params["database"])} TO "turnout-heartbeat";'
                'CREATE SCHEMA IF NOT EXISTS turnout_heartbeat AUTHORIZATION "turnout-heartbeat";'
                "CREATE TABLE IF NOT EXISTS turnout_heartbeat.beats"
                " (beat bigint PRIMARY KEY, at timestamptz NOT NULL);"
                'ALTER TABLE turnout_heartbeat.beats OWNER TO "turnout-heartbeat";'
                "COMMIT;"
            )
    except PsqlError as error:
        module.fail_json(msg=f"the heartbeat's schema cannot be made: {error}; see the log of PostgreSQL")
    module.exit_json(changed=not there)


if __name__ == "__main__":
    main()
