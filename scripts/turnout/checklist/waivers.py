"""Waivers: one check, one release, one reason, one person, one end. Anything less is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from turnout.checklist.model import Result, Waiver
from turnout.faults import Fault, reader_of

MIN_REASON = 10
"""Characters of a reason; "ok" is none."""
LONGEST = timedelta(days=31)
"""How far in the future a waiver may end; what is to last longer is a change of the configuration."""
_EXAMPLE = '{check: disk, reason: "...", who: you@example.com, release: "1.4.2", expires: 2026-01-31T18:00:00+01:00}'


def read(
    items: Sequence[object], *, known: Iterable[str], path: str = "checklist.waivers"
) -> tuple[list[Waiver], list[Fault]]:
    """Return the waivers, and what is wrong with them as they are written. `known` are the names of all checks."""
    faults: list[Fault] = []
    waivers: list[Waiver] = []
    names = frozenset(known)
    for index, item in enumerate(items):
        before = len(faults)
        reader = reader_of(item, f"{path}[{index}]", faults)
        check = reader.text("check", required=True, expected="the name of a check", example="disk")
        if check and check.partition("@")[0] not in names:
            reader.fault("check", f"no check is called {check!r}", f"one of: {', '.join(sorted(names))}", "correct it")
        reason = reader.text("reason", required=True, expected="why this release may do without", example='"..."')
        if reason and len(reason.strip()) < MIN_REASON:
            reader.fault("reason", f"{len(reason.strip())} characters", f"at least {MIN_REASON}", "say why")
        who = reader.text("who", required=True, expected="who answers for it", example="you@example.com")
        release = reader.text("release", required=True, expected="the version that it is for", example='"1.4.2"')
        expires = _moment(reader.raw("expires"))
        if expires is None:
            reader.fault(
                "expires",
                reader.show(reader.raw("expires")),
                "a moment with its offset from UTC",
                "write expires: 2026-01-31T18:00:00+01:00",
            )
        reader.done()
        if len(faults) == before and expires is not None:
            waivers.append(Waiver(check, reason.strip(), who, release, expires.timestamp()))
    return waivers, faults


def _moment(value: object) -> datetime | None:
    """Return an aware moment. YAML may have read it already; Ansible hands it on as text."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else None
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[T ]", value):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def refusals(waivers: Sequence[Waiver], *, release: str, now_s: float) -> list[Fault]:
    """Return why waivers do not count for this release at this moment: expired, too long, or for another release."""
    faults = []
    for index, waiver in enumerate(waivers):
        where = f"checklist.waivers[{index}] ({waiver.check})"
        until = _words(waiver.expires_s)
        if waiver.expires_s <= now_s:
            faults.append(Fault(where, f"expired {until}", "a waiver that is still valid", "remove it, or renew it"))
        elif waiver.expires_s - now_s > LONGEST.total_seconds():
            faults.append(Fault(where, f"lasts until {until}", f"at most {LONGEST.days} days", "let it expire sooner"))
        if waiver.release != release:
            faults.append(
                Fault(where, f"for release {waiver.release}", f"for {release}", "remove it, or ask for one anew")
            )
    return faults


def _words(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def apply(results: Iterable[Result], waivers: Sequence[Waiver]) -> list[Result]:
    """Return the results, those that are obstacles with the waiver that covers them."""
    applied = []
    for result in results:
        covering = [waiver for waiver in waivers if waiver.covers(result)] if result.obstacle else []
        applied.append(result.waived(covering[0]) if covering else result)
    return applied


def used(results: Iterable[Result]) -> list[dict[str, object]]:
    """Return the waivers that let something pass, as the ledger keeps them: each with what it covered."""
    rows: dict[Waiver, list[str]] = {}
    for result in results:
        if result.waiver is not None:
            rows.setdefault(result.waiver, []).append(f"{result.name}: {result.verdict.value}: {result.evidence}")
    return [{**waiver.as_dict(), "covered": covered} for waiver, covered in rows.items()]
