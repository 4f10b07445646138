"""Documentation that is common to what writes into the backup repositories."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for."""

    DOCUMENTATION = r"""
options:
  stanza:
    description: The stanza.
    type: str
    required: true
  repositories:
    description: Numbers of the repositories.
    type: list
    elements: int
    required: true
"""
