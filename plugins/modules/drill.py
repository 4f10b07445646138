#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: run one restore on this host as a unit of its own, and wait for it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drill
short_description: Run one restore on this host as a unit of its own, and wait for it
description:
  - The restore runs as a transient unit with a time limit, and what it made is removed when that unit ends, however it
    ends. So it does not depend on the controller, whose death changes nothing but who reads the record.
options:
  state:
    description:
      - C(declared) declares the failure on the primary and returns it.
      - C(run) runs the plan and returns what was measured, and the records of drills whose controller did not live to
        read them.
      - C(begun) runs the plan until its candidate may be asked, or to its end where it ends before.
      - C(ended) waits for the end of the one in O(ids) that was begun, returns what was measured, and forgets it.
      - C(cut_over) puts a restore that was kept into the place of the old cluster.
      - C(entered) forgets the records O(ids), once they are in the ledger.
    type: str
    required: true
    choices: [declared, run, begun, ended, cut_over, entered]
  plan:
    description: The plan as JSON text (for C(declared), how the primary is reached). It holds secrets.
    type: str
  ids:
    description: Records to forget; with C(ended) the one restore to wait for.
    type: list
    elements: str
    default: []
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
- name: Drill
  turnout.ops.drill:
    state: run
    plan: "{{ plan | to_json }}"
"""

RETURN = r"""
failure:
  description: Of state C(declared), the failure.
  returned: state is declared
  type: dict
asking:
  description: Of state C(begun), the sockets C(api) and C(held), where the candidate may be asked.
  returned: state is begun, and the candidate answers
  type: dict
measured:
  description: Of states C(run) and C(ended), the raw record; of C(begun) where it has ended before anybody could ask.
  returned: state is run or ended
  type: dict
cut_over:
  description: Of state C(cut_over), where the old data directory is kept, and the seconds without PostgreSQL.
  returned: state is cut_over
  type: dict
earlier:
  description: Of state C(run), raw records of other drills that nobody has entered.
  returned: state is run
  type: list
  elements: dict
"""

import json
import os
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

STATES = ["declared", "run", "begun", "ended", "cut_over", "entered"]
PROGRAM = "/usr/local/sbin/turnout-drill"
RECORDS = Path("/var/lib/turnout-drill-records")


def call(command, plan, *words):
    """Run a command of turnout-drill; return its answer. Raises RuntimeError."""
    done = subprocess.run([PROGRAM, command, *words], input=plan, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return json.loads(done.stdout)


def active(name):
    """Tell whether a drill still runs, its removal included."""
    done = subprocess.run(
        ["systemctl", "show", "--property=ActiveState", "--value", f"turnout-drill-{name}.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() in ("active", "activating", "deactivating", "reloading")


def earlier(name):
    """Return the records of other drills that have ended and that nobody has entered into the ledger."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text())
        if record["id"] == name or active(record["id"]):
            continue
        if record.get("questions"):
            path.unlink()  # no drill: what was asked is told by the controller that asked, or by nobody
            continue
        if record["ended"] is None:
            record["causes"].append("the drill host was lost before the drill's end")
            record["ended"] = record["started"]
        found.append(record)
    return found


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": STATES},
            "plan": {"type": "str", "no_log": True},
            "ids": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", state, ["plan"]) for state in ("declared", "run", "begun", "cut_over")],
    )
    params = module.params
    try:
        if params["state"] == "declared":
            module.exit_json(changed=False, failure=call("declare", params["plan"]))
        if params["state"] == "begun":
            module.exit_json(changed=True, **call("begin", params["plan"]))
        if params["state"] == "ended":
            (name,) = params["ids"]
            measured = call("wait", "", name)
            (RECORDS / f"{os.path.basename(name)}.json").unlink(missing_ok=True)
            module.exit_json(changed=True, measured=measured)
        if params["state"] == "cut_over":
            module.exit_json(changed=True, cut_over=call("cutover", params["plan"]))
        if params["state"] == "entered":
            for name in params["ids"]:
                (RECORDS / f"{os.path.basename(name)}.json").unlink(missing_ok=True)
            module.exit_json(changed=bool(params["ids"]))
        measured = call("start", params["plan"])
        module.exit_json(changed=True, measured=measured, earlier=earlier(measured["id"]))
    except (RuntimeError, OSError, ValueError) as error:
        module.fail_json(
            msg=f"error[drill]: {error}; expected: turnout-drill on this host; to mend: "
            "ansible-playbook turnout.ops.site --tags drill"
        )


if __name__ == "__main__":
    main()
