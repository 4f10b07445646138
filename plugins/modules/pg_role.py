#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: one login role of the local PostgreSQL server, exactly as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_role
short_description: One login role of the local PostgreSQL server
description:
  - Makes a role exist with exactly the declared password, memberships and settings. What was added to it by
    hand is taken away again. It is never a superuser and can create neither databases nor roles.
  - The password is hashed (SCRAM-SHA-256) on the host by the module. Only the hash is sent, over the local
    socket and on psql's standard input.
extends_documentation_fragment:
  - turnout.ops.cluster
options:
  name:
    description: Name of the role.
    type: str
    required: true
  password:
    description:
      - Password in printable ASCII. Without one the role can log in by C(peer) only.
    type: str
  replication:
    description: Whether the role may stream the write-ahead log and take base backups.
    type: bool
    default: false
  member_of:
    description: Roles that it is a member of, exactly.
    type: list
    elements: str
    default: []
  settings:
    description: Settings that its sessions start with, exactly. Values as PostgreSQL writes them, C(5s).
    type: dict
    default: {}
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
- name: Create the role of the application
  turnout.ops.pg_role:
    name: shop_app
    password: "{{ postgres_passwords.app }}"
    data_directory: /var/lib/postgresql/17/main
    settings:
      idle_in_transaction_session_timeout: 60s
"""

RETURN = r"""
done:
  description: What was changed, in words, without secrets.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import (
    Psql,
    PsqlError,
    quote_identifier,
    quote_literal,
    scram_matches,
    scram_verifier,
)

_ATTRIBUTES = {
    "LOGIN": "rolcanlogin",
    "SUPERUSER": "rolsuper",
    "CREATEDB": "rolcreatedb",
    "CREATEROLE": "rolcreaterole",
    "REPLICATION": "rolreplication",
    "BYPASSRLS": "rolbypassrls",
}


def read_role(psql, name):
    """Return the role `name` as the catalogs have it, or None."""
    rows = psql.rows(
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword,"
        " ARRAY(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
        "       WHERE m.member = r.oid ORDER BY 1) AS member_of,"
        " (SELECT setconfig FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0) AS settings"
        " FROM pg_authid r WHERE rolname = :'name'",
        name=name,
    )
    if not rows:
        return None
    row = rows[0]
    return {
        "attributes": {word: bool(row[column]) for word, column in _ATTRIBUTES.items()},
        "password": row["rolpassword"],
        "member_of": list(row["member_of"]),
        "settings": dict(entry.split("=", 1) for entry in row["settings"] or []),
    }


def plan(name, current, wanted):
    """Compare `current` (from `read_role`, or None) with `wanted`; return (words, statements).

    `wanted` has the keys attributes, password (plain text or None), member_of and settings.
    """
    role = quote_identifier(name)
    words, statements = [], []
    if current is None:
        current = {"attributes": {}, "password": None, "member_of": [], "settings": {}}
        words.append(f"create role {name}")
        statements.append(f"CREATE ROLE {role} NOLOGIN")
    for word, value in wanted["attributes"].items():
        if current["attributes"].get(word, False) != value:
            words.append(f"{'grant' if value else 'withdraw'} attribute {word}")
            statements.append(f"ALTER ROLE {role} {word if value else 'NO' + word}")
    if wanted["password"] is None:
        if current["password"] is not None:
            words.append("remove the password")
            statements.append(f"ALTER ROLE {role} PASSWORD NULL")
    elif not scram_matches(wanted["password"], current["password"]):
        words.append("set the password")
        statements.append(f"ALTER ROLE {role} PASSWORD {quote_literal(scram_verifier(wanted['password']))}")
    for group in sorted(set(wanted["member_of"]) - set(current["member_of"])):
        words.append(f"grant membership in {group}")
        statements.append(f"GRANT {quote_identifier(group)} TO {role}")
    for group in sorted(set(current["member_of"]) - set(wanted["member_of"])):
        words.append(f"revoke membership in {group}")
        statements.append(f"REVOKE {quote_identifier(group)} FROM {role}")
    for key, value in sorted(wanted["settings"].items()):
        if current["settings"].get(key) != value:
            words.append(f"set {key} = {value}")
            statements.append(f"ALTER ROLE {role} SET {quote_identifier(key)} = {quote_literal(value)}")
    for key in sorted(set(current["settings"]) - set(wanted["settings"])):
        words.append(f"reset {key}")
        statements.append(f"ALTER ROLE {role} RESET {quote_identifier(key)}")
    return words, statements


def public_view(state):
    """Return `state` for a diff, without what is secret."""
    if state is None:
        return {}
    return {
        "attributes": sorted(word for word, value in state["attributes"].items() if value),
        "has_password": state["password"] is not None,
        "member_of": sorted(state["member_of"]),
        "settings": state["settings"],
    }


def main():
    """Read, compare, change in one transaction."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "replication": {"type": "bool", "default": False},
            "member_of": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "dict", "default": {}},
            "data_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = {
        "attributes": {word: word == "LOGIN" for word in _ATTRIBUTES} | {"REPLICATION": params["replication"]},
        "password": params["password"],
        "member_of": params["member_of"],
        "settings": {str(key): str(value) for key, value in params["settings"].items()},
    }
    psql = Psql(params["data_directory"])
    try:
        current = read_role(psql, params["name"])
        words, statements = plan(params["name"], current, wanted)
        if statements and not module.check_mode:
            psql.run("BEGIN;\n" + ";\n".join(statements) + ";\nCOMMIT;\n")
    except PsqlError as error:
        module.fail_json(msg=f"PostgreSQL role {params['name']}: {error}")
    except ValueError as error:
        module.fail_json(
            msg=f"PostgreSQL role {params['name']}: {error}; set another one in postgres_passwords, "
            "for example from: openssl rand -hex 24"
        )
    diff = {"before": public_view(current), "after": public_view(wanted)}
    if "set the password" in words and current is not None and current["password"] is not None:
        diff["before"]["has_password"], diff["after"]["has_password"] = "the old one", "the new one"
    module.exit_json(changed=bool(statements), done=words, diff=diff)


if __name__ == "__main__":
    main()
