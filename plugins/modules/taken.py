#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: taken
short_description: See that a release's workers take jobs
description:
  - Looks at the queues of the checklist from this host until jobs are seen taken from each, or nothing waits in it. To
    be asked once the old workers were told to take no new jobs.
  - How long jobs may wait of which none is taken is C(idle_s) of the kinds of worker that serve the queue.
  - A queue whose layout does not tell, or which cannot be looked at, holds nothing up and is told as not known.
extends_documentation_fragment:
  - turnout.ops.service
  - turnout.ops.service.checklist
  - turnout.ops.decision
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  groups: {description: The inventory's groups., type: dict, required: true}
  first:
    description:
      - Whether this is the first release. Else queues are left alone that are served by a kind of worker without a
        quiesce signal, of which old ones still take jobs.
    type: bool
    required: true
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: See that jobs are taken
  turnout.ops.taken:
    service: "{{ service | turnout.ops.service_json }}"
    checklist: "{{ checklist | to_json }}"
    manifest: "{{ release_manifest }}"
    groups: "{{ groups }}"
    inventory_dir: "{{ inventory_dir }}"
    first: false
"""

RETURN = r"""
queues: {description: What was seen of each queue., returned: success, type: dict}
"""
