"""Documentation that is common to what reads the service file on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for."""

    DOCUMENTATION = r"""
options:
  service:
    description:
      - The variable C(service) as one JSON text, C({{ service | turnout.ops.service_json }}). Never shown.
      - A mapping would not do. Ansible would then hide every single value of it wherever it appears in the result.
    type: str
    required: true
  inventory_dir:
    description: The folder from which relative paths in the service file are taken.
    type: path
    required: true
"""

    CHECKLIST = r"""
options:
  checklist: {description: The variable C(checklist) as JSON text. Never shown., type: str, required: true}
"""

    EVIDENCE = r"""
options:
  manifest: {description: The release's manifest., type: dict, required: true}
  groups: {description: The inventory's groups., type: dict, required: true}
  salt: {description: Key of the digests of environments. Never shown., type: str, required: true}
"""
