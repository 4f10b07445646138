#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: list, show, replay or drop dead letters of queues that this host reaches."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dead_letters_here
short_description: List, show, replay or drop dead letters of queues in Redis, from this host
description:
  - Jobs that were given up are grouped by type and cause, shown, sent to their queue again, or deleted.
  - Each job moves by one script in Redis, so that a run that is killed loses none and doubles none.
  - A replay ends by itself where too many of a batch are dead again.
  - Is asked by M(turnout.ops.dead_letters). Needs Debian's own python3; addresses stay in the module's process.
options:
  question:
    description: JSON text of what M(turnout.ops.dead_letters) made of its options. Never shown, it has an address.
    type: str
    required: true
attributes:
  check_mode: {support: full, description: The question says that nothing is to be changed.}
  diff_mode: {support: none, description: Payloads may be private.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Group the dead letters of a queue
  turnout.ops.dead_letters_here:
    question: "{{ question | to_json }}"
"""

RETURN = r"""
told: {description: For each queue its groups and counts or its C(problem)., returned: success, type: dict}
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import dead_letters
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError, kind_of
from ansible_collections.turnout.ops.plugins.module_utils.resp import RedisError

_WORDS = {
    "refused": "nobody listens there",
    "timeout": "no answer in time",
    "unreachable": "the address is not reached",
    "error": "an answer that cannot be used",
}


def main():
    """Ask, and return what each queue told."""
    module = AnsibleModule(
        argument_spec={"question": {"type": "str", "required": True, "no_log": True}}, supports_check_mode=True
    )
    question = json.loads(module.params["question"])
    told, changed = {}, False
    for queue in question["queues"]:
        arguments = dict(queue["arguments"], check=queue["arguments"]["check"] or module.check_mode)
        try:
            answer = dead_letters.act(arguments)
            changed = changed or bool(answer.get("moved") or answer.get("dropped"))
        except ProbeError as error:
            answer = {"problem": f"Redis: {error}" if error.kind != "missing" else str(error)}
        except (OSError, RedisError, ValueError) as error:
            # Its text may have a piece of the address.
            answer = {"problem": f"Redis: {_WORDS.get(kind_of(error), 'no answer')} ({type(error).__name__})"}
        told[queue["name"]] = answer
    module.exit_json(changed=changed, told=told)


if __name__ == "__main__":
    main()
