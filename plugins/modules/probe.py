#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: ask this host everything that the checklist wants to know of it, at once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: probe
short_description: Ask a host all the questions of the checklist in one call
description:
  - Runs all probes at the same time, each with its own limit; one that hangs is cut there and holds up nobody.
  - A probe that fails is an answer, not an error of the module. Nothing is changed on the host.
  - Asks at a low priority, so that a busy host serves its users first.
  - Needs Debian's own python3, and its python3-psycopg to log in to PostgreSQL. Addresses with passwords stay in the
    module's own processes.
options:
  probes:
    description:
      - JSON text of a list of C({id, kind, limit_s, arguments}). The kinds are the functions of
        C(KINDS) in C(module_utils/probes.py). Never shown, since arguments hold addresses with passwords.
    type: str
    required: true
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Look at the host
  turnout.ops.probe:
    probes: '[{"id": "host", "kind": "host", "limit_s": 5, "arguments": {"paths": ["/"]}}]'
"""

RETURN = r"""
answers:
  description: For each id C(ok), C(seconds), and C(data) or C(problem) with C(kind) and C(text).
  returned: success
  type: dict
"""

import functools
import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.answers import ask_all
from ansible_collections.turnout.ops.plugins.module_utils.probes import KINDS

NICE = 15
"""Added to the niceness: about a thirtieth of the weight that a service has (sched(7))."""


def main():
    """Ask, and return every answer."""
    module = AnsibleModule(
        argument_spec={"probes": {"type": "str", "required": True, "no_log": True}}, supports_check_mode=True
    )
    # All hosts are looked at in the same second: no request of a user waits for it.
    os.nice(NICE)
    try:
        probes = json.loads(module.params["probes"])
        questions = {
            probe["id"]: (functools.partial(KINDS[probe["kind"]], probe["arguments"]), float(probe["limit_s"]))
            for probe in probes
        }
    except (ValueError, KeyError, TypeError) as error:
        module.fail_json(msg=f"the probes cannot be read ({type(error).__name__}); this is a defect of the role")
    module.exit_json(changed=False, answers=ask_all(questions))


if __name__ == "__main__":
    main()
