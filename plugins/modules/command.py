#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Begins a command of a person in a color of a service on this host, tells of one, or ends one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: command
short_description: Run a command in the color in service
description:
  - Begins a command as a transient unit with the environment, the user and the isolation of the API in that color; its
    output is kept on the host. Behind C(turnout run).
  - An action of the same name decides, from what the edges said, which color that is, and writes down how the client
    connects to the command.
version_added: "0.3.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  state:
    description:
      - C(begun) begins a command. One that is not O(detach) waits for its client.
      - C(told) tells what is on record of one, and the output that was kept.
      - C(stopped) ends one.
    type: str
    default: begun
    choices: [begun, told, stopped]
  service: {description: The service's name., type: str, required: true}
  id: {description: The command's id., type: str, required: true}
  edges:
    description: What each edge answered to C(show), or nothing. The action reads it.
    type: dict
    default: {}
  hand_over: {description: File on the controller that the action writes for the client., type: path}
  color: {description: The color in service; the action gives it., type: str}
  release_id: {description: The release that stands there; the action gives it., type: str}
  client_uid: {description: The user on the host who may connect to it; the action gives it., type: int, default: 0}
  words:
    description: The words of the command, as JSON. Of a list, each word would be blanked in all results.
    type: str
    default: "[]"
  actor: {description: Who runs it., type: str, default: unknown}
  terminal:
    description: Type (C(term)), C(rows) and C(columns) of the client's terminal; without them the command has none.
    type: dict
  timeout_s: {description: Seconds that it may take., type: int, default: 3600}
  detach: {description: Whether it goes on without a client., type: bool, default: false}
attributes:
  check_mode: {support: none, description: It is skipped.}
  diff_mode: {support: none, description: There is nothing to show.}
"""

EXAMPLES = r"""
- name: See how a command ended
  turnout.ops.command:
    state: told
    service: shop
    id: 20261130-093612-a1b2
"""

RETURN = r"""
record:
  description: What is on record of the command, with C(rc) once it has ended.
  returned: success
  type: dict
running:
  description: Whether it runs.
  returned: success
  type: bool
output:
  description: What was kept of its output.
  returned: state is told
  type: str
code:
  description: A short word for the failure.
  returned: failure
  type: str
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    Places,
    SlotError,
    end,
    fence_library,
    needed,
)


def perform(params: dict) -> dict:
    """Do what the state asks for and return the module's result."""
    service, ident = params["service"], params["id"]
    places = Places(Path("/"), service)
    commands, fence = needed(places, "commands", "the program that runs commands"), fence_library(places)
    try:
        if params["state"] == "begun":
            return {
                "changed": True,
                "running": True,
                "record": commands.begin(params | {"words": json.loads(params["words"])}),
            }
        record = commands.read(service, ident)
        running = ident in commands.running(service)
        if params["state"] == "stopped":
            if running:
                commands.stop(service, record["color"], ident)
            return {"changed": running, "running": False, "record": commands.read(service, ident)}
        return {
            "changed": False,
            "running": running,
            "record": record,
            "output": commands.output_of(service, ident),
        }
    except (commands.CommandError, fence.FenceError) as refused:
        raise SlotError(**refused.fields) from None
    except OSError as error:
        raise SlotError(
            "host-files",
            f"{error.filename}: {error.strerror}",
            "a color with a release, and files that root can write",
            f"see: ls -ld {error.filename}; df -h; ansible-playbook turnout.ops.status",
        ) from None


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "default": "begun", "choices": ["begun", "told", "stopped"]},
            "service": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "edges": {"type": "dict", "default": {}},
            "hand_over": {"type": "path"},
            "color": {"type": "str"},
            "release_id": {"type": "str"},
            "client_uid": {"type": "int", "default": 0},
            "words": {"type": "str", "default": "[]", "no_log": True},
            "actor": {"type": "str", "default": "unknown"},
            "terminal": {"type": "dict"},
            "timeout_s": {"type": "int", "default": 3600},
            "detach": {"type": "bool", "default": False},
        }
    )
    end(module, lambda: perform(module.params))


if __name__ == "__main__":
    main()
