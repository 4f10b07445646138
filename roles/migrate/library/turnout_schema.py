#!/usr/bin/python
"""Judge the pending migrations of a release against the schema as the database itself tells it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: turnout_schema
short_description: Judge pending migrations before they are applied
description:
  - Runs on the controller. Refuses migrations that the release in service could not run on, and a schema that the
    candidate could not run on.
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  version: {description: Highest migration applied., type: int, required: true}
  recorded: {description: "Schema state that the edges recorded, or empty.", type: dict, default: {}}
  stable_record: {description: Release record of the release in service., type: dict, default: {}}
author: [The Turnout authors]
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
"""

EXAMPLES = r"""
- name: Judge the pending migrations
  turnout_schema:
    manifest: "{{ release_manifest }}"
    version: 3
  delegate_to: localhost
"""

RETURN = r"""
pending: {description: Migrations to apply., returned: success, type: list, elements: str}
last_contract: {description: Highest contract migration once they are applied., returned: success, type: int}
"""

import json

from ansible.module_utils.basic import AnsibleModule
from turnout.errors import TurnoutError
from turnout.faults import table
from turnout.preflight import schema_faults
from turnout.release.manifest import parse
from turnout.release.schema import SchemaState, pending, state_after


def main():
    """Judge, and fail with the table of faults when there are any."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "dict", "required": True},
            "version": {"type": "int", "required": True},
            "recorded": {"type": "dict", "default": {}},
            "stable_record": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        manifest = parse(json.dumps(params["manifest"]).encode())
    except TurnoutError as error:
        module.fail_json(msg=str(error), **error.as_dict())
    state = state_in_database(manifest, params["version"], params["recorded"])
    faults = schema_faults(manifest, state, params["stable_record"])
    if faults:
        module.fail_json(
            msg=f"error[schema]: the schema forbids this release\n{table(faults)}",
            code="schema",
            faults=[fault.as_dict() for fault in faults],
        )
    module.exit_json(
        changed=False,
        pending=[step.id for step in pending(manifest, state)],
        last_contract=state_after(manifest, state).last_contract,
    )


def state_in_database(manifest, version, recorded):
    """Return the schema state: the version is the database's, what was contracted is known from manifest and record."""
    applied = [step.version for step in manifest.migrations if step.kind == "contract" and step.version <= version]
    remembered = int(recorded.get("last_contract") or 0)
    return SchemaState(version, max([0, *applied, remembered if remembered <= version else 0]))


if __name__ == "__main__":
    main()
