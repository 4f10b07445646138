"""What is asked of the restored database."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .database import CUT_OFF, Database
from .isolation import Isolation
from .record import Measured
from .shell import ProgramError, run
from .wal import Chain, lsn_number

_STATEMENT_LIMIT_S = 300


def recovered(database: Database, heartbeat_database: str, replayed_to: str) -> dict[str, Any]:
    """Return the last recovered heartbeat, and where replay ended. Raises ProgramError."""
    said = database.ask(
        "SELECT beat || ' ' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        " FROM turnout_heartbeat.beats ORDER BY beat DESC LIMIT 1",
        heartbeat_database,
    )
    if not said:
        raise ProgramError("the restored database has no heartbeat")
    beat, at = said.split()
    return {"at": at, "lsn": replayed_to, "heartbeat": int(beat)}


def replay_end(database: Database) -> str:
    """Return the position after the last record that was replayed. Raises ProgramError."""
    return database.ask("SELECT pg_last_wal_replay_lsn()")


def live_instance(measured: Measured, database: Database) -> None:
    """See on the running server that it cannot archive and that the C library sorts as the primary's did."""
    with measured.checking("archive_off") as told:
        mode, command = database.ask("SHOW archive_mode"), database.ask("SHOW archive_command")
        fault = f"archive_mode is {mode}, archive_command is {command!r}"
        told(None if mode == "off" and command in ("", "(disabled)") else fault)
    with measured.checking("collations") as told:
        changed = database.ask(
            "SELECT string_agg(datname, ', ') FROM pg_database"
            " WHERE datcollversion <> pg_database_collation_actual_version(oid)"
        )
        # Each database has collations of its own.
        for name in database.databases():
            own = database.ask(
                "SELECT string_agg(collname, ', ') FROM pg_collation"
                " WHERE collversion <> pg_collation_actual_version(oid)",
                name,
            )
            changed = ", ".join(filter(None, (changed, f"{own} in {name}" if own else "")))
        told(f"the C library of this host sorts otherwise than the primary's: {changed}" if changed else None)


def cut_off(measured: Measured, database: Database, isolation: Isolation) -> None:
    """See on the running server that it is in its own network, and that nothing in it connects by itself."""
    with measured.checking("cut_off") as told:
        faults = isolation.faults(database.unit)
        for name in ("listen_addresses", "primary_conninfo", "max_logical_replication_workers"):
            value = database.ask(f"SHOW {name}")
            if value != CUT_OFF[name]:
                faults.append(f"{name} is {value!r}")
        told("; ".join(faults) or None)


def subscriptions(database: Database, *, switch_off: bool) -> int:
    """Return how many subscriptions were enabled; switch them off in a drill's copy. Raises ProgramError."""
    count = 0
    for name in database.databases():
        found = database.ask(
            "SELECT quote_ident(subname) FROM pg_subscription WHERE subenabled AND subdbid ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            name,
        ).splitlines()
        count += len(found)
        for one in found if switch_off else ():
            database.ask(f"ALTER SUBSCRIPTION {one} DISABLE", name)
    return count


def reached(measured: Measured, chain: Chain, replayed_to: str, target: dict[str, str] | None, wal_said: str) -> None:
    """See that replay reached what the repository held, or the target that was asked for."""
    position = lsn_number(replayed_to)
    if target is None:
        fault = None
        if not chain.ends_in_last(position):
            segment = chain.name_at(position) or "after it"
            fault = f"replay ended at {replayed_to}, inside WAL that the repository holds further: segment {segment} is"
            fault += f" damaged{': ' + wal_said if wal_said else ''}"
    elif target["type"] == "lsn":
        fault = None if position >= lsn_number(target["value"]) else f"replay ended at {replayed_to}, before the target"
    else:
        fault = None  # PostgreSQL itself ends with an error where it does not meet a time or a name
    measured.check("target_reached", fault, said=f"replay ended at {replayed_to}")


def invariants(measured: Measured, database: Database, name: str, checks: dict[str, str]) -> None:
    """Run the service's queries: each returns what violates it, so that no rows are a pass."""
    for check, sql in sorted(checks.items()):
        with measured.checking(check) as told:
            rows = query(database, name, sql)
            violate = "row violates" if len(rows) == 1 else "rows violate"
            told(f"{len(rows)} {violate} it, first {json.dumps(rows[0])}" if rows else None)


def query(database: Database, name: str, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a query that may only read. Raises ProgramError."""
    answer = database.ask(
        f"SET default_transaction_read_only = on; SET statement_timeout = '{_STATEMENT_LIMIT_S}s';\n"
        f"SELECT coalesce(json_agg(answer), '[]') FROM (\n{sql.strip().rstrip(';')}\n) AS answer;",
        name, _STATEMENT_LIMIT_S + 10,
    )  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(answer)
    return rows


def uploads(measured: Measured, database: Database, name: str, sql: str, listing: Path) -> None:
    """See that every upload that a row refers to exists in its version. `listing` has a JSON object a line."""
    with measured.checking("uploads") as told:
        held = {}
        for line in listing.read_text().splitlines():
            entry = json.loads(line)
            held[entry["key"], entry["version"]] = entry
        missing = [row for row in query(database, name, sql) if (row["key"], row["version"]) not in held]
        told(
            f"{len(missing)} referenced versions are not in the bucket, first {missing[0]['key']} in version "
            f"{missing[0]['version']}" if missing else None
        )  # fmt: skip


def deep(measured: Measured, database: Database) -> None:
    """Look at every table and index (pg_amcheck), then at every page's checksum; no part of the RTO."""
    with measured.checking("amcheck") as told:
        # The tables' and indexes' structures, in parallel over all databases; its extension is made in the copy only.
        run(
            [f"{database.bin}/pg_amcheck", "--host", str(database.place.sockets), "--all", "--install-missing",
             "--jobs=2", "--no-strict-names"],
            user="postgres", timeout_s=7200,
        )  # fmt: skip
        told(None)
    began = time.monotonic()
    try:
        database.stop()
        out = run(
            [f"{database.bin}/pg_checksums", "--check", "-D", str(database.place.data)], user="postgres", timeout_s=7200
        )
    except ProgramError as error:
        if "checksums are not enabled" in str(error):
            measured.data["notes"]["checksums"] = "the cluster has no page checksums"
            return
        measured.check("checksums", str(error), time.monotonic() - began)
    else:
        measured.check("checksums", None, time.monotonic() - began, " ".join(out.decode().split())[-200:])
