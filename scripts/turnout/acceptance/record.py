"""What came of asking a candidate in the cage, as the edges' ledger keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from turnout.acceptance.outcome import FAIL, NOT_KNOWN, PASS
from turnout.counts import counted

KIND = "acceptance"
# What a check of the cage says of the release itself; all others say whether there was a cage to ask in.
OF_THE_RELEASE = ("migrate", "api", "smoke", "alive")
_MOST_CAUSES = 10
_LONGEST = 300  # characters


@dataclass(frozen=True)
class Release:
    """Which release was asked: its version, and its artifact's checksum."""

    version: str
    sha256: str


def record(
    release: Release,
    measured: Mapping[str, Any] | None,
    outcome: Mapping[str, Any] | None,
    *,
    now: datetime,
    lost: str = "",
) -> dict[str, Any]:
    """Return the entry of the ledger.

    `measured` is what the drill host returned (None where it was lost), `outcome` what the engine wrote (None where it
    was never asked), `lost` why, or what went wrong with the asking. A release is at fault by what was found, or by
    what it did in the cage; whatever else kept it from being asked to the end makes the verdict `not known`.
    """
    checks = [one for one in (measured or {}).get("checks", ()) if one["outcome"] != "pass"]
    at_fault = [_told(one) for one in checks if _of_the_release(one["name"])]
    findings = [
        f"{one['pack']}: {one['operation']}, {one['field']}: {one['what']}" for one in _each(outcome, "findings")
    ]
    unknown = [f"{one['pack']}: {one['operation']}: {one['why']}" for one in _each(outcome, "unknown")]
    unknown += [_told(one) for one in checks if not _of_the_release(one["name"])]
    unknown += [str(cause) for cause in (measured or {}).get("causes", ())]
    if lost:
        unknown = [lost, *unknown]
    if measured is None and not lost:
        unknown.append("the drill host returned no record of the cage")
    if outcome is None and not at_fault and not unknown:
        unknown = ["nothing was asked, and no reason is known"]
    causes = [*at_fault, *findings]
    verdict = FAIL if causes else NOT_KNOWN if unknown else PASS
    sizes, notes = (measured or {}).get("sizes") or {}, (measured or {}).get("notes") or {}
    age_s = sizes.get("backup_age_s")
    return {
        "kind": KIND,
        "release": release.version,
        "sha256": release.sha256,
        "verdict": verdict,
        "causes": [one[:_LONGEST] for one in causes[:_MOST_CAUSES]],
        "unknown": [one[:_LONGEST] for one in unknown[:_MOST_CAUSES]],
        "findings": len(findings),
        "packs": list((outcome or {}).get("packs", ())),
        "requests": (outcome or {}).get("requests", 0),
        "took_s": (outcome or {}).get("took_s"),
        "questions_sha256": (outcome or {}).get("questions_sha256"),
        "stable_sha256": (outcome or {}).get("stable_sha256"),
        "at_s": now.timestamp(),
        "backup": notes.get("backup"),
        "backup_s": None if age_s is None else _began(measured, now) - float(age_s),
        "blocked": (measured or {}).get("egress_blocked"),
        "summary": _summary(outcome, measured),
    }


def _began(measured: Mapping[str, Any] | None, now: datetime) -> float:
    """Return when the backup's age was looked at, in seconds since the epoch."""
    try:
        return datetime.fromisoformat(str((measured or {})["started"])).astimezone(UTC).timestamp()
    except (KeyError, ValueError):
        return now.timestamp()


def _summary(outcome: Mapping[str, Any] | None, measured: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "not asked"
    blocked = (measured or {}).get("egress_blocked")
    calls = "outgoing calls could not be counted" if blocked is None else f"{counted(blocked, 'outgoing call')} blocked"
    return f"{', '.join(outcome['packs'])}: {counted(outcome['requests'], 'request')}, {calls}"


def _each(outcome: Mapping[str, Any] | None, name: str) -> Iterable[Mapping[str, Any]]:
    found: Iterable[Mapping[str, Any]] = (outcome or {}).get(name, ())
    return found


def _of_the_release(check: str) -> bool:
    return check in OF_THE_RELEASE or check.startswith("worker")


def _told(check: Mapping[str, Any]) -> str:
    return f"{check['name']}: {check['detail']}"
