"""Redis restored for real: its copy beside the old data, seen to start as the server will, then put in its place."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from pathlib import Path
from typing import Any, NoReturn

from . import failure, redis
from .cutover import Server, stopped, tidy
from .errors import BrokenOff
from .place import Place, sync_folder
from .shell import ProgramError, run, systemctl, unit_active
from .story import Story

_SERVER = "redis-server"
_CONFIGURATION = Path("/etc/redis/redis.conf")
_START_LIMIT_S = 600  # a server reads some GB of append-only files in that time
# Snapshot, the append-only file that is written from it, and what its rewrite takes besides.
_ROOM_FACTOR = 3


class RedisStory(Story):
    """A copy of Redis fetched, and made into a data directory that a server starts on."""

    def _steps(self) -> None:
        plan, measured = self.plan, self.measured
        measured.data["began_s"] = time.monotonic()
        self.place.make(time.time() + float(plan["limit_s"]))
        self.engine.lay(plan["repository_options"], plan.get("ca") or "", int(plan["process_max"]))
        measured.mark("provision")
        copy = redis.newest(self.engine, failure.epoch(plan["target"]["value"]) if plan["target"] else None)
        measured.data["notes"]["backup"] = copy.path.rpartition("/")[2]
        needed = _ROOM_FACTOR * sum(stored["bytes"] for stored in copy.marker["files"].values())
        free = shutil.disk_usage(self.place.folder).free
        if free < needed:
            raise BrokenOff(
                f"{self.place.folder} has {free} bytes free, expected {needed}: set drill_restore_redis_directory to a "
                "folder with room, or make some"
            )
        measured.mark("preflight")
        redis.restore(self.place, self.engine, copy)
        measured.mark("copy")
        keys = startable(self.place)
        measured.check(
            "redis",
            None,
            said=f"keys: {keys}; database 0 had {copy.marker['keys']} when it was copied",
        )
        measured.mark("validation")


def startable(place: Place) -> int:
    """Give the restored snapshot its append-only file, and see a server start from that; return the number of keys.

    With `appendonly yes` a server reads its append-only file and never the snapshot: on a folder with a snapshot alone
    it would begin with nothing. Nobody can reach either server: they listen on a socket in the place. Raises BrokenOff.
    """
    (place.folder / "redis" / "appendonly.tar.gz").unlink(missing_ok=True)
    socket = str(place.folder / "redis" / "redis.sock")
    _server(place, "no")
    try:
        run(["redis-cli", "-s", socket, "CONFIG", "SET", "appendonly", "yes"], timeout_s=60)
        _written(socket)
        first, expiring = _keyspace(socket)
        _shut_down(place, socket)
        _server(place, "yes")
        again, _ = _keyspace(socket)
        _shut_down(place, socket)
    except ProgramError as error:
        raise BrokenOff(f"the append-only file of the restored Redis was not written: {error}", "redis") from None
    if not first - expiring <= again <= first:
        raise BrokenOff(f"the restored Redis has {again} keys after a restart, {first} were in the snapshot", "redis")
    return again


def _server(place: Place, append_only: str) -> None:
    """Start a server on the restored folder, on a socket of its own, and let it read its data. Raises BrokenOff."""
    socket = f"{place.folder}/redis/redis.sock"
    settings = f"port 0\nunixsocket {socket}\nunixsocketperm 700\nappendonly {append_only}\n"
    # Where memory runs out, this one goes, and not the server that is in service.
    redis.launch(place, settings, {"OOMScoreAdjust": 1000})
    redis.keys(["redis-cli", "-s", socket, "DBSIZE"], place.unit("redis"), {}, _START_LIMIT_S)


def _shut_down(place: Place, socket: str) -> None:
    run(["redis-cli", "-s", socket, "SHUTDOWN", "NOSAVE"], timeout_s=60, allowed=(0, 1))
    systemctl("stop", place.unit("redis"))
    Path(socket).unlink(missing_ok=True)


def _persistence(socket: str) -> dict[str, str]:
    out = run(["redis-cli", "-s", socket, "INFO", "persistence"], timeout_s=60).decode()
    return dict(line.split(":", 1) for line in out.split() if ":" in line)


def _written(socket: str) -> None:
    """Return when the append-only file holds all the data. Raises ProgramError."""
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        told = _persistence(socket)
        busy = told.get("aof_rewrite_in_progress") == "1" or told.get("aof_rewrite_scheduled") == "1"
        if not busy and told.get("aof_enabled") == "1" and told.get("aof_last_bgrewrite_status") == "ok":
            return
        if time.monotonic() > deadline:
            raise ProgramError(f"not done after {_START_LIMIT_S} s, status {told.get('aof_last_bgrewrite_status')}")
        time.sleep(0.05)


def _keyspace(socket: str) -> tuple[int, int]:
    """Return the number of keys in all databases, and of those that will go by themselves. Raises ProgramError."""
    out = run(["redis-cli", "-s", socket, "INFO", "keyspace"], timeout_s=60).decode()
    found = [
        dict(pair.split("=") for pair in line.split(":", 1)[1].split(","))
        for line in out.split() if line.startswith("db")
    ]  # fmt: skip
    return sum(int(one["keys"]) for one in found), sum(int(one["expires"]) for one in found)


def cut_over(plan: dict[str, Any]) -> dict[str, Any]:
    """Put the restored data of `id` (in `directory`) into Redis's `data_directory`, which may be a mount point.

    Returns {kept, seconds}: where the old data lies now (None where there was none), and for how long at most Redis
    did not answer. Raises BrokenOff with nothing changed, with the old data put back, or with what lies where and how
    to mend it.
    """
    place, data = Place(plan["directory"], plan["id"]), Path(plan["data_directory"])
    restored = place.folder / "redis"
    place.refuse_newer()
    if not place.validated("redis") or not restored.is_dir():
        raise BrokenOff(
            f"there is no validated restore {plan['id']} of Redis in {plan['directory']}: see turnout-drill list; "
            "nothing was changed"
        )
    if not _CONFIGURATION.exists() or not data.is_dir():
        raise BrokenOff(
            f"this host has no Redis with its data in {data}: run ansible-playbook turnout.ops.site --tags redis"
        )
    user = ["--user", plan["user"]] if plan.get("user") else []
    cli = ["redis-cli", "-p", str(plan["port"]), *user, "DBSIZE"]
    environment = {"REDISCLI_AUTH": plan["password"]}
    server = Server(_SERVER, lambda: redis.keys(cli, _SERVER, environment, _START_LIMIT_S), _START_LIMIT_S)
    swap = Swap(data, plan["id"])
    began = time.monotonic()
    if not swap.done():
        mend(server, swap)
        try:
            swap.stage(restored)
            place.say({**place.state(), "cutting_over": True})
        except OSError as error:
            raise BrokenOff(
                f"the restored data could not be copied beside the old, nothing was changed: {error}"
            ) from None
        began = time.monotonic()
        try:
            stopped(server)
        except BrokenOff:
            swap.drop()
            raise
    try:
        swap.to_restored()
        server.start()
    except (ProgramError, BrokenOff, OSError) as error:
        put_back(server, swap, error)
    seconds = time.monotonic() - began
    kept = swap.kept_where()
    tidy(place)
    return {"kept": kept, "seconds": round(seconds, 2)}


def mend(server: Server, swap: Swap) -> None:
    """Take back what an earlier cut over to the same restore did before it was cut off. Raises BrokenOff."""
    if not swap.begun():
        return
    try:
        server.stop()
        swap.to_old()
        server.start()
    except (ProgramError, BrokenOff, OSError) as error:
        raise BrokenOff(
            f"an earlier cut over was cut off, and what it did could not be taken back ({error}): {swap.by_hand()}"
        ) from None


def put_back(server: Server, swap: Swap, cause: Exception) -> NoReturn:
    """Put the old data back and see the old server answer; then, or where that fails, say exactly what is.

    Raises BrokenOff in any case.
    """
    try:
        server.stop()
        swap.to_old()
        server.start()
    except (ProgramError, BrokenOff, OSError) as second:
        raise BrokenOff(
            f"the cut over failed ({cause}), and putting the old data back failed too ({second}): {swap.by_hand()}; "
            "or mend the cause and cut over to the same restore again"
        ) from None
    raise BrokenOff(
        f"the restored Redis did not start in its place, the old data was put back and serves: {cause}"
    ) from None


class Swap:
    """What lies in a data directory, changed for something else by renames inside it, and back.

    `moving-ID` is there while old files go aside, `before-ID` once all of them are: so a second try knows how far the
    first one came.
    """

    def __init__(self, data: Path, name: str) -> None:
        self.data = data
        self.staged, self.kept = data / f"restored-{name}", data / f"before-{name}"
        self.moving = data / f"moving-{name}"

    def begun(self) -> bool:
        """Tell whether an earlier try moved something and did not come to its end."""
        return (self.moving.exists() or self.kept.exists()) and not self.done()

    def done(self) -> bool:
        """Tell whether all the old files are aside and all the restored in their place."""
        return self.kept.exists() and not self.staged.exists() and not self.moving.exists()

    def stage(self, restored: Path) -> None:
        """Copy the restored files beside the old, on their file system. Raises OSError, and leaves nothing then."""
        if self.kept.exists():
            raise FileExistsError(f"an earlier cut over to it was cut off: the old data lies in {self.kept}")
        account = pwd.getpwnam("redis")
        try:
            self.drop()
            shutil.copytree(restored, self.staged)
            for path in (self.staged, *self.staged.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
        except OSError:
            self.drop()
            raise

    def drop(self) -> None:
        """Remove what was staged."""
        shutil.rmtree(self.staged, ignore_errors=True)

    def _entries(self) -> list[Path]:
        ours = ("restored-", "before-", "moving-")
        return [path for path in self.data.iterdir() if not path.name.startswith(ours)]

    def to_restored(self) -> None:
        """Put the old files aside and the restored into their place; nothing where that is done. Raises OSError."""
        if self.done():
            return
        self.moving.mkdir(mode=0o700)
        for path in self._entries():
            path.rename(self.moving / path.name)
        sync_folder(self.moving)
        self.moving.rename(self.kept)
        sync_folder(self.data)
        for path in list(self.staged.iterdir()):
            path.rename(self.data / path.name)
        self.staged.rmdir()
        sync_folder(self.data)

    def to_old(self) -> None:
        """Undo `to_restored`, however far it came. What was restored goes. Raises OSError."""
        if self.kept.is_dir():
            self.staged.mkdir(exist_ok=True)  # from here on it is not done, should this be cut off
            for path in self._entries():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self.kept.rename(self.moving)
            sync_folder(self.data)
        if self.moving.is_dir():
            for path in list(self.moving.iterdir()):
                path.rename(self.data / path.name)
            self.moving.rmdir()
            sync_folder(self.data)
        self.drop()

    def by_hand(self) -> str:
        """Return what lies where at this moment, and the commands that put the old data back from there."""
        runs = "runs" if unit_active(_SERVER) else "does not run"
        if self.kept.exists():
            where = f"all of the old data lies in {self.kept}"
            first = f"find {self.data} -mindepth 1 -maxdepth 1 ! -name 'before-*' -exec rm -rf {{}} +"
            aside = self.kept
        elif self.moving.exists():
            where, first = f"the old data lies in {self.data}, what is not there in {self.moving}", ""
            aside = self.moving
        else:
            return f"{_SERVER} {runs}; the old data lies in {self.data}: systemctl start {_SERVER}"
        steps = [f"systemctl stop {_SERVER}", *([first] if first else []), f"mv {aside}/* {self.data}/"]
        return (
            f"{_SERVER} {runs}; {where}; to put the old back by hand: "
            f"{', '.join([*steps, f'rmdir {aside}', f'systemctl start {_SERVER}'])}"
        )

    def kept_where(self) -> str | None:
        """Return where the old files lie, None where there were none."""
        if any(self.kept.iterdir()):
            return str(self.kept)
        self.kept.rmdir()
        return None
