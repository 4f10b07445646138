"""What a rehearsal of the way back showed: durations, exposure, lost requests, and whether it went as it must. Pure.

A rehearsal releases a version that is built to fail and sees it go back, then one that is good and takes it back by
hand. Beside it every edge sends itself requests, and its HAProxy counts everybody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout import tables

FAILING, GOOD, BACK, MENDED = "failing", "good", "back", "mended"
"""Stages: the release that must fail, the one that must not, the rollback by hand; and the rollback that is run where
the first one did not fail."""


RESPONSES = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
"""HAProxy's counters of answers, by the class of their status."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one edge said between two stages: its release, its counters, what its requests came to, its journal."""

    serves: str | None
    at_rest: bool
    responses: int
    errors_5xx: int
    sent: int
    lost: int
    journal: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One playbook of the rehearsal: exit code, seconds, and the first cause that it gave where it failed."""

    name: str
    code: int
    seconds: float
    cause: str


def look(shown: Mapping[str, Any], probe: Mapping[str, Any]) -> Look:
    """Return what `turnout-edge show` and the edge's own requests say."""
    stable = shown.get("stable")
    release = (shown.get("releases") or {}).get(stable) if stable else None
    backends = [one for one in (shown.get("backends") or {}).values() if one]
    at_rest = bool(shown.get("agree")) and shown.get("candidate") is None and not shown["lock"]["held"]
    return Look(
        serves=release.get("release") if release else None,
        at_rest=at_rest,
        responses=sum(int(one.get(key) or 0) for one in backends for key in RESPONSES),
        errors_5xx=sum(int(one.get("hrsp_5xx") or 0) for one in backends),
        sent=int(probe.get("sent") or 0),
        lost=int(probe.get("lost") or 0),
        journal=tuple(shown.get("journal") or ()),
    )


def grown(now: int, before: int) -> int:
    """Return the growth of a counter; after a reset (HAProxy was restarted) it is the new value."""
    return now - before if now >= before else now


def exposed_s(before: Look, after: Look) -> float | None:
    """Return how long users could meet the candidate on an edge: from its first share to the way back, by the edge's
    own journal and clock. None where it never had a share; raises ValueError where the journal knows no way back."""
    known = max((int(line["seq"]) for line in before.journal), default=0)
    began: datetime | None = None
    for line in after.journal:
        if int(line["seq"]) <= known or line.get("event") != "result":
            continue
        moment = datetime.fromisoformat(str(line["ts"]))
        if line.get("action") == "move" and began is None and (line.get("state") or {}).get("share_bp", 0) > 0:
            began = moment
        elif line.get("action") == "rollback" and began is not None:
            return (moment - began).total_seconds()
    if began is not None:
        raise ValueError("the journal tells of a share and of no way back")
    return None


def counted(before: Mapping[str, Look], after: Mapping[str, Look]) -> dict[str, int]:
    """Return what all edges counted between two looks."""
    names = [name for name in after if name in before]
    return {
        key: sum(grown(getattr(after[name], key), getattr(before[name], key)) for name in names)
        for key in ("responses", "errors_5xx", "sent", "lost")
    }


def evidence(
    stages: Sequence[Stage], looks: Sequence[Mapping[str, Look]], versions: Mapping[str, str], edges: Sequence[str]
) -> dict[str, Any]:
    """Return the ledger's entry. `looks` has one look at every edge before the first stage and one after each;
    `versions` are those asked for by stage. The verdict is pass where everything went as it must; else fail, with
    causes."""
    causes: list[str] = []
    start = looks[0]
    stable = next((one.serves for one in start.values()), None)
    rows = []
    for stage, before, after in zip(stages, looks, looks[1:], strict=False):
        row: dict[str, Any] = {
            "stage": stage.name,
            "release": versions.get(stage.name),
            "code": stage.code,
            "seconds": round(stage.seconds, 1),
            **counted(before, after),
        }
        if stage.name == FAILING:
            row["cause"] = stage.cause
            row["exposed_s"] = _exposed(before, after, causes)
        causes += _faults(stage, after, versions, stable, row)
        rows.append(row)
    codes = {stage.name: stage.code for stage in stages}
    # There is no way back to see where the good release did not get into service.
    due = [FAILING, GOOD, BACK] if codes.get(GOOD) == 0 else [FAILING, GOOD]
    if missing := [name for name in due if name not in codes]:
        causes.append(f"not run: {', '.join(missing)}")
    absent = sorted({name for one in looks for name in edges if name not in one})
    if absent:
        causes.append(f"{', '.join(absent)} did not answer throughout: what users met there is not known")
    return {
        "kind": "rehearsal",
        "stable": stable,
        "stages": rows,
        "verdict": "fail" if causes else "pass",
        "causes": causes,
    }


def _exposed(before: Mapping[str, Look], after: Mapping[str, Look], causes: list[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, one in after.items():
        if name not in before:
            continue
        try:
            found[name] = exposed_s(before[name], one)
        except ValueError as error:
            causes.append(f"{name}: {error}")
    return found


def _faults(
    stage: Stage, after: Mapping[str, Look], versions: Mapping[str, str], stable: str | None, row: Mapping[str, Any]
) -> list[str]:
    """Return what did not go as it must in one stage."""
    faults = []
    version = versions.get(stage.name)
    must_fail = stage.name == FAILING
    if must_fail and stage.code == 0:
        faults.append(f"{version} was built to fail and was released all the same")
    if must_fail and stage.code != 0 and not any(row["exposed_s"].values()):
        faults.append(
            f"{version} was stopped before any traffic met it, so that no way back was rehearsed: "
            f"{stage.cause or f'exit code {stage.code}'}"
        )
    if not must_fail and stage.code != 0:
        what = f"the release of {version}" if stage.name == GOOD else "the rollback"
        faults.append(f"{what} failed: {stage.cause or f'exit code {stage.code}'}")
    expected = version if stage.name == GOOD else stable
    if not (must_fail and stage.code == 0):
        for name, one in sorted(after.items()):
            if one.serves != expected:
                faults.append(f"after stage {stage.name} {name} serves {one.serves}, not {expected}")
            elif not one.at_rest:
                faults.append(f"after stage {stage.name} {name} is not at rest")
    if row["sent"] == 0:
        faults.append(f"no request was sent in stage {stage.name}: what users met is not known")
    if not must_fail and row["lost"]:
        faults.append(f"{row['lost']} of {row['sent']} requests were lost in stage {stage.name}")
    return faults


def lines(entry: Mapping[str, Any]) -> list[str]:
    """Return an entry as a person reads it."""
    rows: list[tuple[object, ...]] = [
        ("stage", "release", "seconds", "requests", "lost", "all 5xx", "exposed on edges")
    ]
    for row in entry["stages"]:
        exposed = ", ".join(
            f"{name} {'never' if value is None else f'{value:.1f} s'}"
            for name, value in sorted((row.get("exposed_s") or {}).items())
        )
        release = row["release"] or entry["stable"] or "-"
        seen = (row["sent"], row["lost"], row["errors_5xx"])
        rows.append((row["stage"], release, f"{row['seconds']:.1f}", *seen, exposed))
    out = tables.lines(rows, right=range(2, 6))
    return [*out, f"verdict: {entry['verdict']}", *(f"  {cause}" for cause in entry["causes"])]
