"""What a drill measured, as it goes: marks on one monotonic clock, checks, causes. Written after every step, so that a
drill which is killed leaves what it had."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .engine import when
from .place import FORMAT
from .shell import ProgramError


class Measured:
    """The raw record; `turnout.drill.finish` on the controller computes RPO, RTO and verdict from it."""

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path = path
        self.data: dict[str, Any] = {
            "format": FORMAT,
            "id": plan["id"],
            "mode": plan["mode"],
            "started": when(time.time()),
            "ended": None,
            "began_s": None,
            "marks": [],
            "failure": None,
            "recovered": None,
            "sizes": {"data_bytes": None, "wal_bytes": None, "backup_age_s": None, "backup_interval_s": None},
            "checks": [],
            "egress_blocked": None,
            "causes": [],
            "notes": {},
            # No drill: the questions of a release were asked on the restored data.
            **({"questions": True} if plan.get("questions") else {}),
        }

    def mark(self, phase: str | None) -> None:
        """End a phase here; None ends a stretch that is no part of the RTO."""
        self.data["marks"].append([phase, time.monotonic()])
        self.save()

    def check(self, name: str, fault: str | None, seconds: float = 0.0, said: str = "") -> bool:
        """Record a check: passed where there is no fault."""
        outcome = "pass" if fault is None else "fail"
        self._check(name, outcome, seconds, said if fault is None else fault)
        return fault is None

    def unknown(self, name: str, why: str) -> None:
        """Record a check that could not look."""
        self._check(name, "unknown", 0.0, why)

    def _check(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        self.data["checks"].append(
            {"name": name, "outcome": outcome, "seconds": round(seconds, 3), "detail": detail[:500]}
        )

    @contextmanager
    def checking(self, name: str) -> Iterator[Callable[[str | None], None]]:
        """Time a check; the block calls what it is given with the fault. One that it cannot make is unknown."""
        began = time.monotonic()
        faults: list[str | None] = []
        try:
            yield faults.append
        except ProgramError as error:
            self._check(name, "fail", time.monotonic() - began, str(error))
        else:
            self.check(name, faults[0] if faults else "it did not look", time.monotonic() - began)

    @property
    def failed(self) -> bool:
        """Tell whether a check failed or could not look."""
        return any(check["outcome"] != "pass" for check in self.data["checks"])

    def save(self) -> None:
        """Write it whole."""
        draft = self.path.with_suffix(".new")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(self.data))
        os.replace(draft, self.path)
