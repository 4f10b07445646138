#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: settings of the running Redis server of this host, without a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: redis
short_description: Settings and users of the running Redis server of this host
description:
  - Makes the running server's users (ACL) equal to the declared ones, the administrator first and the default user
    last, so that nobody who is connected is cut off. The default user is off unless a password for it is given.
  - Makes the running server's settings equal to the declared ones with C(CONFIG SET), and reads them back.
  - Switches the append-only file on before anything else and waits until it holds all the data. A restart with it
    switched on in the file alone would begin with an empty data set.
  - Nothing is written to redis.conf; that is what the next start reads, and another task's business.
options:
  port:
    description: Port on which the server is to listen in the end.
    type: int
    default: 6379
  running_port:
    description: Port on which it may still listen, tried when O(port) does not answer.
    type: int
    default: 6379
  users:
    description:
      - Users that the server is to have, each with C(name), C(password) and C(rules) (words of C(ACL SETUSER)). The
        first one is the administrator, whom this module logs in as. Users that are not named are left alone.
    type: list
    elements: dict
    required: true
  default_password:
    description:
      - Password of the default user, for clients that name no user. It may do everything then. Empty switches the
        default user off.
    type: str
    default: ""
  admin_file:
    description:
      - File with the administrator's password, as an earlier run laid it. It is tried as well, so that a new password
        is set without a restart. Clients that are connected stay so.
    type: path
  settings_file:
    description:
      - File that was laid for the server before there were users. The password in it is tried as well.
    type: path
  settings:
    description: Settings by name. Sizes may be written with units (C(512mb)).
    type: dict
    default: {}
  deadline_s:
    description: Seconds to wait for the append-only file to be written.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Tells what would change, and changes nothing.
  diff_mode:
    support: full
    description: Shows what was before and what is after.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Apply the settings to the running server
  turnout.ops.redis:
    users:
      - {name: admin, password: "{{ redis_passwords.admin }}", rules: "~* &* +@all"}
      - {name: service, password: "{{ redis_passwords.service }}", rules: "~* &* +@all -@admin -@dangerous"}
    settings:
      appendonly: "yes"
      maxmemory: 512mb
"""

RETURN = r"""
done:
  description: Names of the settings that were changed, and users as C(user NAME).
  returned: always
  type: list
  elements: str
waiting:
  description: Names of the settings that Redis can only take at its next start.
  returned: always
  type: list
  elements: str
"""

import hashlib
import re
import socket
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.resp import Connection, RedisError

_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
_TIMEOUT_S = 10
_EVERYTHING = "~* &* +@all"
# A user that nobody can log in as, for the time of a comparison: Connection writes rules in words of its own.
_COMPARED = "turnout-compared"


def same(name: str, declared: str, running: str) -> bool:
    """Tell whether a declared value and what `CONFIG GET` says are the same (512mb is 536870912)."""
    if declared == running:
        return True
    found = re.fullmatch(r"(\d+)([a-z]*)", declared.lower())
    if found and found.group(2) in _UNITS and running.isdigit():
        return int(found.group(1)) * _UNITS[found.group(2)] == int(running)
    if name in ("bind", "save"):
        return declared.split() == running.split()
    return False


def laid_password(path: str | None) -> list[str]:
    """Return the password in an earlier settings file, if there is one."""
    return re.findall(r"^requirepass (\S+)$", _text(path), flags=re.MULTILINE)


def laid_admin(path: str | None) -> list[str]:
    """Return the administrator's password that an earlier run laid, if there is one."""
    return _text(path).split()[:1]


def _text(path: str | None) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except FileNotFoundError:
        return ""


def connect(port: int) -> Connection:
    """Return a connection to the server on this host. Raises OSError."""
    return Connection(socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S))


def log_in(port: int, running_port: int, logins: list[tuple[str, str]]) -> Connection:
    """Return a connection that may change settings, by the first of the logins (user, password) that is right.

    Raises OSError when nothing listens and RedisError when no password is right.
    """
    try:
        redis = connect(port)
    except OSError:
        if port == running_port:
            raise
        redis = connect(running_port)
    for user, password in logins:
        try:
            redis.call("AUTH", *([] if user == "default" else [user]), password)
        except RedisError as error:
            if str(error).startswith("WRONGPASS"):
                continue
            # "AUTH <password> called without any password configured": a new server lets everybody in.
        if may_administer(redis):
            return redis
    # A server that has never been given a password lets everybody in, whatever user they name.
    if may_administer(redis):
        return redis
    raise RedisError(
        "the running server refuses the administrator's password, redis_password and the passwords that earlier runs "
        "laid: somebody gave it another. Set redis_passwords.admin to that one (or redis_password to that of the "
        "default user), run ansible-playbook turnout.ops.site, and then change it"
    )


def may_administer(redis: Connection) -> bool:
    """Tell whether this connection is logged in and may change users."""
    try:
        redis.call("ACL", "WHOAMI")
    except RedisError as error:
        if str(error).startswith(("NOAUTH", "NOPERM")):
            return False
        raise
    return True


def users_declared(users: list[dict], default_password: str) -> list[dict]:
    """Return all users in the order in which they are set: the default user, by whom others come in, is the last."""
    default = {"name": "default", "password": default_password, "rules": _EVERYTHING if default_password else ""}
    return [*users, default]


def words_of(user: dict) -> list[str]:
    """Return what `ACL SETUSER` is told of a user: all of it, in one step. Only a digest of the password travels."""
    if not user["password"]:
        return ["reset", "off"]
    digest = hashlib.sha256(user["password"].encode()).hexdigest()
    return ["reset", "on", f"#{digest}", *user["rules"].split()]


def unlike_users(redis: Connection, users: list[dict]) -> list[str]:
    """Return the names of the users that the server does not have as declared."""
    found = []
    for user in users:
        try:
            redis.call("ACL", "SETUSER", _COMPARED, *words_of(user))
            wanted = _facts(redis, _COMPARED)
        except RedisError as error:
            raise RedisError(f"user {user['name']}: {error}") from error
        finally:
            redis.call("ACL", "DELUSER", _COMPARED)
        if wanted != _facts(redis, user["name"]):
            found.append(user["name"])
    return found


def _facts(redis: Connection, name: str):
    """Return what the server says of a user in a form that can be compared, None where there is none."""
    answer = redis.call("ACL", "GETUSER", name)
    if answer is None:
        return None
    facts = dict(zip(answer[::2], answer[1::2], strict=True))
    return {key: sorted(value) if isinstance(value, list) else value for key, value in facts.items()}


def set_users(redis: Connection, users: list[dict], names: list[str]) -> None:
    """Set these users; once the administrator is there, go on as the administrator."""
    admin = users[0]
    for user in users:
        if user["name"] not in names:
            continue
        redis.call("ACL", "SETUSER", user["name"], *words_of(user))
        if user is admin:
            redis.call("AUTH", admin["name"], admin["password"])
    redis.call("AUTH", admin["name"], admin["password"])


def differing(redis: Connection, settings: dict[str, str]) -> dict[str, str]:
    """Return the running values of those settings that are not as declared. Raises RedisError for unknown names."""
    found = {}
    for name, declared in settings.items():
        answer = redis.call("CONFIG", "GET", name)
        if not answer:
            raise RedisError(f"this version of Redis knows no setting {name}")
        if not same(name, declared, answer[1]):
            found[name] = answer[1]
    return found


def wait_for_append_only_file(redis: Connection, deadline_s: int) -> None:
    """Return when the append-only file holds all the data. Raises RedisError after the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        info = redis.info("persistence")
        busy = info.get("aof_rewrite_in_progress") == "1" or info.get("aof_rewrite_scheduled") == "1"
        if not busy and info.get("aof_enabled") == "1" and info.get("aof_last_bgrewrite_status") == "ok":
            return
        if time.monotonic() > deadline:
            raise RedisError(f"the append-only file was not written within {deadline_s} s: see Redis's log and disk")
        time.sleep(0.1)


def apply(redis: Connection, settings: dict[str, str], changes: dict[str, str], deadline_s: int) -> list[str]:
    """Set what differs, the append-only file first; return the settings that only a restart can change."""
    waiting = []
    for name in sorted(changes, key=lambda name: name != "appendonly"):
        try:
            redis.call("CONFIG", "SET", name, settings[name])
        except RedisError as error:
            if "can't set immutable config" not in str(error):
                raise RedisError(f"setting {name}: {error}") from error
            waiting.append(name)
        if name == "appendonly" and settings[name] == "yes":
            wait_for_append_only_file(redis, deadline_s)
    return waiting


def main():
    """Log in, compare, set, read back."""
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "default": 6379},
            "running_port": {"type": "int", "default": 6379},
            "users": {"type": "list", "elements": "dict", "required": True, "no_log": True},
            "default_password": {"type": "str", "default": "", "no_log": True},
            "admin_file": {"type": "path"},
            "settings_file": {"type": "path"},
            "settings": {"type": "dict", "default": {}},
            "deadline_s": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    params = module.params
    settings = {str(name): str(value) for name, value in params["settings"].items()}
    users = users_declared(params["users"], params["default_password"])
    try:
        redis = log_in(params["port"], params["running_port"], logins_of(params))
        changed_users = unlike_users(redis, users)
        if changed_users and not module.check_mode:
            set_users(redis, users, changed_users)
            unlike = unlike_users(redis, users)
            if unlike:
                module.fail_json(msg=f"Redis took the users {', '.join(unlike)} but does not show them so: see its log")
        changes = differing(redis, settings)
        waiting = []
        if changes and not module.check_mode:
            waiting = apply(redis, settings, changes, params["deadline_s"])
            unlike = sorted(set(differing(redis, settings)) - set(waiting))
            if unlike:
                module.fail_json(msg=f"Redis took {', '.join(unlike)} but does not show what was set: see its log")
    except RedisError as error:
        module.fail_json(msg=f"Redis: {error}")
    except OSError as error:
        module.fail_json(
            msg=f"Redis does not answer on port {params['port']}: {error}; see: journalctl -u redis-server"
        )
    if waiting:
        module.warn(
            f"Redis takes {', '.join(waiting)} only at its next start. To restart it, at a time that suits: "
            "systemctl restart redis-server"
        )
    done = sorted(set(changes) - set(waiting)) + [f"user {name}" for name in changed_users]
    module.exit_json(
        changed=bool(done),
        done=done,
        waiting=waiting,
        diff={
            "before": changes,
            "after": {
                **{name: settings[name] for name in changes},
                **{f"user {name}": "set as declared" for name in changed_users},
            },
        },
    )


def logins_of(params: dict) -> list[tuple[str, str]]:
    """Return the logins that may be right, the likeliest first."""
    admin = params["users"][0]
    logins = [(admin["name"], word) for word in [admin["password"], *laid_admin(params["admin_file"])]]
    passwords = [params["default_password"], *laid_password(params["settings_file"])]
    return [*logins, *(("default", word) for word in passwords if word)]


if __name__ == "__main__":
    main()
