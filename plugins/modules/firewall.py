#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the host's firewall, as a table of its own in nftables."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall
short_description: The firewall of this host's doors
description:
  - Writes the rules for nftables, has nft look at them, and loads them in one step. Only the table C(inet turnout) is
    ever touched. What is loaded is compared too, so that a table that somebody flushed or changed is mended.
  - The rules look at the first packet of a connection only. Connections that are open stay so, and the kernel keeps no
    record of connections for it, which could fill up.
options:
  doors:
    description: The host's doors, each with C(name), C(ports), C(everybody) and C(addresses).
    type: list
    elements: dict
    required: true
  path:
    description: File of the rules.
    type: path
    required: true
  state:
    description: Whether there is a firewall.
    type: str
    choices: [present, absent]
    default: present
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
- name: Let only Prometheus ask the exporter
  turnout.ops.firewall:
    doors:
      - {name: node_exporter, ports: [9100], everybody: false, addresses: [10.0.0.41]}
    path: /etc/turnout/firewall.nft
"""

RETURN = r"""
loaded:
  description: Whether rules were loaded.
  returned: always
  type: bool
"""

import ipaddress
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

TABLE = "turnout"
HEAD = """\
# Written by Ansible (role firewall of Turnout). Changes belong into firewall_sources and firewall_extra_doors.
# One table of its own: what others have in nftables is not touched. docs/doors.md explains it.
table inet {table}
delete table inet {table}
table inet {table} {{
\tchain doors {{
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname "lo" accept
\t\t# Only the first packet of a connection is looked at: what is open stays open.
\t\ttcp flags & (fin | syn | rst | ack) != syn accept
"""


class FirewallError(Exception):
    """Rules that cannot be made or loaded, in words for a person."""


def networks_of(address: str) -> list:
    """Return an address, a network or all addresses of a name as networks. Raises FirewallError."""
    try:
        return [ipaddress.ip_network(address, strict=False)]
    except ValueError:
        pass
    try:
        found = {info[4][0].partition("%")[0] for info in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise FirewallError(
            f"this host cannot tell the address of {address}: {error}; expected: an address or a name that resolves "
            "here; to mend: set private_address of that host to its address"
        ) from None
    return [ipaddress.ip_network(one) for one in sorted(found)]


def rules_of(doors: list[dict]) -> str:
    """Return the rules as nft reads them. Raises FirewallError."""
    lines, ports = [], set()
    for door in doors:
        these = sorted(int(port) for port in door["ports"])
        ports.update(these)
        shown = ", ".join(map(str, these))
        if door["everybody"]:
            lines.append(f'tcp dport {{ {shown} }} accept comment "{door["name"]}"')
            continue
        networks = [network for address in door["addresses"] for network in networks_of(str(address))]
        for version, word in ((4, "ip"), (6, "ip6")):
            merged = ipaddress.collapse_addresses(one for one in networks if one.version == version)
            members = ", ".join(str(one.network_address if one.num_addresses == 1 else one) for one in merged)
            if members:
                lines.append(f'{word} saddr {{ {members} }} tcp dport {{ {shown} }} accept comment "{door["name"]}"')
    if ports:
        lines.append(f"tcp dport {{ {', '.join(map(str, sorted(ports)))} }} counter reject with tcp reset")
    return HEAD.format(table=TABLE) + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n}\n"


def nft(*words: str) -> subprocess.CompletedProcess:
    """Run nft; return what came of it."""
    return subprocess.run(["/usr/sbin/nft", *words], capture_output=True, text=True, check=False, timeout=60)


def loaded() -> str:
    """Return what the kernel has of the table, without counters; empty where there is none."""
    done = nft("--stateless", "list", "table", "inet", TABLE)
    return done.stdout if done.returncode == 0 else ""


def client_of_ssh(pid: int) -> str | None:
    """Return the address from which the SSH session of a process comes, None where there is none."""
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        for entry in environment:
            if entry.startswith(b"SSH_CONNECTION="):
                return entry.partition(b"=")[2].split()[0].decode()
        pid = int(stat.rpartition(")")[2].split()[1])
    return None


def locks_out(doors: list[dict], client: str | None) -> bool:
    """Tell whether these rules would keep out the address from which they are being written."""
    ssh = [door for door in doors if door["name"].startswith("ssh")]
    if client is None or not ssh:
        return False
    address = ipaddress.ip_address(client)
    networks = [one for door in ssh for name in door["addresses"] for one in networks_of(str(name))]
    return not any(door["everybody"] for door in ssh) and not any(address in network for network in networks)


def write(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    Path(name).replace(path)


def apply(path: Path, text: str) -> None:
    """Have nft look at the rules, lay them, load them, and keep what they look like in the kernel."""
    with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as tried:
        tried.write(text)
        tried.flush()
        done = nft("--check", "--file", tried.name)
    if done.returncode:
        raise FirewallError(f"nft refuses the rules, nothing was changed: {done.stderr.strip()[-500:]}")
    write(path, text)
    done = nft("--file", str(path))
    if done.returncode:
        raise FirewallError(f"nft did not load {path}: {done.stderr.strip()[-500:]}")
    write(path.with_suffix(".loaded"), loaded())


def text_of(path: Path) -> str:
    """Return a file's text, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def main():
    """Compare the file and the kernel with what is declared; write and load where they differ."""
    module = AnsibleModule(
        argument_spec={
            "doors": {"type": "list", "elements": "dict", "required": True},
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    before = text_of(path)
    try:
        if module.params["state"] == "absent":
            changed = bool(before or loaded())
            if changed and not module.check_mode:
                nft("delete", "table", "inet", TABLE)
                path.unlink(missing_ok=True)
                path.with_suffix(".loaded").unlink(missing_ok=True)
            module.exit_json(changed=changed, loaded=False, diff={"before": before, "after": ""})
        doors = module.params["doors"]
        client = client_of_ssh(os.getpid())
        if locks_out(doors, client):
            raise FirewallError(
                f"firewall_ssh_sources would lock out {client}, from where this is run; expected: its address among "
                f"them; to mend: add {client} to firewall_ssh_sources, or leave that empty"
            )
        text = rules_of(doors)
        in_kernel = loaded()
        changed = before != text or not in_kernel or in_kernel != text_of(path.with_suffix(".loaded"))
        if changed and not module.check_mode:
            apply(path, text)
    except FirewallError as error:
        module.fail_json(msg=f"error[firewall]: {error}")
    module.exit_json(changed=changed, loaded=changed, diff={"before": before, "after": text})


if __name__ == "__main__":
    main()
