#!/usr/bin/python
"""Judge the pending migrations of a release against the schema as the database itself tells it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: schema
short_description: Judge pending migrations before they are applied
description:
  - Runs on the controller. Refuses migrations that the release in service could not run on, and a schema that the
    candidate could not run on.
extends_documentation_fragment:
  - turnout.ops.decision
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  version: {description: "Highest migration applied; in a list without numbers, how many.", type: int, required: true}
  todo:
    description: Ids of the migrations that are not applied; by default those above O(version).
    type: list
    elements: str
  unlisted:
    description: What the tool would apply and the release does not list; counts as contract.
    type: list
    elements: str
    default: []
  recorded: {description: "Schema state that the edges recorded, or empty.", type: dict, default: {}}
  stable_record: {description: Release record of the release in service., type: dict, default: {}}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Judge the pending migrations
  turnout.ops.schema:
    manifest: "{{ release_manifest }}"
    version: 3
  delegate_to: localhost
"""

RETURN = r"""
pending: {description: Migrations to apply., returned: success, type: list, elements: str}
version: {description: Highest migration once they are applied., returned: success, type: int}
last_contract: {description: Highest contract migration once they are applied., returned: success, type: int}
contracted: {description: Highest contract migration that is applied now., returned: success, type: int}
contracts: {description: The release's contract migrations., returned: success, type: list, elements: int}
"""
