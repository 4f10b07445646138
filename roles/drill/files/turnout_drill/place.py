"""Where a restore lives on this host: its folders, its names, and how all of it is removed."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .errors import BrokenOff
from .shell import run, systemctl, unit_active

UNIT = "turnout-drill-"
HELD_S = 30.0  # so long a copy counts as in use after its `lease` was touched
FORMAT = 1  # of what is written down of a place and of a drill; what has no number is of format 1


class Place:
    """The place of one restore."""

    def __init__(self, base: str, name: str) -> None:
        self.base, self.id = Path(base), name
        self.folder = self.base / name
        self.data = self.folder / "pgdata"
        self.sockets = Path("/run/turnout-drill") / name
        self.questions = Path("/run/turnout-drill") / f"{name}.questions"
        self.config = self.folder / "pgbackrest.conf"
        self.log = self.folder / "postgres.log"
        # Names of network namespaces are short. The database's has no way out; the service's leads to the database.
        self.namespace = "tdrill-" + name[-24:]
        self.database_namespace = "tdrilldb-" + name[-24:]

    def unit(self, what: str) -> str:
        """Return the name of one of its units."""
        return f"{UNIT}{self.id}-{what}.service"

    def make(self, deadline: float) -> None:
        """Make its folders. What was there before under this name is removed."""
        self.remove()
        postgres = pwd.getpwnam("postgres")
        self.base.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.folder.mkdir()
        self.folder.chmod(0o751)  # Redis and the service pass through it; its files have modes of their own
        os.chown(self.folder, 0, postgres.pw_gid)
        # Only root and postgres: a drilled service reaches the database through its own network, or not at all.
        self.sockets.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.sockets.mkdir(mode=0o700)
        os.chown(self.sockets, postgres.pw_uid, postgres.pw_gid)
        for folder in (self.data, self.folder / "lock", self.folder / "spool", self.folder / "tablespaces"):
            folder.mkdir(mode=0o700)
            os.chown(folder, postgres.pw_uid, postgres.pw_gid)
        self.say({"deadline": deadline})

    def write(self, name: str, text: str | bytes, mode: int, user: str = "root", group: str = "postgres") -> Path:
        """Write a file of the place that only those see who must."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode() if isinstance(text, str) else text)
            account = pwd.getpwnam(user)
            group_id = pwd.getpwnam(group).pw_gid if group != "root" else 0
            os.fchown(stream.fileno(), account.pw_uid, group_id)
            os.fchmod(stream.fileno(), mode)
        return path

    def hold(self, path: Path) -> None:
        """See that there is a file at `path`, where a unit is to see another one; `remove` takes an empty one away."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        if missing:
            with (self.folder / "held").open("a") as stream:
                stream.write("".join(f"{one}\n" for one in missing))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def pipe(self, name: str, user: str) -> None:
        """Make a named pipe that only this user may use."""
        path = self.folder / name
        os.mkfifo(path, 0o600)
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)

    def say(self, state: dict[str, Any]) -> None:
        """Write down what is known of it, whole and durably."""
        path = self.write("state.new", json.dumps({**state, "format": FORMAT}), 0o644)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.replace(self.folder / "state.json")
        sync_folder(self.folder)

    def validated(self, store: str) -> bool:
        """Tell whether it is a restore of this store that was kept after it had passed every check."""
        state = self.state()
        return state.get("kept") is True and state.get("validated") is True and state.get("store") == store

    def refuse_newer(self) -> None:
        """Raise BrokenOff where a newer program made it: what must hold before it is cut over to is not known here."""
        number = self.state().get("format", FORMAT)
        if not isinstance(number, int) or number > FORMAT:
            raise BrokenOff(
                f"{self.folder / 'state.json'} is of format {number}; expected: {FORMAT} or older, all that this "
                "turnout-drill reads; to mend, with the Turnout that restored it: ansible-playbook turnout.ops.site "
                "--tags drill; nothing was changed"
            )

    def state(self) -> dict[str, Any]:
        """Return what is known of it; of a newer format what this program knows, so that what is kept stays."""
        try:
            found = json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def remove(self) -> None:
        """Stop and remove all of it; safe to repeat."""
        systemctl("kill", "--signal=SIGKILL", f"{UNIT}{self.id}-*.service")
        systemctl("stop", f"{UNIT}{self.id}-*.service")
        systemctl("reset-failed", f"{UNIT}{self.id}-*.service")
        for name in (self.namespace, self.database_namespace):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, timeout=30)
        with contextlib.suppress(OSError):
            for line in (self.folder / "held").read_text().splitlines():
                held = Path(line)
                with contextlib.suppress(OSError):  # somebody has put something there since
                    held.rmdir() if held.is_dir() else held.stat().st_size or held.unlink()
        # What says that there is a place goes last, so that one which is half removed is found again.
        for path in (self.sockets, self.questions, *(self.folder.glob("*") if self.folder.exists() else ())):
            if path.name != "state.json":
                _remove(path)
        _remove(self.folder)

    def left(self) -> list[str]:
        """Return what is still there of it after `remove`."""
        networks = [Path("/run/netns") / name for name in (self.namespace, self.database_namespace)]
        found = [str(path) for path in (self.folder, self.sockets, self.questions, *networks) if path.exists()]
        out = run(["systemctl", "list-units", "--no-legend", "--plain", f"{UNIT}{self.id}-*.service"]).decode()
        return found + [line.split()[0] for line in out.splitlines() if line.strip()]


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder last over a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file or a folder with all in it; one that is gone already is gone."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def reap(base: str, now: float) -> list[str]:
    """Remove every place whose program no longer runs or whose time is over; one that was kept on purpose only where
    its time is over.
    """
    removed = []
    for folder in sorted(Path(base).glob("*/state.json")):
        place = Place(base, folder.parent.name)
        state = place.state()
        if state.get("cutting_over"):
            continue  # half of it lies in the place of the old data: a second cut over mends that
        kept = bool(state.get("kept"))
        until = float(state.get("deadline", "inf" if kept else 0))
        with contextlib.suppress(OSError):  # whoever works on a copy touches this once a second
            until = max(until, (folder.parent / "lease").stat().st_mtime + HELD_S)
        if now < until and (kept or unit_active(f"{UNIT}{place.id}.service")):
            continue
        systemctl("kill", "--signal=SIGKILL", f"{UNIT}{place.id}.service")
        place.remove()
        removed.append(place.id)
    return removed
