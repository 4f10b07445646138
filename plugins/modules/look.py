#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: look
short_description: Ask hosts and controller all questions of the checklist
description:
  - On a host it asks M(turnout.ops.probe) all questions of that host in one call. On localhost it runs the controller's
    own checks meanwhile. So the whole takes as long as the slowest.
  - A host that cannot be reached is an answer, not a failure.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
  - turnout.ops.service.evidence
  - turnout.ops.decision
options:
  artifact: {description: "On localhost, the release's artifact on the controller.", type: path}
  extra_probes:
    description: Further questions for the host, as M(turnout.ops.probe) takes them.
    type: list
    elements: dict
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Look at everything at once
  turnout.ops.look:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    manifest: "{{ release_manifest }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
    salt: "{{ checklist_salt }}"
  register: seen
"""

RETURN = r"""
answers: {description: "The host's answer to each probe, by name.", returned: on a host that answers, type: dict}
clock: {description: "The host's clock between two looks at the controller's.", returned: on a host that answers,
  type: dict}
own: {description: What the controller's own checks found., returned: on localhost, type: list, elements: dict}
away: {description: Why the host could not be asked., returned: on a host that cannot be reached, type: str}
asked_s: {description: "The controller's clock before, in seconds since the epoch.", returned: always, type: float}
answered_s: {description: "The controller's clock after, in seconds since the epoch.", returned: always, type: float}
"""
