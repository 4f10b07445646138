"""The failure instant F, declared on the primary by one question and nothing else."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from .errors import BrokenOff
from .shell import ProgramError, run

# One statement: clock, position and heartbeat belong together. What follows them is for prerequisites.py.
_QUESTION = """
SELECT json_build_object(
    'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'lsn', pg_current_wal_flush_lsn(),
    'heartbeat', (SELECT max(beat) FROM turnout_heartbeat.beats),
    'segment_bytes', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
    'archiver', (SELECT json_build_object('fails', coalesce(last_failed_time > last_archived_time, failed_count > 0),
        'segment', last_failed_wal, 'since', last_archived_time, 'archived', last_archived_wal)
        FROM pg_stat_archiver),
    'extensions', (SELECT json_object_agg(extname, extversion) FROM pg_extension))
"""


def declare(primary: dict[str, Any]) -> dict[str, Any]:
    """Return F: `at`, `lsn`, `heartbeat` as the primary says them, and `began_s` on this host's monotonic clock.

    Raises BrokenOff.
    """
    argv = [
        "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", primary["host"], "-p", str(primary["port"]),
        "-U", primary["user"], "-d", primary["database"], "-f", "-",
    ]  # fmt: skip
    environment = {"PGPASSWORD": primary["password"], "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "turnout-drill"}
    try:
        out = run(argv, stdin=_QUESTION.encode(), environment=environment, timeout_s=30)
    except ProgramError as error:
        raise BrokenOff(f"the failure could not be declared on the primary {primary['host']}: {error}") from None
    began_s = time.monotonic()
    answer: dict[str, Any] = json.loads(out)
    if answer["heartbeat"] is None:
        raise BrokenOff("the primary has no heartbeat: see systemctl status turnout-heartbeat there")
    return {**answer, "began_s": began_s}


def epoch(text: str) -> float:
    """Return a time as the primary wrote it in seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def archiving(declared: dict[str, Any]) -> str | None:
    """Return what is wrong with the primary's archiving at F, or None: its last attempt must not have failed."""
    seen = declared["archiver"]
    if not seen["fails"]:
        return None
    return (
        f"the primary could not archive {seen['segment']}; the last that it did was {seen['archived'] or 'none'} at "
        f"{seen['since'] or 'no time'}: see its server's log, and pgbackrest --stanza=NAME check there"
    )
