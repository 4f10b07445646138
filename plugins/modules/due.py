#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: due
short_description: See when a scheduler's entries are due
description:
  - Reads on the host what the scheduler's library shows in Redis, by the address in the environment that is laid there,
    and adds what the service file declares. It never fails, and tells what is not known.
extends_documentation_fragment: [turnout.ops.decision]
options:
  state:
    description:
      - C(gap) waits, at most C(wait_s) of the scheduler, until nothing is due for C(gap_s).
      - C(read) looks once.
      - C(missed) tells what was due since the look O(since), and asks nobody.
    type: str
    choices: [gap, read, missed]
    required: true
  service: {description: The service's name., type: str, required: true}
  scheduler: {description: The key C(scheduler) of the service file., type: dict, required: true}
  color: {description: The color whose environment has the address., type: str}
  ca_file: {description: Certificate authority of Redis on the host., type: str}
  since: {description: What C(read) returned., type: dict}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Wait for a gap in the schedule
  turnout.ops.due:
    state: gap
    service: shop
    color: blue
    scheduler: {due: ["0 9 * * *"], zone: Europe/Berlin, gap_s: 15, wait_s: 120}
"""

RETURN = r"""
due: {description: "Entries that fall into the gap, with C(name) and C(due).", returned: success, type: list}
now: {description: The host's clock at the look., returned: success, type: float}
shown: {description: The entries that the library shows., returned: when read, type: list}
waited_s: {description: Seconds waited., returned: with C(gap), type: float}
told: {description: What a person is to know; empty for nothing., returned: success, type: str}
"""
