# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Filters: the exposure of units of many hosts as one table."""

from __future__ import annotations


def worst(by_host):
    """Return {unit: exposure} of many hosts, the greatest of each."""
    found = {}
    for told in by_host.values():
        for unit, value in told.items():
            found[unit] = max(value, found.get(unit, 0.0))
    return dict(sorted(found.items()))


def table(by_host):
    """Return the units of an inventory as the lines of a table."""
    return [
        "| Unit | Exposure |",
        "|---|---|",
        *(f"| `{unit}` | {value:.1f} |" for unit, value in worst(by_host).items()),
    ]


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"exposure_worst": worst, "exposure_table": table}
