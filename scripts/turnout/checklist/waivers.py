"""Waivers: one check, one release, one reason, one person, one end. Anything less is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from turnout.checklist.catalog import NAMES
from turnout.checklist.model import Result, Waiver
from turnout.counts import counted
from turnout.faults import Fault, quoted, shown
from turnout.keys import Key, Part, Wrong, key

MIN_REASON = 10
"""Characters of a reason; "ok" is none."""
LONGEST = timedelta(days=31)
"""How far in the future a waiver may end; what is to last longer is a change of the configuration."""


def _known(check: str) -> str:
    if check.partition("@")[0] not in NAMES:
        raise Wrong(f"no check is called {quoted(check)}", f"one of: {', '.join(sorted(NAMES))}", "correct it")
    return check


def _reason(text: str) -> str:
    if len(text.strip()) < MIN_REASON:
        raise Wrong(counted(len(text.strip()), "character"), f"at least {MIN_REASON}", "say why")
    return text.strip()


def _moment(value: object) -> datetime:
    """Return an aware moment. YAML may have read it already; Ansible hands it on as text."""
    moment = value if isinstance(value, datetime) else None
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[T ]", value):
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(value.strip())
    if moment is None or moment.tzinfo is None:
        raise Wrong(shown(value))
    return moment


class Written(Part):
    """A waiver as the file has it."""

    check: str = key("the check, or one row of it", expected="the name of a check", example="disk", check=_known)
    reason: str = key("why", expected="why this release may do without", example='"the disk is swapped"', check=_reason)
    who: str = key("who answers for it", expected="who answers for it", example="you@example.com")
    release: str = key("its version", expected="the version that it is for", example='"1.4.2"')
    expires: datetime = key(
        "until when",
        expected="a moment with its offset from UTC",
        example="2026-01-31T18:00:00+01:00",
        read=_moment,
        json={"type": "string"},
    )

    def waiver(self) -> Waiver:
        """Return the waiver."""
        return Waiver(self.check, self.reason, self.who, self.release, self.expires.timestamp())


WAIVER = Key(form=Written, read=Written.waiver)
"""A waiver in a list of them."""


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
