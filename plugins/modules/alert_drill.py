#!/usr/bin/python
"""The documentation of the action of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alert_drill
short_description: Make alerts fire and follow each to the end of its receiver
description:
  - Refuses what cannot be done before anything fires, has M(turnout.ops.alert_drill_here) drill on this host, and says
    what came of each alert.
  - Fails where one did not arrive, or not at a receiver that can be read.
options:
  allowed: {description: Whether pages may be sent that are none., type: bool, default: false}
  alerts: {description: "Names of alerts, as a list or by commas; empty means all.", type: raw}
  read: {description: "How the end of each receiver is read, by its name.", type: dict, default: {}}
  labels: {description: Labels that real alerts get from their series., type: dict, default: {}}
  longest_for_s: {description: Seconds to which C(for) is shortened., type: float, default: 30}
  group_wait_s: {description: Alertmanager's group_wait in seconds., type: float, default: 30}
  group_interval_s: {description: Alertmanager's group_interval in seconds., type: float, default: 300}
  limit_s: {description: Seconds for the whole., type: float, default: 900}
  prometheus: {description: Address of Prometheus., type: str, required: true}
  alertmanager: {description: Address of Alertmanager., type: str, required: true}
  rules_dir: {description: Folder from which Prometheus reads rules., type: path, default: /etc/prometheus/rules.d}
  reload:
    description: Command that has Prometheus read its rules again.
    type: list
    elements: str
    default: [systemctl, reload, prometheus]
  format: {description: Lines for a person or one JSON object., type: str, choices: [table, json], default: table}
attributes:
  check_mode: {support: full, description: Tells which alerts are meant; nothing fires.}
  diff_mode: {support: none, description: Nothing stays but the record.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Drill every alert
  turnout.ops.alert_drill:
    allowed: true
    prometheus: http://10.0.0.41:9090
    alertmanager: http://10.0.0.41:9093
    read: {team: {url: "https://chat.example.org/api/messages?search={mark}"}}
"""

RETURN = r"""
alerts: {description: What was seen of each alert., returned: success, type: list, elements: dict}
entry: {description: What the ledger keeps of it., returned: where something fired, type: dict}
report: {description: Lines for a person or JSON text., returned: success, type: str}
"""
