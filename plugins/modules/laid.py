#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: which Turnout laid the programs of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: laid
short_description: Which Turnout laid the programs of a host
description:
  - Reads the version and the protocol of each of Turnout's programs on the host, and names records there that newer
    programs wrote. A program that was laid before versions were kept has none.
attributes:
  check_mode: {description: It changes nothing., support: full}
  diff_mode: {description: It changes nothing., support: none}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Ask which programs are laid
  turnout.ops.laid:
  register: seen
"""

RETURN = r"""
programs:
  description: "For each program that is here (C(edge), C(host), C(drill), C(schedule)): C(version), null where it has
    none, and C(protocol)."
  returned: always
  type: dict
  sample: {"edge": {"version": "0.3.0", "protocol": 1}}
newer:
  description: "Records that are of a newer format than the program C(host) here reads: C(path), C(format), C(reads)."
  returned: always
  type: list
  elements: dict
"""

import glob
import json
import os
import re

GIVEN = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""  # makes Ansible send this file as it is, without its library

ROOT = "/"
LIBRARY = "usr/local/lib"
PACKAGES = {
    "edge": "turnout-edge/turnout_edge",
    "host": "turnout-host/turnout_host",
    "drill": "turnout-drill/turnout_drill",
    "schedule": "turnout-scheduled/turnout_scheduled",
}
RECORDS = ("var/lib/turnout-slots/*/fence.json", "var/lib/turnout-homes/*.json")


def text_of(path):
    """Return the text of a file; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def found(pattern, text):
    """Return what a line of a program sets; None where it does not."""
    line = re.search(pattern, text, re.MULTILINE)
    return line.group(1) if line else None


def programs():
    """Return version and protocol of each program that is here."""
    here = {}
    for name, package in PACKAGES.items():
        folder = os.path.join(ROOT, LIBRARY, package)
        if os.path.isdir(folder):
            text = text_of(os.path.join(folder, "version.py"))
            version = found(r'^VERSION = "([^"]*)"$', text)
            here[name] = {"version": version or None, "protocol": int(found(r"^PROTOCOL = (\d+)$", text) or 1)}
    return here


def newer_records():
    """Return the records that a newer program wrote than the one that is here."""
    text = text_of(os.path.join(ROOT, LIBRARY, PACKAGES["host"], "atomic.py"))
    reads = int(found(r"^FORMAT = (\d+)\b", text) or 1)
    newer = []
    for path in sorted(path for pattern in RECORDS for path in glob.glob(os.path.join(ROOT, pattern))):
        try:
            record = json.loads(text_of(path))
        except (ValueError, RecursionError):
            continue  # damaged; whoever reads it says so
        number = record.get("format", 1) if isinstance(record, dict) else 1
        if isinstance(number, int) and not isinstance(number, bool) and number > reads:
            newer.append({"path": path, "format": number, "reads": reads})
    return newer


def main():
    """Look, and answer."""
    print(json.dumps({"changed": False, "programs": programs(), "newer": newer_records()}))


if __name__ == "__main__":
    main()
