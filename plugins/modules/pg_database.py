#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: one database of the local PostgreSQL server, and who may do what in it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pg_database
short_description: One database of the local PostgreSQL server, and who may do what in it
description:
  - Creates the database (UTF-8) where it is missing. A database that exists is never dropped or converted.
  - Nobody but the owner and the declared roles may connect. Nobody but the owner may create anything.
  - What the owner creates later, in any schema, O(writers) may read and write (default privileges). What the
    owner had created before is granted once, when the default privileges are first laid. After that a migration
    that withdraws a right from a table stays in force.
extends_documentation_fragment:
  - turnout.ops.cluster
options:
  name:
    description: Name of the database.
    type: str
    required: true
  owner:
    description: Role that owns it and creates what is in it, that of the migrations.
    type: str
    required: true
  locale:
    description:
      - Collation and character type of a new database. C.UTF-8 does not change with the C library's
        version, so that an upgrade of the host cannot break an index.
    type: str
    default: C.UTF-8
  connect:
    description: Roles that may connect, besides the owner and O(writers).
    type: list
    elements: str
    default: []
  writers:
    description: Roles that may select, insert, update and delete, use sequences and create temporary tables.
    type: list
    elements: str
    default: []
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
- name: Create the database of the service
  turnout.ops.pg_database:
    name: shop
    data_directory: /var/lib/postgresql/17/main
    owner: shop_migrate
    writers: [shop_app]
    connect: [shop_readonly, shop_backup]
"""

RETURN = r"""
done:
  description: What was changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.psql import Psql, PsqlError, quote_identifier, quote_literal

PUBLIC = ""  # the grantee that stands for everybody

# What a writer gets by default on each kind of object that the owner creates.
WRITER_DEFAULTS = {
    "TABLES": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "SEQUENCES": {"SELECT", "USAGE"},
    "SCHEMAS": {"USAGE"},
}
_OBJECT_TYPES = {"TABLES": "r", "SEQUENCES": "S", "SCHEMAS": "n"}


def read_database(psql, name):
    """Return owner and grants, as a set of (role, privilege) without the owner's own, or None."""
    rows = psql.rows(
        "SELECT o.rolname AS owner FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba WHERE d.datname = :'name'",
        name=name,
    )
    if not rows:
        return None
    grants = psql.rows(
        "SELECT coalesce(r.rolname, '') AS role, a.privilege_type AS privilege FROM pg_database d"
        " CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
        " LEFT JOIN pg_roles r ON r.oid = a.grantee"
        " WHERE d.datname = :'name' AND a.grantee <> d.datdba",
        name=name,
    )
    return {"owner": rows[0]["owner"], "grants": {(row["role"], row["privilege"]) for row in grants}}


def read_inside(psql, owner):
    """Return what must be known from inside the database: default privileges and loose schemas."""
    defaults = psql.rows(
        "SELECT d.defaclobjtype::text AS type, coalesce(r.rolname, '') AS role, a.privilege_type AS privilege"
        " FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a"
        " LEFT JOIN pg_roles r ON r.oid = a.grantee"
        " WHERE d.defaclnamespace = 0 AND d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = :'owner')",
        owner=owner,
    )
    loose = psql.rows(
        "SELECT DISTINCT n.nspname AS schema FROM pg_namespace n"
        " CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a"
        " WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' AND n.nspname !~ '^pg_'"
    )
    owned = psql.rows(
        "SELECT nspname AS schema FROM pg_namespace n WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        " AND EXISTS (SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
        " WHERE c.relnamespace = n.oid AND r.rolname = :'owner') ORDER BY 1",
        owner=owner,
    )
    return {
        "defaults": {(row["type"], row["role"], row["privilege"]) for row in defaults},
        "loose": sorted(row["schema"] for row in loose),
        "schemas": [row["schema"] for row in owned],
    }


def plan_database(name, current, owner, wanted_grants, known_roles):
    """Return (words, statements) that make owner and grants of the database as wanted.

    Grants of roles that are not in `known_roles` are left alone: they are somebody else's business.
    """
    database = quote_identifier(name)
    words, statements = [], []
    if current["owner"] != owner:
        words.append(f"give database {name} to {owner}")
        statements.append(f"ALTER DATABASE {database} OWNER TO {quote_identifier(owner)}")
    held = {grant for grant in current["grants"] if grant[0] in known_roles or grant[0] == PUBLIC}
    for role, privilege in sorted(wanted_grants - held):
        words.append(f"grant {privilege} to {role}")
        statements.append(f"GRANT {privilege} ON DATABASE {database} TO {quote_identifier(role)}")
    for role, privilege in sorted(held - wanted_grants):
        if role == owner:
            continue  # held as a plain role until the line above makes it the owner
        words.append(f"revoke {privilege} from {role or 'everybody'}")
        grantee = quote_identifier(role) if role else "PUBLIC"
        statements.append(f"REVOKE {privilege} ON DATABASE {database} FROM {grantee}")
    return words, statements


def plan_inside(current, owner, writers):
    """Return (words, statements) for schemas and default privileges inside the database."""
    words, statements = [], []
    for schema in current["loose"]:
        words.append(f"revoke CREATE in schema {schema} from everybody")
        statements.append(f"REVOKE CREATE ON SCHEMA {quote_identifier(schema)} FROM PUBLIC")
    for writer in writers:
        role = quote_identifier(writer)
        held = {(kind, privilege) for kind, grantee, privilege in current["defaults"] if grantee == writer}
        if not held:  # first time: what exists already is granted as well
            for schema in current["schemas"]:
                words.append(f"grant {writer} the use of what {owner} has in schema {schema}")
                where = quote_identifier(schema)
                statements.append(f"GRANT USAGE ON SCHEMA {where} TO {role}")
                for kind in ("TABLES", "SEQUENCES"):
                    rights = ", ".join(sorted(WRITER_DEFAULTS[kind]))
                    statements.append(f"GRANT {rights} ON ALL {kind} IN SCHEMA {where} TO {role}")
        prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_identifier(owner)}"
        for kind, rights in WRITER_DEFAULTS.items():
            have = {privilege for letter, privilege in held if letter == _OBJECT_TYPES[kind]}
            if rights - have:
                words.append(f"by default grant {writer} {', '.join(sorted(rights))} on {kind}")
                statements.append(f"{prefix} GRANT {', '.join(sorted(rights))} ON {kind} TO {role}")
            if have - rights:
                words.append(f"by default no longer grant {writer} {', '.join(sorted(have - rights))} on {kind}")
                statements.append(f"{prefix} REVOKE {', '.join(sorted(have - rights))} ON {kind} FROM {role}")
    return words, statements


def main():
    """Create the database where it is missing, then settle who may do what."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
            "locale": {"type": "str", "default": "C.UTF-8"},
            "connect": {"type": "list", "elements": "str", "default": []},
            "writers": {"type": "list", "elements": "str", "default": []},
            "data_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    name, owner, writers = params["name"], params["owner"], params["writers"]
    wanted = {(role, "CONNECT") for role in [*params["connect"], *writers] if role != owner}
    wanted |= {(role, "TEMPORARY") for role in writers if role != owner}
    known = {role for role, _ in wanted} | {owner}
    server = Psql(params["data_directory"])
    words = []
    try:
        current = read_database(server, name)
        before = {"owner": current["owner"], "grants": sorted(current["grants"])} if current else {}
        if current is None:
            words.append(f"create database {name}")
            if not module.check_mode:
                locale = quote_literal(params["locale"])
                server.run(
                    f"CREATE DATABASE {quote_identifier(name)} OWNER {quote_identifier(owner)}"
                    f" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {locale} LC_CTYPE {locale};"
                )
                current = read_database(server, name)
        if current is not None:  # it is None in check mode only
            inside = Psql(params["data_directory"], database=name)
            outer_words, outer = plan_database(name, current, owner, wanted, known)
            inner_words, inner = plan_inside(read_inside(inside, owner), owner, writers)
            words += outer_words + inner_words
            if (outer or inner) and not module.check_mode:
                inside.run("BEGIN;\n" + ";\n".join(outer + inner) + ";\nCOMMIT;\n")
    except (PsqlError, ValueError) as error:
        module.fail_json(msg=f"PostgreSQL database {name}: {error}")
    after = {"owner": owner, "grants": sorted(wanted), "done": words} if words else before
    module.exit_json(changed=bool(words), done=words, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
