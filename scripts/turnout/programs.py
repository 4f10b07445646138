"""What a run says of the programs that it meets on hosts: older or newer than itself, and the command that mends it.

Pure: what the module `laid` read on each host comes in, notes and faults go out. Notes are told and stop nothing.
Whether this Turnout can work with a program is decided by the program's protocol, never by its version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.faults import Fault

Facts = Mapping[str, Any]

LEAST_PROTOCOL, PROTOCOL = 1, 1
"""The oldest and the newest protocol of turnout-edge and turnout_host that a deploy can work with."""

FIRST = "0.3.0"
"""The first version whose programs say theirs."""

NAMES = {"edge": "turnout-edge", "host": "turnout_host", "drill": "turnout-drill", "schedule": "turnout-scheduled"}
TAGS = {"edge": "edge", "host": "service_host", "drill": "drill"}
SPEAKING = ("edge", "host")


@dataclass(frozen=True)
class Compared:
    """What is to be told of the programs on hosts (`notes`), and why a release cannot go on (`faults`)."""

    notes: tuple[str, ...]
    faults: tuple[Fault, ...]


def rank(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Return what orders versions: 0.10.0 is newer than 0.9.0, and 1.0.0rc1 older than 1.0.0."""
    numbers, rest = re.match(r"([0-9.]*)(.*)", version, re.DOTALL).groups()  # type: ignore[union-attr]  # always matches
    parts = [int(part) for part in numbers.split(".") if part]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts), not rest, rest


def compare(own: str | None, laid: Mapping[str, Facts | None]) -> Compared:
    """Compare what each host said with this Turnout, whose version is `own`. A host that said nothing is passed over.

    Where the own version is not known there is nothing to compare with, and only what cannot work is told.
    """
    said = {host: facts for host, facts in laid.items() if facts}
    older: dict[str, set[str]] = {}
    newer: dict[str, set[str]] = {}
    versions: dict[str, set[str]] = {}
    for host, facts in said.items():
        for name, program in facts["programs"].items():
            version = program["version"]
            if own in (version, None):
                continue
            is_newer = bool(version) and rank(version) > rank(str(own))
            (newer if is_newer else older).setdefault(host, set()).add(name)
            versions.setdefault(host, set()).add(version or f"of before {FIRST}")
    return Compared(
        tuple(_older_notes(str(own), older, versions, said) + _newer_notes(str(own), newer, versions)),
        tuple(fault for host, facts in said.items() for fault in _faults(own or "of no version", host, facts, said)),
    )


def mend(stale: Mapping[str, Iterable[str]], laid: Mapping[str, Facts]) -> str:
    """Return the one command that lays these programs anew (host: names): as little as is true."""
    names = {name for of_host in stale.values() for name in of_host}
    tags = [TAGS[name] for name in TAGS if name in names]
    if not tags:
        return "ansible-playbook turnout.ops.schedule"
    words = f"ansible-playbook turnout.ops.site --tags {','.join(tags)}"
    # Edges ask each other for their keys, and have turnout_host laid by the hosts of the service: no limit names those.
    apart = [host for host, facts in laid.items() if "edge" not in facts["programs"]]
    if set(stale) <= set(apart) and set(stale) != set(laid):
        words += f" --limit {','.join(sorted(stale))}"
    return words


def _older_notes(
    own: str, older: Mapping[str, set[str]], versions: Mapping[str, set[str]], laid: Mapping[str, Facts]
) -> list[str]:
    notes = []
    for wanted in (set(TAGS), {"schedule"}):
        stale = {host: names & wanted for host, names in older.items() if names & wanted}
        if stale:
            which = _listed(sorted({version for host in stale for version in versions[host]}))
            notes.append(
                f"{_listed(sorted(stale))}: programs of an older Turnout ({which}; this is {own}); "
                f"{mend(stale, laid)} brings them up"
            )
    return notes


def _newer_notes(own: str, newer: Mapping[str, set[str]], versions: Mapping[str, set[str]]) -> list[str]:
    if not newer:
        return []
    seen = [version for host in newer for version in versions[host] if version[:1].isdigit()]
    newest = max(seen, key=rank)
    return [
        f"{_listed(sorted(newer))}: programs of a newer Turnout ({_listed(sorted(set(seen)))}; this is {own}); "
        f"pip install 'turnout>={newest}' brings this controller up"
    ]


def _faults(own: str, host: str, facts: Facts, laid: Mapping[str, Facts]) -> list[Fault]:
    faults = []
    known = f"{LEAST_PROTOCOL}" if LEAST_PROTOCOL == PROTOCOL else f"{LEAST_PROTOCOL} to {PROTOCOL}"
    for name in SPEAKING:
        program = facts["programs"].get(name)
        if program is None or LEAST_PROTOCOL <= program["protocol"] <= PROTOCOL:
            continue
        version = program["version"] or f"of before {FIRST}"
        faults.append(
            Fault(
                host,
                f"{NAMES[name]} {version} speaks protocol {program['protocol']}",
                f"protocol {known}, which Turnout {own} speaks",
                f"pip install 'turnout>={version}' on this controller"
                if program["protocol"] > PROTOCOL
                else mend({host: {name}}, laid),
            )
        )
    faults += [
        Fault(
            host,
            f"{record['path']} is of format {record['format']}, written by a newer Turnout",
            f"format {record['reads']} or older, which the turnout_host there reads",
            f"with the Turnout that wrote it: {mend({host: {'host'}}, laid)}",
        )
        for record in facts.get("newer") or []
    ]
    return faults


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
