#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: copy Redis into the backup repositories."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: redis_copy
short_description: Copy Redis into the backup repositories
description:
  - Takes a snapshot (RDB) over the replication protocol, the append-only files as they are on disk, and stores both
    beside the database's backups. The marker is stored last, with size and checksum of each; a copy without its
    marker is none.
extends_documentation_fragment:
  - turnout.ops.repository
options:
  port:
    description: Port of Redis.
    type: int
    default: 6379
  user:
    description: User to log in as; empty for the default user.
    type: str
    default: ""
  password:
    description: Its password.
    type: str
    required: true
  keep:
    description: Copies that are kept.
    type: int
    default: 14
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
- name: Copy Redis
  turnout.ops.redis_copy:
    stanza: shop
    repositories: [1]
    user: backup
    password: "{{ redis_passwords.backup }}"
"""

RETURN = r"""
marker:
  description: What was stored.
  returned: always
  type: dict
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.backup_tool import PgBackRestError, listing, must, put
from ansible_collections.turnout.ops.plugins.module_utils.psql import PsqlError


def redis_cli(params, *words):
    """Run redis-cli; return its output. Raises PgBackRestError."""
    user = ["--user", params["user"]] if params["user"] else []
    done = subprocess.run(
        ["redis-cli", "-p", str(params["port"]), *user, *words],
        capture_output=True, text=True, check=False, timeout=600,
        env={"PATH": "/usr/bin:/bin", "REDISCLI_AUTH": params["password"]},
    )  # fmt: skip
    said = (done.stdout + done.stderr).strip()
    if done.returncode or said.startswith(("NOAUTH", "WRONGPASS", "NOPERM", "ERR", "Could not")):
        raise PgBackRestError(
            f"redis-cli {words[0]} ended with code {done.returncode}: {said[-300:]}; expected: a Redis that answers on "
            f"port {params['port']}; to mend: set redis_port and redis_passwords.backup, or see: "
            "systemctl status redis-server"
        )
    return done.stdout


def snapshot(params):
    """Return the RDB as Redis sends it to a replica."""
    with tempfile.TemporaryDirectory(prefix="turnout-redis-") as folder:
        path = Path(folder) / "dump.rdb"
        redis_cli(params, "--rdb", str(path))
        return path.read_bytes()


def append_only_files(params):
    """Return a tar of the append-only files, None where there are none. The last may end in the middle of a command."""
    config = redis_cli(params, "CONFIG", "GET", "dir", "appenddirname").split("\n")
    values = dict(zip(config[::2], config[1::2], strict=False))
    folder = Path(values.get("dir", "/nonexistent")) / values.get("appenddirname", "appendonlydir")
    if not folder.is_dir():
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            content = path.read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def prune(params, repository):
    """Remove the oldest copies."""
    stamps = sorted(name for name, entry in listing(params["stanza"], repository, "redis").items() if "/" not in name)
    for stamp in stamps[: -params["keep"]]:
        must(params["stanza"], repository, "--recurse", "repo-rm", f"turnout/redis/{stamp}")


def main():
    """Copy, then prune."""
    module = AnsibleModule(
        argument_spec={
            "stanza": {"type": "str", "required": True},
            "repositories": {"type": "list", "elements": "int", "required": True},
            "port": {"type": "int", "default": 6379},
            "user": {"type": "str", "default": ""},
            "password": {"type": "str", "required": True, "no_log": True},
            "keep": {"type": "int", "default": 14},
        }
    )
    params = module.params
    os.umask(0o077)
    try:
        taken_at = time.time()
        files = {"dump.rdb": snapshot(params), "appendonly.tar.gz": append_only_files(params)}
        files = {name: content for name, content in files.items() if content is not None}
        keys = int(redis_cli(params, "DBSIZE").split()[-1])
        marker = {
            "taken_at": taken_at,
            "keys": keys,
            "files": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            },
        }
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(taken_at))
        for repository in params["repositories"]:
            for name, content in files.items():
                put(params["stanza"], repository, f"redis/{stamp}/{name}", content)
            put(params["stanza"], repository, f"redis/{stamp}/marker.json", json.dumps(marker).encode())
            prune(params, repository)
    except (PgBackRestError, PsqlError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=f"error[redis-copy]: {error}")
    module.exit_json(changed=True, marker=marker)


if __name__ == "__main__":
    main()
