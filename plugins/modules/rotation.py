#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rotation
short_description: The file of rotated logins, and what a rotation does next
description:
  - Runs on the controller. Reads and writes the file in which the logins of C(service.rotation) stand, encrypted by
    Ansible Vault with the secret that opens it, and decides from what edges, hosts and servers said.
options:
  state:
    description:
      - C(read) tells what is declared and which logins the file has, by name.
      - C(secrets) and C(trials) return passwords; their tasks have C(no_log).
      - C(plan) decides, and fails with all that stands against it.
      - C(begun) gives O(users) a new password in the file, as C(next). C(adopted) puts that in the place of the old
        one.
    type: str
    required: true
    choices: [read, secrets, trials, plan, begun, adopted]
  service: {description: "The variable C(service), through P(turnout.ops.service_json#filter).", type: str}
  inventory_dir: {description: Folder from which relative paths in the service file are taken., type: path}
  file: {description: The file of the logins., type: path, required: true}
  credentials: {description: "What C(read) returned.", type: dict, default: {}}
  users: {description: "For C(begun) and C(adopted), logins by credential.", type: dict, default: {}}
  checklist: {description: "The variable C(checklist), for C(trials).", type: dict, default: {}}
  edges: {description: "What C(turnout-edge show) said on each edge.", type: dict, default: {}}
  hosts: {description: "Colors of each host, from M(turnout.ops.laid_logins).", type: dict, default: {}}
  servers: {description: "What M(turnout.ops.login_pair) said on each host, in a loop.", type: dict, default: {}}
  closing: {description: Whether the old logins are to be closed., type: bool, default: false}
  warm_s: {description: Seconds for which a way back is warm., type: float, default: 0}
attributes:
  check_mode: {support: full, description: Writes nothing.}
  diff_mode: {support: none, description: The file holds passwords.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Read which logins are rotated
  turnout.ops.rotation:
    state: read
    service: "{{ service | turnout.ops.service_json }}"
    inventory_dir: "{{ inventory_dir }}"
    file: "{{ rotate_file }}"
  register: rotate_read
"""

RETURN = r"""
credentials: {description: "What is declared, and the logins by name.", returned: state is read, type: dict}
warm_s: {description: The seconds of the service file., returned: state is read, type: float}
secrets: {description: Logins and passwords., returned: state is secrets, type: dict}
trial: {description: The file as it would be with the new logins., returned: state is secrets, type: dict}
begun: {description: Credentials with a new login that is not adopted., returned: state is secrets, type: list}
probes: {description: "For M(turnout.ops.probe).", returned: state is trials, type: str}
steps: {description: "The next step (C(kind)) of each credential, to which login (C(user)).", returned: state is plan,
  type: dict}
begins: {description: "Logins that get a new password, by credential.", returned: state is plan, type: dict}
words: {description: "What is next, for a person.", returned: state is plan, type: list}
back: {description: Colors that a rollback would go to., returned: state is plan, type: list}
version: {description: The version in service., returned: state is plan, type: str}
"""
