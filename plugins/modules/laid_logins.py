#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: which logins of rotated credentials stand in the environments that are laid on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: laid_logins
short_description: Which logins of rotated credentials stand in the colors of this host
description:
  - Looks for names of logins in the variables that hold them, in the environment file of each color. Returns names
    only.
options:
  service: {description: The service's name., type: str, required: true}
  credentials:
    description: "For each credential, C(users) (names of logins) and C(environment) (names of variables)."
    type: dict
    required: true
  environment: {description: Text of the environment as the file of the rotation has it. Never shown., type: str,
    required: true}
  root: {description: "Folder that stands for C(/), for tests.", type: path, default: /}
attributes:
  check_mode: {support: full, description: It changes nothing.}
  diff_mode: {support: none, description: It changes nothing.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: See which logins are laid
  turnout.ops.laid_logins:
    service: shop
    credentials: {database: {users: [shop_a, shop_b], environment: [DATABASE_URL]}}
    environment: "{{ service | turnout.ops.env_text('blue', '1.4.2', inventory_dir) }}"
"""

RETURN = r"""
colors:
  description: "By color and credential C(users), those found, and C(same), whether all its variables are as given."
  returned: success
  type: dict
"""

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.slot_configuration import variables_of
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import COLORS, Places


def look(places: Places, credentials: dict, environment: str) -> dict:
    """Return what stands in each color that has an environment."""
    wanted, found = variables_of(environment.encode()), {}
    for color in COLORS:
        try:
            laid = variables_of((places.root / places.environment(color)).read_bytes())
        except FileNotFoundError:
            continue
        found[color] = {
            name: {
                "users": [user for user in one["users"] if _named(user, laid, one["environment"])],
                "same": all(laid.get(key) == wanted.get(key) for key in one["environment"]),
            }
            for name, one in credentials.items()
        }
    return found


def _named(user: str, laid: dict, variables: list) -> bool:
    """Tell whether a login's name stands in one of the variables, not as a part of a longer name."""
    name = re.compile(rb"(?<![A-Za-z0-9_.-])" + re.escape(user.encode()) + rb"(?![A-Za-z0-9_.-])")
    return any(name.search(laid.get(key, b"")) for key in variables)


def main() -> None:
    """Look."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "credentials": {"type": "dict", "required": True},
            "environment": {"type": "str", "required": True, "no_log": True},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    params = module.params
    places = Places(Path(params["root"]), params["service"])
    module.exit_json(changed=False, colors=look(places, params["credentials"], params["environment"]))


if __name__ == "__main__":
    main()
