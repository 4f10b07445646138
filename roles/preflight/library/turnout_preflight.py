#!/usr/bin/python
"""Decide from what edges and hosts said whether a release may begin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: turnout_preflight
short_description: Decide whether a release may begin, with all faults in one table
description:
  - Runs on the controller (C(delegate_to=localhost)) and asks nothing - it judges the facts that it is given.
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  service: {description: Public view of the service file., type: dict, required: true}
  edges: {description: What C(turnout-edge show) said on each edge., type: dict, required: true}
  hosts: {description: "What C(turnout_slot state=info) said on each host.", type: dict, required: true}
  asked_at:
    description: The controller's clock before the hosts were asked, in seconds since the epoch.
    type: float
    required: true
  run: {description: This run's id., type: str, required: true}
  disk_reserve_bytes: {description: Bytes that must stay free., type: int, required: true}
  clock_skew_s: {description: Seconds by which clocks may differ., type: float, required: true}
  again: {description: A person's reason to deploy a release that is in quarantine., type: str, default: ""}
author: [The Turnout authors]
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
"""

EXAMPLES = r"""
- name: Judge what was seen
  turnout_preflight:
    manifest: "{{ release_manifest }}"
    service: "{{ service_view }}"
    edges: "{{ seen_edges }}"
    hosts: "{{ seen_hosts }}"
    asked_at: "{{ asked_at }}"
    run: "{{ run_id }}"
    disk_reserve_bytes: 200000000
    clock_skew_s: 5
  delegate_to: localhost
"""

RETURN = r"""
candidate: {description: Color to lay the release into., returned: success, type: str}
stable: {description: Color in service (null before the first release)., returned: success, type: str}
stable_release: {description: Version in service., returned: success, type: str}
already: {description: Whether this release is in service everywhere., returned: success, type: bool}
quarantined: {description: Whether the release went back by itself before., returned: success, type: bool}
notes: {description: What an earlier run left unsaid., returned: success, type: list, elements: str}
"""

import json
import time

from ansible.module_utils.basic import AnsibleModule
from turnout.errors import TurnoutError
from turnout.faults import table
from turnout.preflight import Limits, decide
from turnout.release.manifest import parse


def main():
    """Judge, and fail with the table of faults when there are any."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "dict", "required": True},
            "service": {"type": "dict", "required": True},
            "edges": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "asked_at": {"type": "float", "required": True},
            "run": {"type": "str", "required": True},
            "disk_reserve_bytes": {"type": "int", "required": True},
            "clock_skew_s": {"type": "float", "required": True},
            "again": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        decision = decide(
            manifest=parse(json.dumps(params["manifest"]).encode()),
            service=params["service"],
            edges=params["edges"],
            hosts=params["hosts"],
            asked_s=(params["asked_at"], time.time()),
            run=params["run"],
            limits=Limits(params["disk_reserve_bytes"], params["clock_skew_s"]),
            again=params["again"],
        )
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())
    if decision.faults:
        count = len(decision.faults)
        module.fail_json(
            msg=f"error[preflight]: {count} fault(s) forbid this release\n{table(decision.faults)}",
            code="preflight",
            faults=[fault.as_dict() for fault in decision.faults],
        )
    module.exit_json(
        changed=False,
        candidate=decision.candidate,
        stable=decision.stable,
        stable_release=decision.stable_release,
        already=decision.already,
        quarantined=decision.quarantined,
        notes=list(decision.notes),
    )


if __name__ == "__main__":
    main()
