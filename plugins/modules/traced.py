#!/usr/bin/python
"""Put what the journals of all hosts hold of a request into one list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traced
short_description: One request in the journals of all hosts
description:
  - Runs on the controller and asks nothing - it shows what M(turnout.ops.trace) found.
  - Fails for what is no id and, of the whole, where no host has a line.
extends_documentation_fragment:
  - turnout.ops.decision
options:
  id:
    description: The id of a request or of a trace, or a traceparent.
    type: str
    required: true
  edges:
    description: What M(turnout.ops.trace) returned of HAProxy's journal on each edge; null for one that did not answer.
    type: dict
    default: {}
  hosts:
    description: The same of the service's journal on each application host.
    type: dict
    default: {}
  whole:
    description: Whether all hosts were asked, so that the lines are shown.
    type: bool
    default: false
  hours: {description: How far back was looked., type: float, default: 24.0}
  format: {description: Lines for a person or one JSON object., type: str, choices: [table, json], default: table}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Say in which forms an id may stand in a journal
  turnout.ops.traced:
    id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736
"""

RETURN = r"""
ids: {description: What to look for on the hosts., returned: success, type: list, elements: str}
report: {description: The lines or the JSON text., returned: of the whole, type: str}
trace: {description: The same as data., returned: of the whole, type: dict}
"""
