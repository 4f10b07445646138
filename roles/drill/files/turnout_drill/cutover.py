"""The last step of a restore for real: the restored data takes the place of the old, which is kept aside.

What lies where says how far a cut over came, so that one which was killed between any two steps is finished, or taken
back, by a second one to the same restore: nothing else has to be known.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .errors import BrokenOff
from .place import Place, sync_folder
from .shell import ProgramError, run, systemctl, unit_active

# Where Debian puts clusters and their configuration.
CLUSTERS = Path("/var/lib/postgresql")
CONFIGURATIONS = Path("/etc/postgresql")
_START_LIMIT_S = 120
_STOP_LIMIT_S = 300  # it writes a last checkpoint


@dataclass(frozen=True)
class Server:
    """A server of this host: its unit, and what tells that it serves (it raises ProgramError or BrokenOff)."""

    unit: str
    answers: Callable[[], object]
    start_limit_s: float = _START_LIMIT_S

    def start(self) -> None:
        """Start it and see it answer. Raises ProgramError or BrokenOff."""
        systemctl("reset-failed", self.unit)  # systemd's own tries may have used up its start limit
        run(["systemctl", "start", self.unit], timeout_s=self.start_limit_s)
        self.answers()

    def stop(self) -> None:
        """Stop it. Raises ProgramError."""
        run(["systemctl", "stop", self.unit], timeout_s=_STOP_LIMIT_S)


class Swap:
    """The old data directory, the restored one, and the name under which the old one is kept."""

    def __init__(self, data: Path, restored: Path, name: str) -> None:
        self.data, self.restored = data, restored
        self.kept = data.with_name(f"{data.name}.before-{name}")

    def fault(self) -> str | None:
        """Return why what lies where is neither the beginning of a cut over, nor its middle, nor its end."""
        data, kept, restored = self.data.exists(), self.kept.exists(), self.restored.exists()
        if data and kept and restored:
            return (
                f"{self.data}, {self.kept} and {self.restored} are all there: an earlier cut over was cut off, and "
                f"something made a new cluster since; put that one aside, and cut over again: mv {self.data} "
                f"{self.data}.between"
            )
        if not data and not restored:
            return f"neither {self.data} nor {self.restored} is there" + (
                f"; the old data lies in {self.kept}: mv {self.kept} {self.data}" if kept else ""
            )
        return None

    def forward(self) -> None:
        """Put the old data aside and the restored in its place, from where an earlier try left it. Raises OSError."""
        if self.restored.exists() and self.data.exists():
            _rename(self.data, self.kept)
        if self.restored.exists():
            _rename(self.restored, self.data)

    def back(self) -> None:
        """Undo `forward`, however far it came. Raises OSError."""
        if self.data.exists() and not self.restored.exists():
            _rename(self.data, self.restored)
        if self.kept.exists() and not self.data.exists():
            _rename(self.kept, self.data)

    def by_hand(self, unit: str) -> str:
        """Return what lies where at this moment, and the commands that put the old server back from there."""
        moves = []
        old = self.kept if self.kept.exists() else self.data
        restored = self.restored
        if not self.restored.exists():
            restored = self.data
            moves.append(f"mv {self.data} {self.restored}")
        if self.kept.exists():
            moves.append(f"mv {self.kept} {self.data}")
        where = f"the restored data lies in {restored}"
        if old != restored:
            where = f"the old data lies in {old}, " + where
        commands = [f"systemctl stop {unit}", *moves, f"systemctl reset-failed {unit}", f"systemctl start {unit}"]
        runs = "runs" if unit_active(unit) else "does not run"
        return f"{unit} {runs}; {where}; to put the old back by hand: {' && '.join(commands)}"


def _rename(source: Path, target: Path) -> None:
    os.rename(source, target)
    for folder in {source.parent, target.parent}:
        sync_folder(folder)


def put_back(server: Server, swap: Swap, cause: Exception, served: bool) -> NoReturn:
    """Put the old data back and see the old server answer; then, or where that fails, say exactly what is.

    Raises BrokenOff in any case.
    """
    try:
        server.stop()
        swap.back()
        if served:
            server.start()
    except (ProgramError, BrokenOff, OSError) as second:
        raise BrokenOff(
            f"the cut over failed ({cause}), and putting the old data back failed too ({second}): "
            f"{swap.by_hand(server.unit)}; or mend the cause and cut over to the same restore again"
        ) from None
    told = "the old one was put back and answers" if served else "there was no old one, so that nothing serves"
    raise BrokenOff(f"the restored cluster did not start in its place, {told}: {cause}") from None


def cut_over(plan: dict[str, Any]) -> dict[str, Any]:
    """Put the restore `id` (in `directory`) into the place of the cluster `version`/`cluster`.

    Returns {kept, seconds}: where the old data directory lies now (None where there was none), and for how long at most
    no PostgreSQL answered. Raises BrokenOff with nothing changed, with the old cluster put back, or with what lies
    where and the commands that mend it.
    """
    place = Place(plan["directory"], plan["id"])
    place.refuse_newer()
    if not place.validated("postgres"):
        raise BrokenOff(
            f"there is no validated restore {plan['id']} of PostgreSQL in {plan['directory']}: see turnout-drill list; "
            "nothing was changed"
        )
    data = CLUSTERS / plan["version"] / plan["cluster"]
    server = Server(f"postgresql@{plan['version']}-{plan['cluster']}", lambda: answers(plan["port"]))
    swap = Swap(data, place.data, plan["id"])
    refuse(plan, swap)
    try:
        # A transient unit: once it was stopped (by an earlier try, by a reboot) it is not loaded, which is code 5.
        run(["systemctl", "stop", place.unit("postgres")], timeout_s=300, allowed=(0, 5))
        if place.data.exists():
            ready_for_archive(place.data, f"/usr/lib/postgresql/{plan['version']}/bin")
        served = swap.kept.exists() or (data.exists() and place.data.exists())
        place.say({**place.state(), "cutting_over": True})
    except (ProgramError, OSError) as error:
        raise BrokenOff(f"{error}; nothing was changed: the old cluster is as it was") from None
    # Counted from the order to stop to the end of the order to start: what clients miss lies within, and is shorter.
    began = time.monotonic()
    try:
        stopped(server)
        held_by(data)
    except BrokenOff:
        over(place, swap)
        raise
    try:
        swap.forward()
        server.start()
    except (ProgramError, BrokenOff, OSError) as error:
        try:
            put_back(server, swap, error, served)
        finally:
            over(place, swap)
    seconds = time.monotonic() - began
    kept = str(swap.kept) if swap.kept.exists() else None
    tidy(place)
    return {"kept": kept, "seconds": round(seconds, 2)}


def over(place: Place, swap: Swap) -> None:
    """Write down that nothing of a restore lies elsewhere any more, where that is so."""
    if swap.restored.exists() and not swap.kept.exists():
        with contextlib.suppress(OSError):  # whoever reads it is told to cut over again, which does no harm
            place.say({**place.state(), "cutting_over": False})


def refuse(plan: dict[str, Any], swap: Swap) -> None:
    """Refuse what could not be cut over, before anything is touched. Raises BrokenOff."""
    data, restored = swap.data, swap.restored
    fault = swap.fault()
    if not (CONFIGURATIONS / plan["version"] / plan["cluster"] / "postgresql.conf").exists():
        fault = (
            f"this host has no cluster {plan['version']}/{plan['cluster']}: "
            "run ansible-playbook turnout.ops.site --tags postgres"
        )
    elif fault is None and restored.exists() and restored.stat().st_dev != data.parent.stat().st_dev:
        fault = f"{restored} is not on the file system of {data.parent}: set drill_restore_directory to one there"
    elif fault is None and data.is_mount():
        fault = (
            f"{data} is a mount point, which cannot be put aside by a rename: mount the file system on {data.parent}"
        )
    if fault is None and (taken := timeline_taken(data, restored)):
        fault = (
            f"the cluster in service has archived timeline {taken}, which is that of this restore too, so that its WAL "
            f"could not be archived: make a new one and cut that one over (turnout-drill remove {plan['id']})"
        )
    if fault is not None:
        raise BrokenOff(f"{fault}; nothing was changed")


def timeline_taken(data: Path, restored: Path) -> int | None:
    """Return the timeline of the restored data, where the cluster in service has archived one of that number.

    So it is when another restore, made at the same time or before, was cut over meanwhile. Both archives' files would
    have the same names: the archiver refuses the second, for ever.
    """
    own = max((path.name[:8] for path in restored.glob("pg_wal/*.history")), default="")
    return int(own, 16) if own and (data / "pg_wal/archive_status" / f"{own}.history.done").exists() else None


def tidy(place: Place) -> None:
    """Remove the place of a restore that serves now; where its tablespaces serve, they stay."""
    tablespaces = place.folder / "tablespaces"
    if tablespaces.exists() and any(tablespaces.iterdir()):
        place.say({**place.state(), "cutting_over": False})
        return
    try:
        place.remove()
    except OSError as error:
        raise BrokenOff(
            f"the restored data serves; what is left of its place could not be removed ({error}): rm -r {place.folder}"
        ) from None


def stopped(server: Server) -> None:
    """Stop a server that is in service. Raises BrokenOff, after which it starts again as soon as it has stopped."""
    try:
        server.stop()
    except ProgramError as error:
        systemctl("--no-block", "start", server.unit)
        raise BrokenOff(
            f"{server.unit} did not stop ({error}), and was told to start again; nothing was changed; if it does not "
            f"run in the end: systemctl start {server.unit}"
        ) from None


def held_by(data: Path) -> None:
    """Refuse where a server that systemd knows nothing of still runs on the old data. Raises BrokenOff."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if Path(f"/proc/{pid}/cwd").resolve() != data.resolve():
            return  # left by a crash
    except (OSError, ValueError, IndexError):
        return
    raise BrokenOff(
        f"a server that systemd does not know still runs on {data}, process {pid}: stop it (kill -INT {pid}) and cut "
        "over again; nothing was changed"
    )


def ready_for_archive(data: Path, binaries: str) -> None:
    """Take out what the restore set, and let the archiver have the new timeline's beginning.

    While the restore lay apart it archived nothing: the history file of its timeline, and segments that it completed,
    were not marked for the archiver. Without them nobody could restore to a time after this one.
    """
    conf = data / "postgresql.auto.conf"
    lines = conf.read_text().splitlines(keepends=True)
    ours = re.compile(r"\s*(restore_command|archive_mode|recovery_target\w*)\s*=")
    draft = conf.with_name(conf.name + ".turnout")
    draft.write_text("".join(line for line in lines if not ours.match(line)))
    owner = data.stat()
    os.chown(draft, owner.st_uid, owner.st_gid)
    draft.chmod(0o600)
    draft.replace(conf)
    out = run([f"{binaries}/pg_controldata", "-D", str(data)], user="postgres").decode()
    match = re.search(r"REDO WAL file:\s+([0-9A-F]{24})", out)
    if match is None:
        raise ProgramError("pg_controldata names no WAL file")
    newest = match[1]
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
            said = run([*argv, "-c", "SELECT pg_is_in_recovery()"], user="postgres", timeout_s=30).decode().strip()
        except ProgramError:
            if time.monotonic() > deadline:
                raise
        else:
            if said == "f":
                return
            if time.monotonic() > deadline:
                raise ProgramError(f"it answers as a standby after {_START_LIMIT_S} s")
        time.sleep(0.1)
