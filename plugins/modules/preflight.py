#!/usr/bin/python
"""Decide from what edges and hosts said whether a release may begin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Decide whether a release may begin, with all faults in one table
description:
  - Runs on the controller (C(delegate_to=localhost)) and asks nothing - it judges the facts that it is given.
extends_documentation_fragment:
  - turnout.ops.run
  - turnout.ops.decision
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  service: {description: Public view of the service file., type: dict, required: true}
  edges: {description: What C(turnout-edge show) said on each edge., type: dict, required: true}
  hosts: {description: "What M(turnout.ops.slot) with C(state=info) said on each host.", type: dict, required: true}
  asked_at:
    description: The controller's clock before the hosts were asked, in seconds since the epoch.
    type: float
    required: true
  disk_reserve_bytes: {description: Bytes that must stay free., type: int, required: true}
  clock_skew_s: {description: Seconds by which clocks may differ., type: float, required: true}
  again: {description: A person's reason to deploy a release that is in quarantine., type: str, default: ""}
  resume: {description: Go on with the same release where an earlier run died., type: bool, default: false}
  configuration: {description: Name of the configuration that is to be released., type: str, default: ""}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Judge what was seen
  turnout.ops.preflight:
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
configuration: {description: Name of the configuration that is to be released., returned: success, type: str}
named: {description: "The release with its configuration, for a person.", returned: success, type: str}
stable_named: {description: "What is in service, in the same words.", returned: success, type: str}
stable_configuration: {description: Name of the configuration in service (null where it is not on record).,
  returned: success, type: str}
differs: {description: Keys of the service file by which the configuration in service differs., returned: success,
  type: list, elements: str}
"""
