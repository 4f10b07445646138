"""One request through edge, application and jobs, put together from what the journals of all hosts hold of it.

Pure: what the hosts told comes in, data and text for a person go out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from turnout import tables
from turnout.errors import TurnoutError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BARE = re.compile(r"[0-9a-f]{32}")
# W3C Trace Context, version 00: https://www.w3.org/TR/trace-context/#traceparent-header
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
# The edge's line of a request: roles/edge/templates/latency.j2.
_OF_EDGE = re.compile(r"\{([0-9a-f-]{36})\|([0-9a-f]{32})\} ")


def forms(given: str) -> list[str]:
    """Return the forms in which an id may stand in a journal: a request's is a UUID, a trace's 32 hexadecimal digits.

    A trace that began at the edge has the digits of the request. Raises TurnoutError for what is no id.
    """
    text = given.strip().lower()
    parent = _PARENT.fullmatch(text)
    bare = parent[1] if parent else text.replace("-", "") if _UUID.fullmatch(text) else text
    if not _BARE.fullmatch(bare):
        raise TurnoutError(
            "trace-id",
            observed=f"the id {given[:80]!r}",
            expected="an id as the answer's header X-Request-ID says it, a trace's 32 hexadecimal digits, or a "
            "traceparent",
            remedy="turnout trace 4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        )
    return [f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}", bare]


def further(told: Iterable[Mapping[str, Any]], ids: Sequence[str]) -> list[str]:
    """Return the ids that are looked for on application hosts: those asked for, and what edges say beside them.

    A client's own trace has other digits than the request: the edge's line holds both.
    """
    found = list(ids)
    for one in told:
        for line in one.get("found") or []:
            if pair := _OF_EDGE.search(line["text"]):
                found += [form for text in pair.groups() for form in forms(text) if form not in found]
    return found


def collect(
    edges: Mapping[str, Mapping[str, Any]], hosts: Mapping[str, Mapping[str, Any]], asked: str
) -> dict[str, Any]:
    """Return all lines by time, and for each host how far back it could be looked, as one JSON-ready mapping.

    `edges` and `hosts` hold for each host what `turnout.ops.trace` returned of that part of its journal; one without
    `found` could not be read. Times are each host's own clock.
    """
    told = [*edges.items(), *hosts.items()]
    lines = [
        {"at": line["at"], "host": host, "unit": line["unit"], "text": line["text"]}
        for host, one in told
        for line in one.get("found") or []
    ]
    return {
        "asked": asked,
        "lines": sorted(lines, key=lambda line: (line["at"], line["host"])),
        "begins": {host: one.get("begins") for host, one in told if "found" in one},
        "more": sorted({host for host, one in told if one.get("more")}),
        "silent": {host: _why(one) for host, one in told if "found" not in one},
    }


def _why(told: Mapping[str, Any]) -> str:
    said = str(told.get("msg") or "")
    return " ".join(said.split()) if said.startswith("error[") else "no answer"


def render(trace: Mapping[str, Any]) -> str:
    """Return the lines for a person, oldest first, with the seconds since the first."""
    lines = trace["lines"]
    text = []
    if lines:
        first = lines[0]["at"]
        rows = [
            (f"{line['at'] - first:+.3f} s", line["host"], line["unit"].removesuffix(".service"), line["text"])
            for line in lines
        ]
        text += [f"{_told(first)}, by the clock of each host:", *tables.lines(rows, right=(0,))]
    text += [f"NOT looked at: {host}: {why}" for host, why in trace["silent"].items()]
    text += [f"more lines than are shown: {', '.join(trace['more'])}; see trace_lines"] if trace["more"] else []
    return "\n".join(text)


def missing(trace: Mapping[str, Any], hours: float) -> TurnoutError:
    """Return what is said where no host has a line."""
    reach = [
        f"{host} since {_told(at)}" if at is not None else f"{host} holds none of these units"
        for host, at in trace["begins"].items()
    ]
    silent = [f"{host}: {why}" for host, why in trace["silent"].items()]
    return TurnoutError(
        "trace-not-found",
        observed=f"no line with {trace['asked']} of the last {hours:g} h; journals: {'; '.join([*reach, *silent])}",
        expected="an id that an edge gave within that time, and journals that reach so far",
        remedy="-e hours=72 looks further back; what an application must log for it: docs/tracing.md",
    )


def _told(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
