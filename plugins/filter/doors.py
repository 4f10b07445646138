# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Filters: which doors a host has and who may come in, and the table of them."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

EVERYBODY = "everybody"


def address_of(variables, name):
    """Return the address by which other hosts know this one, and by which it comes to them."""
    return str(variables.get("private_address") or variables.get("ansible_host") or name)


def doors(declared, host, groups, hostvars, sources):
    """Return the doors of a host: rows of name, purpose, ports, everybody, addresses and words."""
    names = [door["name"] for door in declared]
    unknown = sorted(set(sources) - set(names))
    if unknown:
        raise AnsibleFilterError(
            f"error[firewall-sources]: firewall_sources names {', '.join(unknown)}; expected: doors, such as "
            f"{', '.join(sorted(set(names)))}; to mend: correct the name in firewall_sources"
        )
    rows = []
    for door in declared:
        if not door.get("enabled", True) or not any(host in groups.get(group, []) for group in door["groups"]):
            continue
        ports = sorted({int(port) for port in door["ports"] if port and int(port)})
        if ports:
            rows.append(_row(door, ports, groups, hostvars, sources.get(door["name"], [])))
    return rows


def _row(door, ports, groups, hostvars, besides):
    everybody = door.get("from") == EVERYBODY
    from_groups = [] if everybody else [group for group in door.get("from") or [] if groups.get(group)]
    names = sorted({name for group in from_groups for name in groups[group]})
    besides = sorted({*map(str, door.get("sources") or []), *map(str, besides)} - {"127.0.0.0/8", "::1", "127.0.0.1"})
    words = EVERYBODY if everybody else ", ".join([*from_groups, *besides]) or "nobody"
    return {
        "name": door["name"],
        "purpose": door.get("purpose", ""),
        "groups": [group for group in door["groups"] if groups.get(group)],
        "ports": ports,
        "everybody": everybody,
        "hosts": names,
        "addresses": sorted({*(address_of(hostvars[name], name) for name in names), *besides}),
        "words": words,
    }


def table(rows_by_host):
    """Return the doors of an inventory as the lines of a table: the same row of several hosts is one."""
    found = {}
    for rows in rows_by_host.values():
        for row in rows:
            found.setdefault(row["name"], row)
    lines = ["| Port | On hosts of | What | Who may come in |", "|---|---|---|---|"]
    for name, row in found.items():
        ports = ", ".join(map(str, row["ports"]))
        lines.append(f"| {ports} | {', '.join(row['groups'])} | `{name}`: {row['purpose']} | {row['words']} |")
    return lines


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"doors": doors, "doors_table": table}
