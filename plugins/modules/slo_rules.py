#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Writes Prometheus rules, their unit tests and alert routing from SLO files, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slo_rules
short_description: Prometheus rules, their unit tests and alert routing from SLO files
description:
  - Runs on the controller (C(delegate_to) localhost), with the Python that has the package C(turnout).
  - The same as C(turnout slo rules), as values instead of files.
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  folder:
    description: Folder of the SLO files.
    type: path
    required: true
  page_receiver:
    description: Alertmanager's receiver of pages.
    type: str
    required: true
  ticket_receiver:
    description: Alertmanager's receiver of tickets.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Write rules, their tests and alert routing from the SLOs
  turnout.ops.slo_rules:
    folder: "{{ inventory_dir }}/slos"
    page_receiver: duty
    ticket_receiver: board
  delegate_to: localhost
"""

RETURN = r"""
rules:
  description: Text of each rule file, by its name.
  returned: success
  type: dict
tests:
  description: Text of promtool's test file for each rule file, by the same name.
  returned: success
  type: dict
alerting:
  description: C(routes) and C(inhibit_rules) for Alertmanager.
  returned: success
  type: dict
"""

import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from turnout.errors import TurnoutError
    from turnout.slo import parse, rules
    from turnout.slo.cli import RULES, TESTS, files

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def perform(params):
    """Read the SLOs, and return the module's result or raise `TurnoutError`."""
    slos = parse.load(Path(params["folder"]))
    parse.check(slos)
    receivers = {"page": params["page_receiver"], "ticket": params["ticket_receiver"]}
    written = files(slos, **receivers)
    return {
        "changed": False,
        "rules": {path.name: text for path, text in written.items() if path.parent == RULES},
        "tests": {path.name: text for path, text in written.items() if path.parent == TESTS},
        "alerting": rules.alertmanager(**receivers),
    }


def main():
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "page_receiver": {"type": "str", "required": True},
            "ticket_receiver": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("turnout"), exception=IMPORT_ERROR)
    try:
        module.exit_json(**perform(module.params))
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())


if __name__ == "__main__":
    main()
