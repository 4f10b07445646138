"""What must hold before traffic moves: release laid whole, schema in range, servers up."""

from __future__ import annotations

from .errors import EXIT_USAGE, Trouble, refusal
from .state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


RECORD = "turnout-edge schema --run ID --version V --last-contract C (with the lock of run ID)"


def schema_fault(release: Json | None, schema: Json | None) -> str | None:
    """Return why a release cannot run on the recorded schema, or None (also when either is unknown)."""
    wanted = (release or {}).get("schema")
    if not wanted or not schema:
        return None
    if schema["version"] < wanted["min"]:
        return f"the schema is at migration {schema['version']}, and it needs at least {wanted['min']}"
    knows = f"and it knows migrations up to {wanted['max']}"
    if schema["last_contract"] > wanted["max"]:
        return f"contract migration {schema['last_contract']} was applied, {knows}"
    planned = schema.get("planned")
    if planned and planned["last_contract"] > wanted["max"]:
        begun = f"contract migration {planned['last_contract']} was begun by run {planned.get('run')}"
        return f"{begun}, how it ended is not recorded, {knows}"
    return None


def check_rollback_target(state: State, backend: Json | None) -> None:
    """Refuse a way back to a release that cannot run. `backend` is None when HAProxy could not be asked."""
    color = state.stable
    name = f"{color} ({state.named(color)})"
    force = 'to move all the same: turnout-edge rollback --force --reason "..."'
    record = state.releases[color] if color else None
    # The API decides: a web process that is down there is told, and keeps nobody from leaving a bad release.
    if backend is not None and not backend.get("api_up", backend["up"]):
        raise refusal(
            "target-down",
            f"no server of {backend['backend']} is UP ({describe_servers(backend)}), so {name} cannot answer",
            "at least one server UP by HAProxy's own check",
            f"start it on the application hosts (systemctl start {state.service}-api@{color}); {force}",
        )
    if record is None or record.get("complete") is not True:
        raise refusal(
            "target-incomplete",
            f"{name} was never laid whole",
            "a release whose completeness marker was written",
            f"deploy a whole release; {force}",
        )
    fault = schema_fault(record, state.schema)
    if fault:
        raise refusal(
            "target-schema",
            f"{name} cannot run on this database: {fault}",
            f"a schema inside {record['schema']['min']}..{record['schema']['max']}",
            f"take the schema back (the service's migrate down), or deploy a release that knows it; {force}"
            + ("; where a look at the database shows what was applied: " + RECORD if state.planned() else ""),
        )


def check_move_up(state: State, backend: Json, allow_down: list[str]) -> None:
    """Refuse users to a candidate that is not laid whole, not on its schema, or not UP on every server."""
    color = state.candidate
    name = f"{color} ({state.named(color)})"
    record = state.releases[color] if color else None
    if record is None or record.get("complete") is not True:
        raise refusal(
            "candidate-incomplete",
            f"candidate {name} is not recorded as laid whole",
            '"complete": true in its release record',
            "lay it, then prepare it again with the complete record",
        )
    fault = schema_fault(record, state.schema)
    if fault:
        raise refusal(
            "candidate-schema",
            f"candidate {name} cannot run on this database: {fault}",
            f"a schema inside {record['schema']['min']}..{record['schema']['max']}",
            "run its expand migrations and record them: turnout-edge schema",
        )
    names = {server.get("host", server["name"]) for server in backend["servers"]}
    unknown = [server for server in allow_down if server not in names]
    if unknown:
        raise Trouble(
            "unknown-server",
            EXIT_USAGE,
            f"--allow-down names {', '.join(unknown)}",
            f"servers of {backend['backend']}: {', '.join(sorted(names))}",
            "mend the names",
        )
    left_out = [server for server in backend["servers"] if server.get("host", server["name"]) in allow_down]
    bad = [s for s in backend["servers"] if not (s["up"] and s["checked"]) and s not in left_out]
    if bad or not backend["up"]:
        raise refusal(
            "candidate-down",
            f"{backend['backend']}: {describe_servers(backend)}",
            "every server UP, by a health check that passed"
            + (f" (but {', '.join(allow_down)})" if allow_down else ""),
            f"look at the service on those hosts (systemctl status {' '.join(units_of(state.service, color, bad))}), "
            "or leave a host out: --allow-down NAME",
        )


def units_of(service: str, color: str | None, servers: list[Json]) -> list[str]:
    """Return the units of some servers, the API's where there are none."""
    return [f"{service}-{one}@{color}" for one in dict.fromkeys(s.get("process", "api") for s in servers)] or [
        f"{service}-api@{color}"
    ]


def web_down(backend: Json | None) -> list[str]:
    """Return the web processes of a color of which no server is UP."""
    return [name for name, web in ((backend or {}).get("web") or {}).items() if not web["up"]]


def describe_servers(backend: Json) -> str:
    """Return the servers of a backend with their status, for a person."""
    return ", ".join(f"{s['name']} {s['status']} {s['check']}".strip() for s in backend["servers"]) or "no servers"
