"""A filter that tells an answer from a host that gave none."""

from __future__ import annotations

DOCUMENTATION = r"""
name: answer
short_description: The result of a task, or null when the host did not answer
description: Returns the result when it holds O(key), and null otherwise.
positional: key
options:
  _input: {description: A registered result., type: dict, required: true}
  key: {description: Key that every answer has., type: str, required: true}
"""

EXAMPLES = r"""
seen: "{{ status_edge | turnout.ops.answer('stable') }}"
"""

RETURN = r"""
_value: {description: The result or null., type: dict}
"""


def answer(result, key):
    """Return `result` when it is an answer, that is when it holds `key`; else None."""
    return result if key in result else None


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"answer": answer}
