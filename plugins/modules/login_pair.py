#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the two logins of a rotated credential, at the PostgreSQL or Redis server of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: login_pair
short_description: The two logins of a rotated credential, at the server of this host
description:
  - Looks at the two logins of a pair in C(service.rotation), opens one with a new password, closes the other.
  - PostgreSQL is reached over its local socket as its superuser, Redis on this host as its administrator. Only
    verifiers and digests of passwords go to the server, on no command line.
  - A Redis keeps the change over its next start by C(ACL SAVE), O(users_file) or C(CONFIG REWRITE), whichever is its
    own. Where it would keep nothing, nothing is changed.
options:
  kind: {description: What the server is., type: str, choices: [postgres, redis], required: true}
  state:
    description:
      - C(look) tells what the server has, and changes nothing.
      - C(opened) lets O(user) in with the password that O(logins) has for it, and with no other.
      - C(closed) lets O(user) in no more. Where it has sessions, nothing is changed.
    type: str
    choices: [look, opened, closed]
    required: true
  pair: {description: The two logins., type: list, elements: str, required: true}
  user: {description: The login that is opened or closed., type: str}
  logins:
    description:
      - JSON text of C(current) and C(next), what the file of the rotation has, each with C(user) and C(password). Never
        shown.
    type: str
    required: true
  rules: {description: Rules of a Redis user., type: str, default: ""}
  drain_s: {description: Seconds in which sessions may end before a login is closed., type: float, default: 30}
  end_sessions: {description: Whether those that are still there are then ended., type: bool, default: false}
  data_directory: {description: That of PostgreSQL. Without it Debian's one cluster., type: path}
  port: {description: That of Redis., type: int, default: 6379}
  admin: {description: Redis's administrator; empty for the default user., type: str, default: ""}
  admin_password: {description: Its password., type: str}
  users_file:
    description: File of rotated users that Redis's configuration includes, where it is that of the role C(redis).
    type: path
    default: /etc/redis/turnout-rotated.conf
attributes:
  check_mode: {support: full, description: "Looks, tells what would change, and changes nothing."}
  diff_mode: {support: none, description: There is nothing to show but passwords.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Let the server take the new password
  turnout.ops.login_pair:
    kind: postgres
    state: opened
    pair: [shop_a, shop_b]
    user: shop_b
    logins: "{{ rotate_secrets.database | to_json }}"
    data_directory: /var/lib/postgresql/17/main
"""

RETURN = r"""
logins:
  description: "Of each login C(opened), C(takes) (the password in the file), C(takes_next), and C(sessions)."
  returned: state is look
  type: dict
faults:
  description: "Why the pair cannot be rotated: observed, expected, remedy."
  returned: state is look
  type: list
  elements: dict
standby: {description: Whether the server takes no writes., returned: state is look, type: bool}
closed: {description: Whether the login is closed now., returned: state is closed, type: bool}
sessions: {description: Those that kept it from that., returned: state is closed, type: list, elements: str}
"""

import json
import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import rotated_postgres, rotated_redis
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError
from ansible_collections.turnout.ops.plugins.module_utils.probes import only_cluster
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError
from ansible_collections.turnout.ops.plugins.module_utils.resp import Session

_LIMIT_S = 20


def perform(params: dict, *, check: bool) -> dict:
    """Look, open or close; return the module's result. Raises what the servers' own modules raise, and ValueError."""
    secret = json.loads(params["logins"])
    pair, user, state = params["pair"], params["user"], params["state"]
    if params["kind"] == "postgres":
        server = Psql(params["data_directory"] or only_cluster())
        seen = rotated_postgres.look(server, pair, secret)
    else:
        server = _redis(params)
        seen = rotated_redis.look(server, pair, secret, params["users_file"])
    if state == "look":
        return {"changed": False, **seen}
    before = seen["logins"].get(user) or {}
    if state == "opened":
        key = "next" if (secret.get("next") or {}).get("user") == user else "current"
        if secret[key]["user"] != user:
            raise ValueError(f"the file has no password of {user}")
        if not check:
            if params["kind"] == "postgres":
                rotated_postgres.open_login(server, user, secret[key]["password"])
            else:
                rules = params["rules"].split()
                rotated_redis.open_login(
                    server, pair, user, secret[key]["password"], rules, users_file=params["users_file"]
                )
        return {"changed": not before.get("takes_next" if key == "next" else "takes")}
    if check:
        return {"changed": bool(before.get("opened")), "closed": not before.get("opened"), "sessions": []}
    drain_s, ends = params["drain_s"], params["end_sessions"]
    if params["kind"] == "postgres":
        left = rotated_postgres.close_login(server, user, drain_s, end_sessions=ends) if before else []
    else:
        limit = {"end_sessions": ends}
        left = rotated_redis.close_login(_redis(params), pair, user, drain_s, params["users_file"], **limit)
    return {"changed": bool(before.get("opened")) and not left, "closed": not left, "sessions": left}


def _redis(params: dict) -> Session:
    login = ""
    if params["admin_password"]:
        words = (params["admin"], params["admin_password"])
        login = ":".join(urllib.parse.quote(word, safe="") for word in words) + "@"
    limit_s = _LIMIT_S + (params["drain_s"] if params["state"] == "closed" else 0)
    return Session(f"redis://{login}127.0.0.1:{params['port']}/0", limit_s)


def main() -> None:
    """Perform, and say what went wrong."""
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["postgres", "redis"], "required": True},
            "state": {"type": "str", "choices": ["look", "opened", "closed"], "required": True},
            "pair": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str"},
            "logins": {"type": "str", "required": True, "no_log": True},
            "rules": {"type": "str", "default": ""},
            "drain_s": {"type": "float", "default": 30},
            "end_sessions": {"type": "bool", "default": False},
            "data_directory": {"type": "path"},
            "port": {"type": "int", "default": 6379},
            "admin": {"type": "str", "default": ""},
            "admin_password": {"type": "str", "no_log": True},
            "users_file": {"type": "path", "default": "/etc/redis/turnout-rotated.conf"},
        },
        required_if=[
            ("state", "opened", ["user"]),
            ("state", "closed", ["user"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    where = "PostgreSQL" if params["kind"] == "postgres" else "Redis"
    try:
        result = perform(params, check=module.check_mode)
    except rotated_redis.KeepError as error:
        fault = error.fault
        module.fail_json(
            msg=f"error[rotate-kept]: {fault['observed']}; expected: {fault['expected']}; to mend: {fault['remedy']}"
        )
    except (PsqlError, ProbeError, OSError, ValueError) as error:
        wanted = "a server that answers its superuser on this host (postgres_data_directory)"
        if params["kind"] == "redis":
            wanted = "a Redis that answers its administrator on this host (redis_port, redis_users.admin)"
        text = str(error) or type(error).__name__
        remedy = "correct that, or see the server's own log"
        module.fail_json(msg=f"error[rotate-server]: {where}: {text}; expected: {wanted}; to mend: {remedy}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
