#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: look for secrets and personal data in what a service writes on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: log_scan
short_description: Look for secrets and personal data in journal and log files of this host
description:
  - Reads the journal of units, and log files, within bounds of time and size, and tells which patterns stand where.
    What was found is never returned. Changes nothing.
  - Needs Debian's own python3.
options:
  question:
    description: JSON text of what M(turnout.ops.logs_looked) made. Secrets stand in it as keyed digests. Never shown.
    type: str
    required: true
  units:
    description: Units whose journal is read, as names or patterns.
    type: list
    elements: str
    required: true
  files:
    description: Whether the log files of the question are on this host.
    type: bool
    required: true
  hours: {description: How far back is looked., type: float, default: 24.0}
  limit_s: {description: Seconds that it may take., type: float, default: 60.0}
  most_mb: {description: "MB of lines that are looked at, the newest first.", type: int, default: 200}
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Look into HAProxy's journal
  turnout.ops.log_scan:
    question: "{{ asked.question }}"
    units: [haproxy.service]
    files: false
"""

RETURN = r"""
found:
  description: For each source and pattern C(count), C(first), C(last) (seconds since 1970) and the first C(places).
  returned: always
  type: list
  elements: dict
lines: {description: How many lines were looked at., returned: always, type: int}
bytes: {description: How many bytes that was., returned: always, type: int}
cut: {description: What was left out when time or size was up., returned: always, type: list, elements: str}
absent: {description: Patterns of files that no file fits., returned: always, type: list, elements: str}
"""

import json
import os
import signal

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import log_scan

GRACE_S = 5
"""Seconds behind the limit at which an expression that does not come to an end is stopped."""


def _stop(_number: int, _frame: object) -> None:
    raise TimeoutError


def main():
    """Look."""
    module = AnsibleModule(
        argument_spec={
            "question": {"type": "str", "required": True, "no_log": True},
            "units": {"type": "list", "elements": "str", "required": True},
            "files": {"type": "bool", "required": True},
            "hours": {"type": "float", "default": 24.0},
            "limit_s": {"type": "float", "default": 60.0},
            "most_mb": {"type": "int", "default": 200},
        },
        supports_check_mode=True,
    )
    given = module.params
    question = json.loads(given["question"])
    question |= {"units": given["units"], "hours": given["hours"], "limit_s": given["limit_s"]}
    question |= {"files": question["files"] if given["files"] else [], "most_bytes": given["most_mb"] * 1_000_000}
    os.nice(19)  # users go first
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, given["limit_s"] + GRACE_S)
    try:
        told = log_scan.scan(question)
    except TimeoutError:
        module.fail_json(
            msg=f"error[log-scan-slow]: not done {GRACE_S} s after {given['limit_s']:g} s; expected: patterns that come"
            " to an end; to mend: a simpler pattern in service.logs.patterns, or -e hours=1"
        )
    except (OSError, ValueError) as error:
        module.fail_json(
            msg=f"error[log-scan]: {error}; expected: logs that root can read; to mend: see it on the host"
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
