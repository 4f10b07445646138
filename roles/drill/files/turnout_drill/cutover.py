"""The last step of a restore for real: the restored data takes the place of the old, which is kept aside."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from .errors import BrokenOff
from .place import Place
from .shell import ProgramError, run, systemctl

_START_LIMIT_S = 120
_STOP_LIMIT_S = 300  # it writes a last checkpoint


def cut_over(plan: dict[str, Any]) -> dict[str, Any]:
    """Put the restore `id` (in `directory`) into the place of the cluster `version`/`cluster`.

    Returns {kept, seconds}: where the old data directory lies now (None where there was none), and for how long at most
    no PostgreSQL answered. Raises BrokenOff with nothing changed, or with the old cluster put back.
    """
    place = Place(plan["directory"], plan["id"])
    if not place.state().get("kept"):
        raise BrokenOff(f"there is no validated restore {plan['id']} in {plan['directory']}: see turnout-drill list")
    data = Path(f"/var/lib/postgresql/{plan['version']}/{plan['cluster']}")
    unit = f"postgresql@{plan['version']}-{plan['cluster']}"
    binaries = f"/usr/lib/postgresql/{plan['version']}/bin"
    if not Path(f"/etc/postgresql/{plan['version']}/{plan['cluster']}/postgresql.conf").exists():
        raise BrokenOff(
            f"this host has no cluster {plan['version']}/{plan['cluster']}: run playbooks/site.yml --tags postgres"
        )
    if place.data.stat().st_dev != data.parent.stat().st_dev:
        raise BrokenOff(
            f"{place.data} is not on the file system of {data.parent}: set drill_restore_directory to one there"
        )
    if data.is_mount():
        raise BrokenOff(
            f"{data} is a mount point, which cannot be put aside by a rename: mount the file system on {data.parent}"
        )
    try:
        run(["systemctl", "stop", place.unit("postgres")], timeout_s=300)
        ready_for_archive(place.data, binaries)
    except ProgramError as error:
        raise BrokenOff(str(error)) from None
    # Counted from the order to stop to the end of the order to start: what clients miss lies within, and is shorter.
    began = time.monotonic()
    stopped(unit)
    kept = None
    try:
        kept = aside(data, plan["id"])
        os.rename(place.data, data)
        run(["systemctl", "start", unit], timeout_s=_START_LIMIT_S)
        answers(plan["port"])
    except (ProgramError, OSError) as error:
        systemctl("stop", unit)
        if not place.data.exists():
            os.rename(data, place.data)
        if kept is not None:
            os.rename(kept, data)
            systemctl("reset-failed", unit)  # systemd's own tries may have used up its start limit
            systemctl("start", unit)
        raise BrokenOff(f"the restored cluster did not start in its place, the old one was put back: {error}") from None
    seconds = time.monotonic() - began
    if not any((place.folder / "tablespaces").iterdir()):
        place.remove()
    return {"kept": None if kept is None else str(kept), "seconds": round(seconds, 2)}


def stopped(unit: str) -> None:
    """Stop a server that is in service. Raises BrokenOff, after which it starts again as soon as it has stopped."""
    try:
        run(["systemctl", "stop", unit], timeout_s=_STOP_LIMIT_S)
    except ProgramError as error:
        systemctl("--no-block", "start", unit)
        raise BrokenOff(
            f"{unit} did not stop ({error}), and was told to start again: see systemctl status {unit}"
        ) from None


def aside(data: Path, name: str) -> Path | None:
    """Rename the old data directory; return its new name, None where there was none."""
    if not data.exists():
        return None
    kept = data.with_name(f"{data.name}.before-{name}")
    os.rename(data, kept)
    return kept


def ready_for_archive(data: Path, binaries: str) -> None:
    """Take out what the restore set, and let the archiver have the new timeline's beginning.

    While the restore lay apart it archived nothing: the history file of its timeline, and segments that it completed,
    were not marked for the archiver. Without them nobody could restore to a time after this one.
    """
    conf = data / "postgresql.auto.conf"
    lines = conf.read_text().splitlines(keepends=True)
    ours = re.compile(r"\s*(restore_command|archive_mode|recovery_target\w*)\s*=")
    conf.write_text("".join(line for line in lines if not ours.match(line)))
    out = run([f"{binaries}/pg_controldata", "-D", str(data)], user="postgres").decode()
    match = re.search(r"REDO WAL file:\s+([0-9A-F]{24})", out)
    if match is None:
        raise ProgramError("pg_controldata names no WAL file")
    newest = match[1]
    owner = data.stat()
    for path in sorted((data / "pg_wal").iterdir()):
        done = path.name == f"{newest[:8]}.history"
        done = done or (len(path.name) == 24 and path.name[:8] == newest[:8] and path.name < newest)
        if done:
            mark = data / "pg_wal" / "archive_status" / f"{path.name}.ready"
            mark.touch(mode=0o600)
            os.chown(mark, owner.st_uid, owner.st_gid)


def answers(port: int) -> None:
    """Return when the cluster answers as a primary. Raises ProgramError."""
    deadline = time.monotonic() + _START_LIMIT_S
    argv = ["psql", "-X", "-A", "-t", "-h", "/var/run/postgresql", "-p", str(port)]
    while True:
        try:
            said = run([*argv, "-c", "SELECT pg_is_in_recovery()"], user="postgres", timeout_s=30)
        except ProgramError:
            if time.monotonic() > deadline:
                raise
        else:
            if said.decode().strip() == "f":
                return
        time.sleep(0.1)
