#!/usr/bin/python
"""Ansible module: lays turnout-edge's package on an edge, all files in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: edge_program
short_description: Lay turnout-edge's package on an edge
description:
  - Makes a folder hold exactly the given Python files, and compiles them, so that the program starts quickly.
  - One call for all files; copying a folder takes several calls for each of them.
options:
  path:
    description: The package's folder.
    type: path
    required: true
  files:
    description: Text of each file, by its name.
    type: dict
    required: true
attributes:
  check_mode: {description: Tells which files differ., support: full}
  diff_mode: {description: Shows which files differ., support: full}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Lay the program
  turnout.ops.edge_program:
    path: /usr/local/lib/turnout-edge/turnout_edge
    files: "{{ edge_program_files }}"
"""

RETURN = r"""
written: {description: Files that were new or different., type: list, elements: str, returned: always}
removed: {description: Files that do not belong to the package any more., type: list, elements: str, returned: always}
"""

import compileall
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils.folder import lay


def differences(path, files):
    """Return the names to write and the names to remove."""
    present = {}
    if os.path.isdir(path):
        for name in os.listdir(path):
            if name.endswith(".py"):
                with open(os.path.join(path, name), encoding="utf-8") as stream:
                    present[name] = stream.read()
    # What is new comes first: what imports it is laid when it is there.
    written = sorted(
        (name for name, text in files.items() if present.get(name) != text), key=lambda name: (name in present, name)
    )
    return written, sorted(set(present) - set(files))


def main():
    """Compare, lay, compile."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    path, files = module.params["path"], module.params["files"]
    if any(os.path.basename(name) != name or not name.endswith(".py") for name in files):
        module.fail_json(msg=f"observed: files {sorted(files)}; expected: names that end in .py; to mend: the task")
    written, removed = differences(path, files)
    changed = bool(written or removed)
    diff = {"before": "".join(f"{name}\n" for name in removed), "after": "".join(f"{name}\n" for name in written)}
    if changed and not module.check_mode:
        os.makedirs(path, mode=0o755, exist_ok=True)
        lay(path, files, written, removed)
        if not compileall.compile_dir(path, quiet=2, force=True):
            module.fail_json(
                msg=f"observed: the Python of this host cannot compile {path}; expected: Python 3.11 or newer, "
                "as Debian 12 has it; to mend: set ansible_python_interpreter to /usr/bin/python3"
            )
    module.exit_json(changed=changed, written=written, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
