"""Documentation that is common to what acts for a run."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for."""

    DOCUMENTATION = r"""
options:
  run: {description: Id of the run that acts., type: str, required: true}
"""

    ACTOR = r"""
options:
  actor: {description: Who runs it; recorded., type: str, required: true}
"""
