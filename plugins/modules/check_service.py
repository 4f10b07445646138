#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Checks the service file and the inventory together, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: check_service
short_description: Check the service file and the inventory, and report every fault at once
description:
  - Runs on the controller (C(delegate_to) localhost), with the Python that has the package C(turnout).
  - Returns the service with its defaults filled in and without any secret.
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.decision
options:
  groups:
    description: The inventory's groups, name to list of hosts. Without it only the service file is checked.
    type: dict
  hosts:
    description: Variables that say where each host is reached, as P(turnout.ops.addresses#filter) returns them.
    type: dict
    default: {}
  judged:
    description: Whether the release is to be judged, so that the SLOs and the plan of the judge must hold.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Check the service file and the inventory
  turnout.ops.check_service:
    service: "{{ service | turnout.ops.service_json }}"
    inventory_dir: "{{ inventory_dir }}"
    groups: "{{ groups }}"
    hosts: "{{ hostvars | turnout.ops.addresses(groups) }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
service:
  description: The service with its defaults; names of variables and headers in place of their values.
  returned: success
  type: dict
faults:
  description: What is wrong, each with path, observed, expected and remedy.
  returned: always
  type: list
  elements: dict
code:
  description: A short word for the failure.
  returned: failure
  type: str
"""
