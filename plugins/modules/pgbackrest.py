#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: stanza, backup, expiry and holds of pgBackRest on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pgbackrest
short_description: Stanza, backup, expiry and holds of pgBackRest on this host
description:
  - A small face of C(pgbackrest), which runs as the system user C(postgres).
  - While a hold stands, nothing is expired. A hold ends by itself, so that a drill whose controller died keeps
    nothing for ever.
extends_documentation_fragment:
  - turnout.ops.repository
options:
  state:
    description:
      - C(stanza) makes the stanza where a repository lacks it.
      - C(backup) takes a backup; a second one at the same time is refused.
      - C(expire) removes what retention no longer keeps, unless a hold stands.
      - C(hold) and C(released) set and remove the hold O(hold).
      - C(put) stores O(content) in the repositories under O(path).
    type: str
    required: true
    choices: [stanza, backup, expire, hold, released, put]
  type:
    description: Kind of backup. Where there is no full one yet, any kind is full.
    type: str
    choices: [full, diff, incr]
    default: incr
  hold:
    description: Name of the hold.
    type: str
  hold_s:
    description: Seconds after which the hold ends by itself.
    type: int
    default: 7200
  path:
    description: Where to store, below C(turnout/) in the repository.
    type: str
  content:
    description: What to store.
    type: str
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
- name: Back up into the first repository
  turnout.ops.pgbackrest:
    state: backup
    stanza: shop
    repositories: [1]
    type: full
"""

RETURN = r"""
backups:
  description: Of state C(backup), the label of the new backup by repository; of C(hold), nothing.
  returned: state is backup
  type: dict
held_by:
  description: Holds that kept the expiry from running.
  returned: state is expire
  type: list
  elements: str
backup_running:
  description: Whether a backup or an expiry runs at this moment.
  returned: state is hold
  type: bool
"""

import fcntl
import json
import os
import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.backup_tool import PgBackRestError, must, put
from ansible_collections.turnout.ops.plugins.module_utils.psql import PsqlError

HOLDS = Path("/var/lib/turnout-backup/holds")
LOCK_WAIT_S = 30


def info(stanza, repository=None):
    """Return pgBackRest's own account of the stanza."""
    # What it says of a file that it cannot read quotes that file, whatever bytes there are.
    answer = json.loads(must(stanza, repository, "--output=json", "info").decode("utf-8", "replace"))
    return answer[0] if answer else {"backup": [], "status": {}, "repo": []}


def ensure_stanza(stanza, repositories):
    """Make the stanza where it is missing; tell whether anything was."""
    status = {repo["key"]: repo["status"]["code"] for repo in info(stanza)["repo"]}
    # 0 ok, 2 no valid backups: the stanza is there.
    if all(status.get(key) in (0, 2) for key in repositories):
        return False
    must(stanza, None, "stanza-create")
    for key in repositories:
        lay_canaries(stanza, key)
    return True


def lay_canaries(stanza, repository):
    """Lay what a drill tries to delete, to see that it cannot: files of no worth beside archive and backups."""
    for area in ("archive", "backup"):
        words = ("--raw", "repo-put", f"{area}/{stanza}/turnout-canary")
        must(stanza, repository, *words, stdin=b"A drill tries to delete this, and must not be able to.\n")


def backup(stanza, repository, kind):
    """Take a backup; return its label."""
    must(stanza, repository, f"--type={kind}", "backup")
    lay_canaries(stanza, repository)
    return info(stanza, repository)["backup"][-1]["label"]


def standing_holds():
    """Return the names of the holds that have not ended."""
    names = []
    for path in sorted(HOLDS.glob("*.json")):
        if json.loads(path.read_text())["until"] > time.time():
            names.append(path.stem)
        else:
            path.unlink()
    return names


class Exclusively:
    """Holds and expiry exclude each other: neither begins while the other is being set or runs."""

    def __enter__(self):
        HOLDS.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.stream = (HOLDS / "lock").open("a")
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PgBackRestError(
                        f"an expiry has run for more than {LOCK_WAIT_S} s; expected: drill and expiry one after the "
                        "other; to mend: run it again when the expiry has ended"
                    ) from None
                time.sleep(0.2)
            else:
                return self

    def __exit__(self, *_):
        self.stream.close()


def expire(stanza, repositories):
    """Expire, unless a hold stands; return the holds."""
    with Exclusively():
        held_by = standing_holds()
        if not held_by:
            for repository in repositories:
                must(stanza, repository, "expire")
    return held_by


def hold(stanza, name, seconds):
    """Set a hold; return whether a backup runs."""
    with Exclusively():
        path = HOLDS / f"{name}.json"
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"until": time.time() + seconds}))
        os.replace(draft, path)
    return bool(info(stanza)["status"].get("lock", {}).get("backup", {}).get("held"))


def act(params):
    """Do what is asked for; return the result."""
    state, stanza, repositories = params["state"], params["stanza"], params["repositories"]
    if state == "stanza":
        return {"changed": ensure_stanza(stanza, repositories)}
    if state == "backup":
        return {"changed": True, "backups": {key: backup(stanza, key, params["type"]) for key in repositories}}
    if state == "expire":
        held_by = expire(stanza, repositories)
        return {"changed": not held_by, "held_by": held_by}
    if state == "put":
        for repository in repositories:
            put(stanza, repository, params["path"], params["content"].encode())
        return {"changed": True}
    name = params["hold"] or ""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise PgBackRestError(f"hold is {name!r}; expected: letters, digits, dots and dashes; to mend: name it so")
    if state == "hold":
        return {"changed": True, "backup_running": hold(stanza, name, params["hold_s"])}
    path = HOLDS / f"{name}.json"
    there = path.exists()
    path.unlink(missing_ok=True)
    return {"changed": there}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": ["stanza", "backup", "expire", "hold", "released", "put"],
            },
            "stanza": {"type": "str", "required": True},
            "repositories": {"type": "list", "elements": "int", "required": True},
            "type": {"type": "str", "choices": ["full", "diff", "incr"], "default": "incr"},
            "hold": {"type": "str"},
            "hold_s": {"type": "int", "default": 7200},
            "path": {"type": "str"},
            "content": {"type": "str"},
        },
        required_if=[
            ("state", "hold", ["hold"]),
            ("state", "released", ["hold"]),
            ("state", "put", ["path", "content"]),
        ],
    )
    try:
        result = act(module.params)
    except (PgBackRestError, PsqlError, OSError, ValueError) as error:
        module.fail_json(msg=f"error[backup]: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
