"""Filters that read what a restore measured."""

from __future__ import annotations

from turnout import tables
from turnout.counts import counted


def restore_faults(measured):
    """Return why a restore is not to be used; an empty list where it is sound."""
    wrong = [f"check {c['name']}: {c['detail']}" for c in measured["checks"] if c["outcome"] == "fail"]
    return list(measured["causes"]) + wrong


def restore_lines(measured):
    """Return the restore as lines for a person: what was recovered, and how long each step took."""
    lines = [f"restored from backup {measured['notes'].get('backup', '-')}"]
    target = measured["notes"].get("target") or {}
    if target.get("type") == "name":
        lines.append(f"  to the restore point {target['value']} of {target['at']}")
    if measured["recovered"]:
        recovered = measured["recovered"]
        lines.append(f"  last heartbeat {recovered['heartbeat']} of {recovered['at']}, replayed to {recovered['lsn']}")
    previous, steps = measured["began_s"], []
    for name, mark in measured["marks"]:
        steps.append((name or "outside the RTO", f"{mark - previous:.2f} s"))
        previous = mark
    lines += [f"  {line}" for line in tables.lines(steps, right=(1,))]
    if measured["egress_blocked"] is not None:
        lines.append(f"  attempts of it to reach something, all refused: {measured['egress_blocked']}")
    if measured["notes"].get("subscriptions"):
        lines.append(
            f"  it has {counted(measured['notes']['subscriptions'], 'enabled subscription')}, to receive once it serves"
        )
    if measured["notes"].get("may_write"):
        lines.append(f"  whether the credentials can write to the repository: {measured['notes']['may_write']}")
    checks = [(f"check {c['name']}", c["outcome"], c["detail"]) for c in measured["checks"]]
    return lines + [f"  {line}" for line in tables.lines(checks)]


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {
            "restore_faults": restore_faults,
            "restore_lines": restore_lines,
        }
