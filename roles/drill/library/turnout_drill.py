#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: run one restore on this host as a unit of its own, and wait for it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: turnout_drill
short_description: Run one restore on this host as a unit of its own, and wait for it
description:
  - The restore runs as a transient unit with a time limit, and what it made is removed when that unit ends, however it
    ends. So it does not depend on the controller, whose death changes nothing but who reads the record.
options:
  state:
    description:
      - C(declared) declares the failure on the primary and returns it.
      - C(run) runs the plan and returns what was measured.
      - C(collected) returns the records of drills whose controller did not live to read them.
      - C(entered) forgets the records O(ids), once they are in the ledger.
    type: str
    required: true
    choices: [declared, run, collected, entered]
  plan:
    description: The plan as JSON text (for C(declared), how the primary is reached). It holds secrets.
    type: str
  id:
    description: Name of the restore.
    type: str
  limit_s:
    description: Seconds after which it is stopped and removed.
    type: int
    default: 7200
  ids:
    description: Records to forget.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
author:
  - The Turnout authors
"""

EXAMPLES = r"""
- name: Drill
  turnout_drill:
    state: run
    id: 20260131t030000
    plan: "{{ plan | to_json }}"
"""

RETURN = r"""
failure:
  description: Of state C(declared), the failure.
  returned: state is declared
  type: dict
measured:
  description: Of state C(run), the raw record.
  returned: state is run
  type: dict
records:
  description: Of state C(collected), raw records.
  returned: state is collected
  type: list
  elements: dict
"""

import json
import os
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

PROGRAM = "/usr/local/sbin/turnout-drill"
PLANS = Path("/run/turnout-drill")
RECORDS = Path("/var/lib/turnout-drill-records")
POLL_S = 0.1


def declare(plan):
    """Return the failure. Raises RuntimeError."""
    done = subprocess.run([PROGRAM, "declare"], input=plan, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return json.loads(done.stdout)


def run(params):
    """Start the unit, wait for its end, return the record. Raises RuntimeError."""
    name = params["id"]
    PLANS.mkdir(mode=0o755, exist_ok=True)
    path = PLANS / f"{name}.plan"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(params["plan"])
    unit = f"turnout-drill-{name}.service"
    started = subprocess.run(
        [
            "systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--property=RuntimeMaxSec={params['limit_s']}",
            "--property=Type=exec", "--property=TimeoutStopSec=60", f"--property=ExecStopPost={PROGRAM} remove {name}", "--", PROGRAM, "run", name,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if started.returncode:
        path.unlink(missing_ok=True)
        raise RuntimeError(started.stderr.strip())
    while active(unit):
        time.sleep(POLL_S)
    return json.loads((RECORDS / f"{name}.json").read_text())


def active(unit):
    """Tell whether the unit has not ended yet, its removal included."""
    done = subprocess.run(
        ["systemctl", "show", "--property=ActiveState", "--value", unit], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() in ("active", "activating", "deactivating", "reloading")


def records():
    """Return the records of drills that have ended."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text())
        if record["ended"] is None and not active(f"turnout-drill-{record['id']}.service"):
            record["causes"].append("the drill host was lost before the drill's end")
            record["ended"] = record["started"]
        if record["ended"] is not None:
            found.append(record)
    return found


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["declared", "run", "collected", "entered"]},
            "plan": {"type": "str", "no_log": True},
            "id": {"type": "str"},
            "limit_s": {"type": "int", "default": 7200},
            "ids": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "declared", ["plan"]), ("state", "run", ["plan", "id"])],
    )
    params = module.params
    try:
        if params["state"] == "declared":
            module.exit_json(changed=False, failure=declare(params["plan"]))
        if params["state"] == "collected":
            module.exit_json(changed=False, records=records())
        if params["state"] == "entered":
            for name in params["ids"]:
                (RECORDS / f"{os.path.basename(name)}.json").unlink(missing_ok=True)
            module.exit_json(changed=bool(params["ids"]))
        module.exit_json(changed=True, measured=run(params))
    except (RuntimeError, OSError, ValueError) as error:
        module.fail_json(
            msg=f"error[drill]: {error}; expected: turnout-drill on this host; to mend: "
            "ansible-playbook playbooks/site.yml --tags drill"
        )


if __name__ == "__main__":
    main()
