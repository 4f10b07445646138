"""What must hold before anything is restored. Each fault is told; none is passed over."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from .database import Database
from .engine import Engine
from .shell import ProgramError, run
from .wal import Chain

ROOM = 1.2  # data and WAL, and 20 % for what recovery and checks write


def faults(engine: Engine, database: Database, backup: dict[str, Any], chain: Chain, plan: dict[str, Any]) -> list[str]:
    """Return every reason not to start, in words."""
    found = [
        "a backup or an expiry runs on the primary: run the drill when it has ended" if plan["backup_running"] else "",
        *_credentials(engine, keep=bool(plan["keep"])),
        _room(engine, backup, chain),
        _version(database, backup),
        _tool(backup),
        *_extensions(backup["version"], plan.get("extensions") or {}),
    ]
    return [fault for fault in found if fault]


def needed_bytes(backup: dict[str, Any], chain: Chain) -> int:
    """Return the bytes that a restore needs here."""
    return int((int(backup["info"]["size"]) + (chain.end - chain.start)) * ROOM)


def _credentials(engine: Engine, *, keep: bool) -> list[str]:
    """Return why the credentials are not those of a reader: they can write, or it is not known whether they can.

    On a bad day what is not known stops nobody: what is restored has no network and no credentials anyway.
    """
    refusals = engine.refusals()
    found = []
    if refusals.allowed:
        found.append(
            f"the repository's credentials here can write: {', '.join(refusals.allowed)}; a drill must not be able to "
            "harm the backups; give it the reader's (backup_repositories[].reader)"
        )
    if refusals.unclear and not keep:
        found.append(f"whether the repository's credentials here can write is not known: {'; '.join(refusals.unclear)}")
    return found


def _room(engine: Engine, backup: dict[str, Any], chain: Chain) -> str:
    disk = os.statvfs(engine.place.folder)
    free, needed = disk.f_bavail * disk.f_frsize, needed_bytes(backup, chain)
    if free < needed:
        return (
            f"{engine.place.base} has {free >> 20} MB free; data, WAL and 20 % need {needed >> 20} MB: free some, or "
            "set drill_directory to a larger disk"
        )
    return ""


def _version(database: Database, backup: dict[str, Any]) -> str:
    if database.installed():
        return ""
    others = ", ".join(sorted(Path(path).name for path in glob.glob("/usr/lib/postgresql/*"))) or "none"
    return (
        f"the backup is of PostgreSQL {backup['version']}, and this host has {others}: "
        f"install postgresql-{backup['version']} here"
    )


def _tool(backup: dict[str, Any]) -> str:
    try:
        here = run(["pgbackrest", "version"]).decode().split()[-1]
    except ProgramError as error:
        return str(error)
    there = backup["backrest"]["version"]

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split(".") if part.isdigit())

    if numbers(here) < numbers(there):
        return f"the backup was made by pgBackRest {there}, this host has {here}: upgrade pgbackrest here"
    return ""


def _extensions(version: str, wanted: dict[str, str]) -> list[str]:
    folder = Path(f"/usr/share/postgresql/{version}/extension")
    return [
        f"the extension {name} is not installed on this host: install its package here"
        for name in sorted(wanted)
        if folder.is_dir() and not (folder / f"{name}.control").exists()
    ]
