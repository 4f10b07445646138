"""One table of how a service stands: colors, shares, processes, lock, unfinished runs, the ledger's last entries.

Pure: what edges and hosts said comes in, a plain mapping (for JSON) or text (for a person) goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turnout import tables
from turnout.in_service import named

Facts = Mapping[str, Any]

_LEDGER_ROWS = 5
NOT_KNOWN = "not known (no edge answered)"


def collect(
    edges: Mapping[str, Facts | None], hosts: Mapping[str, Facts | None], programs: Facts | None = None
) -> dict[str, Any]:
    """Return the status as one JSON-ready mapping. A host that did not answer is None, and is named.

    `programs` is what the action `turnout.ops.programs` found: which Turnout laid the programs of each host.
    """
    answered = {name: edge for name, edge in edges.items() if edge}
    truth = {(edge.get("stable"), edge.get("candidate"), edge.get("share_bp")) for edge in answered.values()}
    first: Facts = next(iter(answered.values()), {})
    return {
        "service": first.get("service"),
        # None: nobody knows.
        "agree": len(truth) <= 1 and all(edge.get("agree") for edge in answered.values()) if answered else None,
        "stable": first.get("stable"),
        "previous": first.get("previous"),
        "candidate": first.get("candidate"),
        "schema": first.get("schema"),
        "releases": {color: (first.get("releases") or {}).get(color) for color in ("blue", "green")},
        "edges": {name: _edge(edge) for name, edge in edges.items()},
        "hosts": {name: _host(host) for name, host in hosts.items()},
        "lock": first.get("lock"),
        "unfinished": _unfinished(answered.values()),
        "ledger": list(first.get("ledger") or [])[-_LEDGER_ROWS:],
        "programs": {key: (programs or {}).get(key) for key in ("own", "hosts", "notes")},
        "newer": _newer(edges),
        "unreachable": sorted(
            [name for name, edge in edges.items() if not edge] + [name for name, host in hosts.items() if not host]
        ),
    }


def _edge(edge: Facts | None) -> dict[str, Any] | None:
    if not edge:
        return None
    backends = edge.get("backends") or {}
    return {
        "stable": edge.get("stable"),
        "candidate": edge.get("candidate"),
        "previous": edge.get("previous"),
        "serving_bp": edge.get("serving"),
        "agree": edge.get("agree"),
        "live": (edge.get("live") or {}).get("reachable"),
        "backends": {
            color: {
                "up": [server["name"] for server in (backend or {}).get("servers", []) if server["up"]],
                "down": [server["name"] for server in (backend or {}).get("servers", []) if not server["up"]],
                "requests": (backend or {}).get("requests"),
                "hrsp_5xx": (backend or {}).get("hrsp_5xx"),
                "sessions": (backend or {}).get("sessions"),
            }
            for color, backend in backends.items()
        },
        "lease": edge.get("lease"),
    }


def _host(host: Facts | None) -> dict[str, Any] | None:
    if not host:
        return None
    return {
        "colors": {
            color: {
                "release": slot.get("version"),
                "configuration": (slot.get("configuration") or {}).get("id"),
                "complete": slot.get("complete"),
            }
            for color, slot in (host.get("colors") or {}).items()
        },
        "units": {name: unit.get("active") for name, unit in (host.get("units") or {}).items()},
        "failed": {
            name: {"fault": unit["fault"], "lines": list(unit.get("lines") or [])}
            for name, unit in (host.get("units") or {}).items()
            if unit.get("fault")
        },
        "commands": list(host.get("commands") or ()),
        "disk_free_bytes": (host.get("disk") or {}).get("free_bytes"),
    }


def _newer(edges: Mapping[str, Facts | None]) -> list[str]:
    return [
        f"{name}: {entry['path']} is of format {entry['format']}: "
        "ansible-playbook turnout.ops.site --tags edge, by the Turnout that wrote it"
        for name, edge in edges.items()
        for entry in (edge or {}).get("newer") or []
    ]


def _unfinished(edges: Iterable[Facts]) -> list[dict[str, Any]]:
    runs: dict[str, dict[str, Any]] = {}
    for edge in edges:
        for entry in edge.get("unfinished") or []:
            runs.setdefault(entry["run"], dict(entry))
    return list(runs.values())


def _commands(hosts: Mapping[str, Facts | None]) -> list[str]:
    """Return a line for each command of `turnout run` that runs."""
    return [
        f"  command {one['id']}@{name} runs in {one['color']}, by {one['actor']}: {' '.join(one['shown'] or ())[:80]}"
        for name, host in hosts.items()
        for one in (host or {}).get("commands") or ()
    ]


def render(status: Facts) -> str:
    """Return the status as a person reads it."""
    lines = [f"service {status['service'] or '(no edge answered)'}"]
    rows = [
        ("COLOR", "RELEASE", "CONFIGURATION", "ROLE", *(f"SHARE ON {name}" for name in status["edges"]), "SERVERS UP")
    ]
    for color in ("blue", "green"):
        record = status["releases"].get(color) or {}
        shares = [_share(edge, color) for edge in status["edges"].values()]
        stands = record.get("release") or "-", record.get("configuration") or "-"
        rows.append((color, *stands, _role(status, color), *shares, _servers(status, color)))
    lines += ["", *columns(rows)]
    if status["agree"] is None:
        lines.append("  !! no edge answered: what serves is not known")
    elif not status["agree"]:
        lines.append(
            "  !! the edges do not agree with each other, or HAProxy with its edge: "
            "run ansible-playbook turnout.ops.rollback"
        )
    rows = [("HOST", "BLUE HAS", "GREEN HAS", "UNITS THAT RUN")]
    for name, host in status["hosts"].items():
        if host is None:
            rows.append((name, "?", "?", "did not answer"))
            continue
        running = sorted(unit.removesuffix(".service") for unit, state in host["units"].items() if state == "active")
        slots = [_slot(host["colors"].get(color)) for color in ("blue", "green")]
        rows.append((name, *slots, " ".join(running) or "none"))
    lines += ["", *columns(rows), *_failed(status["hosts"]), *_commands(status["hosts"]), ""]
    known = status["agree"] is not None
    lines.append(f"lock        {_lock(status.get('lock') or {}) if known else NOT_KNOWN}")
    schema = status.get("schema")
    if schema:
        lines.append(f"schema      version {schema['version']}, last contract migration {schema['last_contract']}")
        planned = schema.get("planned")
        if planned:
            lines.append(
                f"            !! run {planned.get('run')} began migrations up to {planned['version']} (last contract "
                f"{planned['last_contract']}); how they ended is not recorded: the next deploy records it"
            )
    programs = status.get("programs") or {}
    if programs.get("own"):
        seen = any((programs.get("hosts") or {}).values())
        same = f"all of Turnout {programs['own']}" if seen else "none seen"
        told = [*(programs.get("notes") or [same]), *status["newer"]]
        lines += _block("programs", told)
    unfinished = [
        f"{entry['run']} by {entry.get('actor')} ({entry.get('action')}), last word: "
        f"{(entry.get('last') or {}).get('event')} {(entry.get('last') or {}).get('action')}"
        for entry in status["unfinished"]
    ]
    lines += _block("unfinished", unfinished or ["none" if known else NOT_KNOWN])
    lines += _block(
        "ledger", [_entry(entry) for entry in reversed(status["ledger"])] or ["empty" if known else NOT_KNOWN]
    )
    if status["unreachable"]:
        lines.append(f"unreachable {', '.join(status['unreachable'])}")
    return "\n".join(lines)


def _failed(hosts: Mapping[str, Facts | None]) -> list[str]:
    """Return a line for each unit that fails, its last lines below it."""
    lines = []
    for host, facts in hosts.items():
        for unit, told in ((facts or {}).get("failed") or {}).items():
            lines.append(f"  !! {unit.removesuffix('.service')} on {host} FAILED: it {told['fault']}; its last lines:")
            lines += [f"       {line}" for line in told["lines"] or [f"(read them there: journalctl -u {unit} -n 50)"]]
    return lines


def _share(edge: Facts | None, color: str) -> str:
    if edge is None:
        return "no answer"
    serving = (edge.get("serving_bp") or {}).get(color)
    share = "-" if serving is None else f"{serving / 100:g} %"
    return share if edge.get("live") else f"{share} (HAProxy down)"


def _role(status: Facts, color: str) -> str:
    for role in ("stable", "candidate", "previous"):
        if status.get(role) == color:
            return "way back" if role == "previous" else role
    return "-"


def _servers(status: Facts, color: str) -> str:
    seen = [edge["backends"].get(color) for edge in status["edges"].values() if edge]
    up = sorted({name for backend in seen if backend for name in backend["up"]})
    down = sorted({name for backend in seen if backend for name in backend["down"]})
    return " ".join([*up, *(f"({name} down)" for name in down)]) or "-"


def _slot(slot: Facts | None) -> str:
    if not slot or not slot.get("release"):
        return "-"
    configuration = f" {slot['configuration']}" if slot.get("configuration") else ""
    return f"{slot['release']}{configuration}" + ("" if slot.get("complete") else " (half laid)")


def _lock(lock: Facts) -> str:
    if not lock.get("held"):
        return "free"
    freshness = "alive" if lock.get("fresh") else "ABANDONED: ansible-playbook turnout.ops.unlock releases it"
    return (
        f"held by {lock.get('owner')} for {lock.get('purpose')}, run {lock.get('run')}, "
        f"last beat {float(lock.get('age_s') or 0):.0f} s ago ({freshness})"
    )


def _entry(entry: Facts) -> str:
    what = entry.get("kind", "?")
    place = entry.get("to") or {key: entry.get(key) for key in ("release", "configuration", "color")}
    where = f" on {place['color']}" if place.get("color") else ""
    if what == "command":
        where = f"{where}: {str(entry.get('command'))[:60]}; {entry.get('id')}, by {entry.get('actor')}"
    about = _drill(entry) if what == "drill" else f"{named(place) or '-'}{where}"
    return f"{entry.get('ts', '')}  {what}  {about}  run {entry.get('run')}"


def _drill(entry: Facts) -> str:
    lost_s = (entry.get("rpo") or {}).get("seconds")
    figures = [
        f"{name} {seconds:.1f} s"
        for name, seconds in (("RPO", lost_s), ("RTO", entry.get("rto_seconds")))
        if isinstance(seconds, int | float)
    ]
    return ", ".join([f"{entry.get('mode') or '?'}: {entry.get('verdict') or '?'}", *figures])


def _block(title: str, rows: Sequence[str]) -> list[str]:
    return [f"{title if index == 0 else '':<12}{row}" for index, row in enumerate(rows)]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows with their columns aligned."""
    return tables.lines(rows)
