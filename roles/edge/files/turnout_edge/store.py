"""Clock and files: reading, replacing and locking, so that a power cut leaves the old or the new."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from .errors import EXIT_USAGE, Trouble, not_root, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


class Clock:
    """The clocks: wall time for people, and the time since boot, which nobody sets, for ages."""

    def __init__(self) -> None:
        self._boot_id = ""

    def mark(self) -> Json:
        """Return now as both clocks show it: {wall, boot (seconds), boot_id}."""
        if not self._boot_id:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
                self._boot_id = stream.read().strip()
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        return {"wall": round(time.time(), 3), "boot": round(boot, 3), "boot_id": self._boot_id}

    def stamp(self) -> str:
        """Return the wall time as UTC text with milliseconds."""
        return utc_text(time.time())


def utc_text(wall: float) -> str:
    """Return a wall time as UTC text with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall * 1000) % 1000:03d}Z"


class Files:
    """Reading, replacing and appending, so that a power cut leaves the old or the new, never a half."""

    def read(self, path: str, limit: int = -1) -> bytes | None:
        """Return a file's bytes, or at most the first `limit`; None when there is none.

        Raises OSError, also for what is no file: reading a pipe would wait for ever.
        """
        try:
            with open(path, "rb", opener=open_plain) as stream:
                return stream.read(limit)
        except FileNotFoundError:
            return None

    def replace(self, path: str, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
        """Replace a file in one step; `durable` waits until it is on the disk."""
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, f".{name}.turnout-new")
        clear_way(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        clear_way(path)
        os.rename(temporary, path)
        if durable:
            sync_folder(folder)

    def append(self, path: str, data: bytes) -> None:
        """Append to a file and wait until it is on the disk, with its name where it is new."""
        clear_way(path)
        is_new = not os.path.exists(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(os.path.dirname(path))

    def truncate(self, path: str, size: int) -> None:
        """Cut a file to `size` bytes."""
        os.truncate(path, size)

    def tail(self, path: str, limit: int) -> tuple[bytes, int]:
        """Return at most the last `limit` bytes of a file, and its size; nothing of what is no file."""
        try:
            with open(path, "rb", opener=open_plain) as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - limit))
                return stream.read(), size
        except (FileNotFoundError, NotAFile):
            return b"", 0


class NotAFile(OSError):
    """A folder, a pipe or a device stands where a file belongs."""


def open_plain(path: str, flags: int) -> int:
    """Open a file to read it; raises NotAFile for anything else, which might never come to an end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise NotAFile(errno.EINVAL, "it is not a file", path)


def clear_way(path: str) -> None:
    """Move aside what stands where a file is to be written and is none: it can be neither replaced nor appended to."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        os.rename(path, f"{path}.not-a-file-{time.time_ns()}")


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: str) -> None:
    """Wait until a folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_state_folder(path: str, fault: OSError) -> Trouble:
    """Return the error for a file of the state folder that can be neither made nor opened."""
    folder = os.path.dirname(path)
    observed, remedy = f"there is no {folder}", f"mkdir -m 700 {folder}"
    if os.path.isdir(folder) or not os.path.isdir(os.path.dirname(folder)):
        observed = f"{path} cannot be opened: {fault.strerror or fault}"
        remedy = f"see what is there, and whether the disk has room: ls -ld {folder} {path}; df -h {folder}"
    elif os.path.lexists(folder):
        observed = f"{folder} is no folder"
        remedy = f"mv {folder} {folder}.aside && mkdir -m 700 {folder}"
    return Trouble("state-dir", EXIT_USAGE, observed, "the state folder of edge.json", remedy)


def holder_of(path: str) -> int | None:
    """Return the process that holds a file locked, by what the kernel says; None where it does not tell.

    Not by what stands in the file: on a full disk the holder could not write its own number.
    """
    path = os.path.realpath(path)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == path:
                    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as stream:
                        if "\nlock:" in stream.read():
                            return int(pid)
        except OSError:
            continue  # it has ended, or is not this user's to look at
    return None


class FileLock:
    """The one lock under which everything is done, held for milliseconds."""

    WAIT_S = 5.0

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = -1

    def __enter__(self) -> FileLock:
        self.descriptor = self._open()
        deadline = time.monotonic() + self.WAIT_S
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    number = os.fstat(self.descriptor).st_ino
                    os.close(self.descriptor)
                    raise self._busy(holder_of(self.path), number) from None
                time.sleep(0.005)
        try:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # a full or read-only disk: the name of the holder is a courtesy
        return self

    def _busy(self, pid: int | None, number: int) -> Trouble:
        # SIGTERM waits until it has ended its work. A stopped one goes on with CONT; KILL leaves what a power cut does.
        remedy = (
            f"look at it (ps -fp {pid}), and end it if it hangs: kill -CONT {pid}; kill -9 {pid}"
            if pid
            else f"grep :{number} /proc/locks names the process in its fifth column; look at it with ps -fp"
        )
        return refusal(
            "busy",
            f"another turnout-edge (pid {pid or 'unknown'}) has worked for more than {self.WAIT_S:g} s",
            "at most a few milliseconds",
            remedy,
        )

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as fault:
            raise not_root(self.path) from fault
        except OSError as fault:
            try:
                return os.open(self.path, os.O_RDONLY)  # a disk that went read-only must not keep a rollback out
            except OSError:
                raise no_state_folder(self.path, fault) from fault

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
