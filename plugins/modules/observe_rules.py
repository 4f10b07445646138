#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Writes Prometheus rules, their unit tests and inhibitions from the declaration of alerts, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: observe_rules
short_description: Prometheus rules, their unit tests and inhibitions from the declaration of alerts
description:
  - Runs on the controller (C(delegate_to) localhost), with the Python that has the package C(turnout).
  - The built-in alerts, and those of a file of the team's own.
version_added: "0.3.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  file:
    description: The team's own panels and alerts. Where it is not there, the built-in ones are all.
    type: path
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
"""

EXAMPLES = r"""
- name: Write rules, their tests and inhibitions from the declared alerts
  turnout.ops.observe_rules:
    file: "{{ inventory_dir }}/observe.yml"
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
inhibit_rules:
  description: What Alertmanager holds back, as it is written there.
  returned: success
  type: list
  elements: dict
"""

import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from turnout.errors import TurnoutError
    from turnout.observe import load, rules

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def perform(params):
    """Read the declaration, and return the module's result or raise `TurnoutError`."""
    watched = load.load(Path(params["file"]) if params["file"] else None)
    written, tests = rules.files(watched.alerts)
    return {
        "changed": False,
        "rules": written,
        "tests": tests,
        "inhibit_rules": rules.inhibitions(watched.alerts),
    }


def main():
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec={"file": {"type": "path"}}, supports_check_mode=True)
    if IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("turnout"), exception=IMPORT_ERROR)
    try:
        module.exit_json(**perform(module.params))
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())


if __name__ == "__main__":
    main()
