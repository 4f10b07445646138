#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: make alerts fire, and follow each to the end of its receiver, from the monitoring host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: alert_drill_here
short_description: Make alerts fire and follow them to their receivers, from this host
description:
  - Lays a rule file beside Prometheus' own, in which each alert has its name, labels and waiting time and an expression
    that is true until a moment. It fires, is routed, and has to be seen at each receiver's end.
  - The rules are taken away at the end. Where that does not happen, they go out by themselves.
  - What was proven, and when, is kept in O(state).
  - Is asked by M(turnout.ops.alert_drill). Needs Debian's own python3.
options:
  question:
    description: JSON text of what M(turnout.ops.alert_drill) made of its options. It may hold credentials.
    type: str
    required: true
  rules_dir: {description: Folder from which Prometheus reads rules., type: path, default: /etc/prometheus/rules.d}
  reload:
    description: Command that has Prometheus read its rules again.
    type: list
    elements: str
    default: [systemctl, reload, prometheus]
  state: {description: File that keeps what was proven., type: path, default: /var/lib/turnout/alert-drill.json}
attributes:
  check_mode: {support: full, description: Tells which alerts are meant; nothing fires.}
  diff_mode: {support: none, description: Nothing stays but the record.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Follow an alert to its receiver
  turnout.ops.alert_drill_here:
    question: "{{ question | to_json }}"
"""

RETURN = r"""
alerts: {description: What was seen of each alert., returned: success, type: list, elements: dict}
problem: {description: Why nothing could be made to fire., returned: where it could not, type: str}
"""

import contextlib
import json
import os
import signal
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import alert_drill
from ansible_collections.turnout.ops.plugins.module_utils.answers import ProbeError

FILE = "turnout-alert-drill.yml"
RELOAD_LIMIT_S = 30


class Rules:
    """The rules of a drill, beside Prometheus' own."""

    def __init__(self, module) -> None:
        self.module = module
        self.path = os.path.join(module.params["rules_dir"], FILE)

    def lay(self, text: str) -> None:
        """Write them and have them read; raises ProbeError where that cannot be."""
        if not os.path.isdir(self.module.params["rules_dir"]):
            raise ProbeError("missing", f"there is no folder {self.module.params['rules_dir']}")
        draft = self.path + ".new"  # is no rule file for Prometheus
        with open(draft, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(draft, 0o644)
        os.replace(draft, self.path)
        self._reload()

    def take_away(self) -> None:
        """Remove them, and have that read."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
            self._reload()

    def _reload(self) -> None:
        words = self.module.params["reload"]
        try:
            done = subprocess.run(words, capture_output=True, timeout=RELOAD_LIMIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProbeError("error", f"{' '.join(words)}: {type(error).__name__}") from error
        if done.returncode:
            raise ProbeError("error", f"{' '.join(words)} ended with exit code {done.returncode}")


def remember(path: str, alerts: list, now: float) -> None:
    """Keep when each alert was proven last, and what a later try that did not prove it met."""
    known = alert_drill.known_in(path)
    for one in alerts:
        before = known.get(alert_drill.key_of(one), {})
        proven = one["delivered_s"] is not None and not one["hindrance"]
        known[alert_drill.key_of(one)] = {
            "alert": one["alert"], "labels": one["labels"], "tried_at": now,
            "proven_at": now if proven else before.get("proven_at"), "last": one,
        }  # fmt: skip
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump({"format": alert_drill.FORMAT, "alerts": known}, stream, indent=1, sort_keys=True)
    os.chmod(path + ".new", 0o644)
    os.replace(path + ".new", path)


def drill(module, question: dict) -> list:
    """Make the alerts fire, and return what was seen of each; raises ProbeError."""
    one = alert_drill.Drill(question)
    one.look()
    if module.check_mode:
        return one.told()
    rules = Rules(module)
    # However this ends: by a lost connection too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(SystemExit(1)))
    try:
        one.run(rules.lay)
    finally:
        rules.take_away()
    found = one.told()
    remember(module.params["state"], found, time.time())
    return found


def main():
    """Drill, and return what was seen."""
    module = AnsibleModule(
        argument_spec={
            "question": {"type": "str", "required": True, "no_log": True},
            "rules_dir": {"type": "path", "default": "/etc/prometheus/rules.d"},
            "reload": {"type": "list", "elements": "str", "default": ["systemctl", "reload", "prometheus"]},
            "state": {"type": "path", "default": "/var/lib/turnout/alert-drill.json"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=not module.check_mode, alerts=drill(module, json.loads(module.params["question"])))
    except ProbeError as error:
        module.exit_json(changed=False, alerts=[], problem=str(error))


if __name__ == "__main__":
    main()
