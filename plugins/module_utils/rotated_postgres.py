# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""The two login roles of a rotated credential at a PostgreSQL server: what they are, opening one, closing the other.

Only verifiers go in a statement, never a password (psql.py, which also switches the server's statement log off).
"""

from __future__ import annotations

import time

from ansible_collections.turnout.ops.plugins.module_utils.psql import (
    Psql,
    quote_identifier,
    quote_literal,
    scram_matches,
    scram_verifier,
)

_POLL_S = 0.2
_END_LIMIT_S = 10
_ATTRIBUTES = ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls", "rolinherit")
_ROLES = """
SELECT rolname AS name, rolcanlogin AND rolpassword IS NOT NULL AS opened, rolpassword AS verifier,
 coalesce(rolvaliduntil < now(), false) AS expired,
 concat_ws(' ', {attributes}) AS attributes,
 ARRAY(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1)
 AS groups,
 ARRAY(SELECT coalesce(d.datname || ' ', '') || one FROM pg_db_role_setting s LEFT JOIN pg_database d
  ON d.oid = s.setdatabase, unnest(s.setconfig) AS one WHERE s.setrole = r.oid ORDER BY 1) AS settings,
 ARRAY(SELECT DISTINCT coalesce(d.datname, 'all') FROM pg_shdepend o LEFT JOIN pg_database d ON d.oid = o.dbid
  WHERE o.refclassid = 'pg_authid'::regclass AND o.refobjid = r.oid AND o.deptype = 'o' ORDER BY 1) AS owns,
 ARRAY(SELECT DISTINCT coalesce(d.datname, 'all') FROM pg_shdepend o LEFT JOIN pg_database d ON d.oid = o.dbid
  WHERE o.refclassid = 'pg_authid'::regclass AND o.refobjid = r.oid AND o.deptype = 'a' ORDER BY 1) AS granted
FROM pg_authid r WHERE rolname = ANY(string_to_array(:'names', ','))
"""
_SESSIONS = """
SELECT usename AS name, concat('pid ', pid, coalesce(', ' || nullif(application_name, ''), ''), ' from ',
 coalesce(host(client_addr), 'the local socket'), ', ', coalesce(state, backend_type), ' since ',
 to_char(coalesce(state_change, backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'Z') AS told
FROM pg_stat_activity WHERE usename = ANY(string_to_array(:'names', ',')) ORDER BY pid
"""


def look(psql: Psql, pair: list, secret: dict) -> dict:
    """Return what the server has of the pair and of the login in the file, and what is wrong with it.

    `secret` has `current` and perhaps `next`, each with user and password. Raises PsqlError.
    """
    names = list(dict.fromkeys([*pair, secret["current"]["user"]]))
    (standby,) = psql.rows("SELECT pg_is_in_recovery() AS standby")
    query = _ROLES.format(attributes=", ".join(f"CASE WHEN {one} THEN '{one[3:].upper()}' END" for one in _ATTRIBUTES))
    roles = {str(one["name"]): one for one in psql.rows(query, names=",".join(names))}
    sessions: dict = {}
    for one in psql.rows(_SESSIONS, names=",".join(names)):
        sessions.setdefault(one["name"], []).append(one["told"])
    logins = {}
    for name, role in roles.items():
        takes = {
            key: bool(role["opened"]) and not role["expired"] and scram_matches(one["password"], role["verifier"])
            for key, one in secret.items()
            if one and one["user"] == name
        }
        logins[name] = {
            "opened": bool(role["opened"]),
            "takes": takes.get("current", False),
            "takes_next": takes.get("next", False),
            "sessions": sessions.get(name, []),
        }
    return {
        "logins": logins,
        "faults": [] if standby["standby"] else _faults(pair, secret["current"]["user"], roles),
        "standby": standby["standby"],
    }


def _faults(pair: list, current: str, roles: dict) -> list:
    """Return why the two could not stand for each other: [{observed, expected, remedy}], with the SQL that mends it."""
    serving = roles.get(current)
    groups = list(serving["groups"]) if serving and current in pair else [current]
    faults = []
    for name in pair:
        if name not in roles:
            words = f" IN ROLE {', '.join(quote_identifier(one) for one in groups)}" if groups else ""
            faults.append(_fault(f"there is no role {name}", f"CREATE ROLE {quote_identifier(name)} LOGIN{words};"))
    if faults:
        return faults
    for name in pair:
        if roles[name]["owns"]:
            group = quote_identifier(roles[name]["groups"][0]) if roles[name]["groups"] else "GROUP"
            sql = f"in each of these databases: REASSIGN OWNED BY {quote_identifier(name)} TO {group};"
            faults.append(_fault(f"{name} owns objects in {', '.join(roles[name]['owns'])}", sql))
        if roles[name]["granted"]:
            sql = f"grant it to a role that both are members of, then: DROP OWNED BY {quote_identifier(name)};"
            faults.append(_fault(f"{name} itself has rights on objects in {', '.join(roles[name]['granted'])}", sql))
        if roles[name]["expired"]:
            sql = f"ALTER ROLE {quote_identifier(name)} VALID UNTIL 'infinity';"
            faults.append(_fault(f"{name} has expired (VALID UNTIL)", sql))
        if current not in pair and current not in roles[name]["groups"]:
            sql = f"GRANT {quote_identifier(current)} TO {quote_identifier(name)};"
            faults.append(_fault(f"{name} is no member of {current}, which is in service", sql))
    one, two = pair
    for lacking, having in ((one, two), (two, one)):
        role = quote_identifier(lacking)
        for group in sorted(set(roles[having]["groups"]) - set(roles[lacking]["groups"])):
            sql = f"GRANT {quote_identifier(group)} TO {role};"
            faults.append(_fault(f"{having} is a member of {group}, and {lacking} is not", sql))
        for setting in sorted(set(roles[having]["settings"]) - set(roles[lacking]["settings"])):
            where, _, words = setting.rpartition(" ") if " " in setting.partition("=")[0] else ("", "", setting)
            key, _, value = words.partition("=")
            place = f" IN DATABASE {quote_identifier(where)}" if where else ""
            sql = f"ALTER ROLE {role}{place} SET {key} = {quote_literal(value).strip()};"
            faults.append(_fault(f"{having} begins its sessions with {words}, and {lacking} does not", sql))
    if roles[one]["attributes"] != roles[two]["attributes"]:
        seen = f"{one} is {roles[one]['attributes'] or 'plain'}, {two} {roles[two]['attributes'] or 'plain'}"
        faults.append(_fault(seen, f"ALTER ROLE {quote_identifier(two)} with the attributes of {one}"))
    return faults


def _fault(observed: str, sql: str) -> dict:
    return {"observed": observed, "expected": "two login roles that see and may do the same", "remedy": sql}


def open_login(psql: Psql, user: str, password: str) -> None:
    """Let a role log in with this password. Raises PsqlError, and ValueError for a password that SCRAM would change."""
    psql.run(f"ALTER ROLE {quote_identifier(user)} LOGIN PASSWORD {quote_literal(scram_verifier(password))};")


def close_login(psql: Psql, user: str, drain_s: float, *, end_sessions: bool) -> list:
    """Let a role in no more, once it has no session; return those that it still has, and then nothing was changed.

    With `end_sessions` those are ended that have not ended within `drain_s`. One that comes between the last look and
    the close is ended in any case. Raises PsqlError.
    """
    until = time.monotonic() + drain_s
    while (found := _sessions(psql, user)) and time.monotonic() < until:
        time.sleep(_POLL_S)
    if found and not end_sessions:
        return found
    psql.run(f"ALTER ROLE {quote_identifier(user)} NOLOGIN PASSWORD NULL;")
    until = time.monotonic() + _END_LIMIT_S
    while _sessions(psql, user) and time.monotonic() < until:
        psql.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :'name'", name=user)
        time.sleep(_POLL_S)
    return []


def _sessions(psql: Psql, user: str) -> list:
    return [str(one["told"]) for one in psql.rows(_SESSIONS, names=user)]
