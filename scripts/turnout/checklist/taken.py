"""Whether jobs are taken from a queue, by two looks: once old workers are quiesced, only new ones can take them.

Pure: figures as the probe `queue` tells them come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from turnout.checklist.config import Queue
from turnout.checklist.model import Facts
from turnout.service.model import Service

_SAME_S = 0.05  # between two times of one job: they come from the same stamp by way of its age


def taken(first: Facts, second: Facts) -> bool | None:
    """Tell whether something was taken between two looks, or nothing waited; None where the layout cannot tell."""
    if not second.get("depth") or second.get("paused"):
        return True
    if second["depth"] < first["depth"] or any(look.get("net_per_s", 0) < 0 for look in (first, second)):
        return True
    if any((look.get("served_per_s") or 0) > 0 for look in (first, second)):
        return True
    before, after = first.get("oldest_at"), second.get("oldest_at")
    if before is not None and after is not None:
        return abs(float(before) - float(after)) > _SAME_S
    if first.get("head") and second.get("head"):
        return bool(first["head"] != second["head"])
    return False if second.get("served_per_s") is not None else None


class Watched:
    """Queues that are looked at until from each of them something was seen taken."""

    def __init__(self) -> None:
        self.first: dict[str, Facts] = {}
        self.last: dict[str, Facts] = {}
        self.told: dict[str, str] = {}

    def add(self, looks: Mapping[str, Facts | None]) -> list[str]:
        """Take a look at every queue, None where it could not be asked; return those that still wait, by name."""
        waiting = []
        for name, facts in looks.items():
            if name in self.told:
                continue
            if facts is None or "depth" not in facts:
                self.told[name] = "not known: it could not be looked at"
                continue
            first = self.first.setdefault(name, facts)
            self.last[name] = facts
            seen = taken(first, facts)
            if seen is None:
                self.told[name] = "not known: its layout does not tell (checklist.queues: time_field, served_key)"
            elif seen:
                self.told[name] = "jobs are taken" if facts["depth"] else "nothing waits"
            else:
                waiting.append(name)
        return waiting

    def fault(self, waiting: list[str], idle_s: float, kinds: Sequence[str]) -> str:
        """Return what a person is told of queues that no worker of these kinds takes jobs from."""
        depths = ", ".join(
            f"{name} ({self.first[name]['depth']} waited, now {self.last[name]['depth']})" for name in waiting
        )
        keys = ", ".join(f"service.workers.{kind}.idle_s" for kind in kinds)
        return (
            f"error[worker-idle]: the new workers ({', '.join(kinds)}) have taken no job for {idle_s:g} s from "
            f"{depths}, while the old ones were told to take none; expected: workers that take jobs from the queues of "
            "checklist.queues that they serve; to mend: release a version whose workers take jobs (see: journalctl -u "
            f"on a worker host), or, where all may be busy with jobs that are longer, raise {keys}"
        )


def kinds_of(queue: Queue, service: Service) -> tuple[str, ...]:
    """Return the kinds of worker that serve a queue."""
    return queue.workers or tuple(service.workers)


def idle_s_of(queue: Queue, service: Service, *, first: bool) -> float | None:
    """Return for how long jobs may wait in a queue, None where only new workers cannot be told from old ones.

    That is so where one of the kinds that serve it has no signal by which the old ones take no new jobs, unless this
    is the first release, with `first`.
    """
    kinds = [service.workers[name] for name in kinds_of(queue, service)]
    if not kinds or (not first and any(kind.quiesce_signal is None for kind in kinds)):
        return None
    return max(kind.idle_s for kind in kinds)
