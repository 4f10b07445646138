#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: make the running PostgreSQL server follow its configuration files."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_apply
short_description: Make the running PostgreSQL server follow its configuration files
description:
  - Looks at what the server itself says of its files, and fails on an error in them before anything is reloaded.
  - Reloads when a file is newer than what the server has loaded. This is seen from the server, not from what
    this run changed, so that a run which died in between is made good by the next.
  - Restarts only where a setting needs it and O(restart) allows it. Otherwise it warns, with the names of the
    settings that wait.
extends_documentation_fragment:
  - turnout.ops.cluster
options:
  files:
    description: Configuration files to compare with the time of the last load.
    type: list
    elements: path
    required: true
  unit:
    description: systemd unit of the cluster.
    type: str
    required: true
  restart:
    description:
      - Whether a setting that needs a restart gets one. V(when_unused) restarts only while no client is
        connected.
    type: str
    choices: [never, when_unused, always]
    default: when_unused
  ignored_users:
    description: Roles whose connections do not count for V(when_unused), such as an exporter's.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Tells what would change, and changes nothing.
    details: Reports whether a reload is due. A need for a restart is known only after the reload.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Let the server follow its files
  turnout.ops.pg_apply:
    unit: postgresql@17-main
    data_directory: /var/lib/postgresql/17/main
    files:
      - /etc/postgresql/17/main/conf.d/turnout.conf
      - /etc/postgresql/17/main/pg_hba.conf
"""

RETURN = r"""
reloaded:
  description: Whether the files were loaded again.
  returned: always
  type: bool
restarted:
  description: Whether the server was restarted.
  returned: always
  type: bool
waiting:
  description: Settings that take effect at the next restart.
  returned: always
  type: list
  elements: str
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError

_START_DEADLINE_S = 60


def faults(psql):
    """Return what the server finds wrong in its files, in words; empty when it could load them."""
    # A setting that waits for a restart is reported as an error here as well; it is none.
    settings = psql.rows(
        "SELECT sourcefile AS file, sourceline AS line, name, error FROM pg_file_settings"
        " WHERE error IS NOT NULL AND error <> 'setting could not be applied'"
    )
    rules = psql.rows("SELECT line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
    words = [f"{row['file']} line {row['line']}: {row['name'] or ''} {row['error']}" for row in settings]
    return words + [f"pg_hba.conf line {row['line']}: {row['error']}" for row in rules]


def is_stale(psql, files):
    """Tell whether one of `files` is newer than what the server has loaded."""
    loaded_at = float(psql.run("SELECT extract(epoch FROM pg_conf_load_time());"))
    return any(os.stat(path).st_mtime > loaded_at for path in files)


def waiting(psql):
    """Return the settings that wait for a restart."""
    return [str(row["name"]) for row in psql.rows("SELECT name FROM pg_settings WHERE pending_restart ORDER BY 1")]


def clients(psql, ignored_users):
    """Return the number of connected clients besides our own session."""
    rows = psql.rows(
        "SELECT usename AS user FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender')"
        " AND pid <> pg_backend_pid()"
    )
    return sum(row["user"] not in ignored_users for row in rows)


def reload_and_wait(psql):
    """Load the files again and wait until the server says that it has (the call itself only asks for it)."""
    before = psql.run("SELECT pg_conf_load_time();")
    psql.run("SELECT pg_reload_conf();")
    deadline = time.monotonic() + 10
    while psql.run("SELECT pg_conf_load_time();") == before:
        if time.monotonic() > deadline:
            raise PsqlError("the server did not load its files within 10 s of being asked to: see its log")
        time.sleep(0.1)


def wait_for_start(psql):
    """Return when the server answers again. Raises PsqlError after the deadline."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        try:
            psql.run("SELECT 1;")
        except PsqlError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def main():
    """Check the files, reload where they are newer, restart where allowed."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "path", "required": True},
            "unit": {"type": "str", "required": True},
            "restart": {
                "type": "str",
                "choices": ["never", "when_unused", "always"],
                "default": "when_unused",
            },
            "ignored_users": {"type": "list", "elements": "str", "default": []},
            "data_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    psql = Psql(params["data_directory"])
    result = {"reloaded": False, "restarted": False, "waiting": []}
    try:
        wrong = faults(psql)
        if wrong:
            module.fail_json(
                msg="PostgreSQL finds errors in its configuration and goes on with what it loaded before: "
                + "; ".join(wrong)
                + ". Correct postgres_settings or postgres_extra_clients; then run ansible-playbook turnout.ops.site."
            )
        result["reloaded"] = is_stale(psql, params["files"])
        if result["reloaded"] and not module.check_mode:
            reload_and_wait(psql)
        result["waiting"] = waiting(psql)
        connected = clients(psql, params["ignored_users"])
        allowed = params["restart"] == "always" or (params["restart"] == "when_unused" and connected == 0)
        if result["waiting"] and allowed:
            result["restarted"] = True
            if not module.check_mode:
                module.run_command(["systemctl", "restart", params["unit"]], check_rc=True)
                wait_for_start(psql)
                result["waiting"] = waiting(psql)
        elif result["waiting"]:
            module.warn(
                f"PostgreSQL waits for a restart to apply {', '.join(result['waiting'])}; {connected} clients are "
                "connected. To restart it, at a time that suits: "
                "ansible-playbook turnout.ops.site --tags postgres -e postgres_restart=always"
            )
    except PsqlError as error:
        module.fail_json(msg=f"PostgreSQL: {error}")
    except OSError as error:
        module.fail_json(msg=f"a configuration file cannot be looked at: {error}")
    module.exit_json(changed=result["reloaded"] or result["restarted"], **result)


if __name__ == "__main__":
    main()
