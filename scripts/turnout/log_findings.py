"""Secrets and personal data in logs, for a person: what is looked for, and what was found where.

Pure: what the hosts told comes in, data and text for a person go out. No finding holds what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from turnout import tables
from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.service.logs import secrets_of
from turnout.service.model import Service


def secrets(service: Service) -> Iterator[tuple[str, str]]:
    """Yield (what it is called, value) of what must not be in a log. HOLDS SECRETS."""
    parts = [service, *(process.part for process in service.processes()), service.migrate]
    found: dict[str, str] = {}
    for part in parts:
        variables = getattr(part, "environment", None) or {}
        for name, value in secrets_of(variables, service.logs.secrets).items():
            found.setdefault(value, name)
    yield from ((f"secret {name}", value) for value, name in found.items())
    yield from ((f"canary {name}", value) for name, value in service.logs.canaries.items())


def collect(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return findings, what was left out and who is silent, as one JSON-ready mapping.

    `hosts` holds for each host what `turnout.ops.log_scan` returned; one without `found` is silent.
    """
    told = list(hosts.items())
    found = [{"host": host, **finding} for host, one in told for finding in one.get("found") or []]
    return {
        "found": sorted(found, key=lambda one: (one["pattern"], one["host"], one["source"])),
        "lines": sum(one.get("lines", 0) for _, one in told),
        "bytes": sum(one.get("bytes", 0) for _, one in told),
        "cut": {host: one["cut"] for host, one in told if one.get("cut")},
        "absent": {host: one["absent"] for host, one in told if one.get("absent")},
        "silent": {host: _why(one) for host, one in told if "found" not in one},
    }


def _why(told: Mapping[str, Any]) -> str:
    said = str(told.get("msg") or "")
    return " ".join(said.split()) if said.startswith("error[") else "no answer"


def render(seen: Mapping[str, Any], hours: float) -> str:
    """Return the findings for a person."""
    text = [
        f"{counted(seen['lines'], 'line')} of the last {hours:g} h, {seen['bytes'] / 1e6:.1f} MB: "
        f"{counted(len(seen['found']), 'finding')}"
    ]
    if seen["found"]:
        head = ("found", "host", "where", "lines", "first", "last", "to see it")
        rows = [
            (one["pattern"], one["host"], one["source"], one["count"], _moment(one["first"]), _moment(one["last"]),
             _to_see(one))
            for one in seen["found"]
        ]  # fmt: skip
        text += tables.lines([head, *rows], right=(3,))
    text += [f"NOT looked at: {host}: {'; '.join(cut)} (-e limit_s=, -e most_mb=)" for host, cut in seen["cut"].items()]
    text += [f"no file on {host}: {', '.join(paths)}" for host, paths in seen["absent"].items()]
    text += [f"NOT looked at: {host}: {why}" for host, why in seen["silent"].items()]
    return "\n".join(text)


def _moment(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _to_see(one: Mapping[str, Any]) -> str:
    place = one["places"][0]
    if str(one["source"]).startswith("/"):
        return str(place)
    at = float(place)
    return f"journalctl -u {one['source']} --since=@{int(at)} --until=@{int(at) + 1}"


def failure(seen: Mapping[str, Any]) -> TurnoutError | None:
    """Return what ends the command: findings, or hosts and lines that nobody looked at; None where all is well."""
    if seen["found"]:
        names = sorted({one["pattern"] for one in seen["found"]})
        return TurnoutError(
            "logs-found",
            observed=f"{counted(len(seen['found']), 'finding')} in logs: {', '.join(names)}",
            expected="no secret and no personal data in a log",
            remedy="take it out of what the application logs, and change a secret that was seen (turnout rotate); what "
            "may be there: service.logs.ignore",
        )
    if seen["silent"] or seen["cut"]:
        hosts = sorted({*seen["silent"], *seen["cut"]})
        return TurnoutError(
            "logs-not-seen",
            observed=f"not all logs of {', '.join(hosts)} were looked at",
            expected="every line within the hours asked for",
            remedy="-e hours=1, or more room: -e limit_s=300 -e most_mb=1000; a host that is silent: ansible -m ping",
        )
    return None
