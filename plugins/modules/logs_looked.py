#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: logs_looked
short_description: What must not be in a service's logs, and where it was found
description:
  - Runs on the controller. Without O(told) it makes the question for M(turnout.ops.log_scan) of the service file; with
    it, one report of what the hosts found.
  - Fails where something was found, where a host is silent, and where not all could be looked at.
extends_documentation_fragment:
  - turnout.ops.decision
  - turnout.ops.service
options:
  told: {description: For each host what M(turnout.ops.log_scan) returned - null of a silent one., type: dict}
  hours: {description: How far back was looked., type: float, default: 24.0}
  format: {description: Lines for a person or one JSON object., type: str, choices: [table, json], default: table}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Say what must not be in the logs
  turnout.ops.logs_looked:
    service: "{{ service | turnout.ops.service_json }}"
    inventory_dir: "{{ inventory_dir }}"
"""

RETURN = r"""
question: {description: JSON text for the hosts; secrets are digests in it., returned: without told, type: str}
report: {description: Lines for a person or JSON text., returned: with told, type: str}
seen: {description: The same as data., returned: with told, type: dict}
"""
