#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Lays Prometheus rule files that the host's own promtool has checked and tested, all or none."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: prometheus_rules
short_description: Lay Prometheus rule files that promtool has checked and tested
description:
  - Makes a folder hold exactly the given rule files among those whose names begin with O(prefix).
  - Where anything differs, all of them are first checked and unit-tested beside the folder with the host's own
    promtool; only then is any file replaced. Rules that fail change nothing.
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  dest:
    description: Folder from which Prometheus reads rules.
    type: path
    required: true
  rules:
    description: Text of each rule file, by its name.
    type: dict
    required: true
  tests:
    description: Text of promtool's test file for each rule file, by the same name; it reads C(../rules/NAME).
    type: dict
    default: {}
  prefix:
    description: Files of the folder that begin with it belong to this task.
    type: str
    default: slo-
attributes:
  check_mode:
    support: full
    description: Tells which files differ; the rules are checked and tested all the same.
  diff_mode:
    support: full
    description: Shows the files before and after.
"""

EXAMPLES = r"""
- name: Test and lay the rules of the SLOs
  turnout.ops.prometheus_rules:
    dest: /etc/prometheus/rules.d
    rules: "{{ slo_rules_generated.rules }}"
    tests: "{{ slo_rules_generated.tests }}"
  notify: slo rules changed
"""

RETURN = r"""
written: {description: Files that were new or different., type: list, elements: str, returned: success}
removed: {description: Files that belong to no SLO any more., type: list, elements: str, returned: success}
tested: {description: How many test files promtool ran; 0 where nothing differed., type: int, returned: success}
"""

import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.folder import lay


def present(dest, prefix):
    """Return the text of the files that are there, by name."""
    found = {}
    for name in sorted(os.listdir(dest)):
        if name.startswith(prefix) and name.endswith(".yml"):
            with open(os.path.join(dest, name), encoding="utf-8") as stream:
                found[name] = stream.read()
    return found


def faults_of(params):
    """Return what is wrong with the parameters, or None."""
    wrong = [
        name
        for name in (*params["rules"], *params["tests"])
        if os.path.basename(name) != name or not name.startswith(params["prefix"]) or not name.endswith(".yml")
    ]
    if wrong:
        return (
            f"observed: files {', '.join(sorted(wrong))}; expected: names like {params['prefix']}NAME.yml; "
            "to mend: the names in the task's rules and tests"
        )
    if not os.path.isdir(params["dest"]):
        return (
            f"observed: no folder {params['dest']}; expected: the folder that Prometheus reads rules from; "
            "to mend: ansible-playbook turnout.ops.site --tags monitoring, or slo_rules_dest"
        )
    return None


def prove(module, rules, tests):
    """Check and test the rules in a folder of their own; fail the module with promtool's words where they fail."""
    folder = tempfile.mkdtemp(prefix="turnout-rules-")
    try:
        for below, files in (("rules", rules), ("tests", tests)):
            os.mkdir(os.path.join(folder, below))
            for name, text in files.items():
                with open(os.path.join(folder, below, name), "w", encoding="utf-8") as stream:
                    stream.write(text)
        for verb, below, files in (("check", "rules", rules), ("test", "tests", tests)):
            if not files:
                continue
            words = [module.get_bin_path("promtool", required=True), verb, "rules"]
            code, out, err = module.run_command([*words, *(os.path.join(below, name) for name in files)], cwd=folder)
            if code != 0:
                said = [line for line in (out + err).splitlines() if line.strip()]
                module.fail_json(
                    msg=f"error[{module.params['prefix']}rules]: promtool {verb} rules failed, nothing was laid:\n"
                    + "\n".join(said[:40])
                    + "\nexpected: rules that this host's promtool accepts and whose tests pass; to mend: "
                    "turnout slo rules SLOS --test, or turnout dashboard rules --test, shows the same on the controller"
                )
    finally:
        shutil.rmtree(folder)


def main():
    """Compare, prove, lay."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "rules": {"type": "dict", "required": True},
            "tests": {"type": "dict", "default": {}},
            "prefix": {"type": "str", "default": "slo-"},
        },
        supports_check_mode=True,
    )
    dest, rules, tests = module.params["dest"], module.params["rules"], module.params["tests"]
    fault = faults_of(module.params)
    if fault:
        module.fail_json(msg=fault)
    before = present(dest, module.params["prefix"])
    written = sorted(name for name, text in rules.items() if before.get(name) != text)
    removed = sorted(set(before) - set(rules))
    changed = bool(written or removed)
    if written:
        prove(module, rules, tests)
    if changed and not module.check_mode:
        lay(dest, rules, written, removed)
    diff = [
        {"before_header": name, "after_header": name, "before": before.get(name, ""), "after": rules.get(name, "")}
        for name in [*written, *removed]
    ]
    module.exit_json(changed=changed, written=written, removed=removed, tested=len(tests) if written else 0, diff=diff)


if __name__ == "__main__":
    main()
