"""Documentation that is common to what works on a PostgreSQL cluster of the host."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible asks for."""

    DOCUMENTATION = r"""
options:
  data_directory:
    description: Data directory of the cluster, which knows the port that the server listens on.
    type: path
    required: true
"""
