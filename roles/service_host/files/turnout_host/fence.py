"""The fence of a service on this host: a run that was overtaken can change nothing here any more.

Every lock that is taken on the edges grows a number, and every change on this host carries the number of its run. The
greatest one is recorded here; an older one is refused. At equal numbers the run with the later id counts: the put-back
of a run holds the same lock as the run itself, and begins after it.

A change is made while the fence is held, so that a newer number cannot be recorded between the look and the change. A
change that takes long is begun while the fence is held, and watched without it: `still` ends the wait of a run that
was overtaken meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time

from turnout_host import atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

STATE_DIR = "var/lib/turnout-slots"
# Where the disk takes nothing: the record and its lock, until the next reboot. The greater record of both counts.
SPARE_DIR = "run/turnout/fence"
DISK_FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
LOCK_WAIT_S = 30.0
RUN_LENGTH = 200

Record = dict[str, object]


class FenceError(Exception):
    """A refused change: what was seen, what was expected, what mends it."""

    def __init__(self, code: str, observed: str, expected: str, remedy: str) -> None:
        super().__init__(observed)
        self.fields = {"code": code, "observed": observed, "expected": expected, "remedy": remedy}

    def message(self) -> str:
        """Return the message for a person."""
        fields = self.fields
        return (
            f"error[{fields['code']}]: {fields['observed']}\n"
            f"  expected: {fields['expected']}\n  to mend:  {fields['remedy']}"
        )


class Fence:
    """The fence of one service, as one run meets it. `notes` are what a person should know afterwards."""

    def __init__(self, service: str, run: object, number: object, root: str = "/") -> None:
        self.run, self.number = _run_of(run), _number_of(number)
        self.notes: list[str] = []
        self._folder = os.path.join(root, STATE_DIR, service)
        self._lock = Lock(service, root)
        self._path = os.path.join(self._folder, "fence.json")
        self._spare = os.path.join(root, SPARE_DIR, service, "fence.json")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the fence for a change: record this run where it is the newest, refuse it where it was overtaken."""
        with self._lock:
            recorded = self._read()
            if recorded != self._rank():
                self._refuse_if_older_than(recorded)
                self._write()
            yield

    def check(self) -> None:
        """Record this run, or refuse it."""
        with self.held():
            pass

    def still(self) -> None:
        """Refuse this run if it was overtaken; record nothing."""
        self._refuse_if_older_than(self._read())

    def _rank(self) -> tuple[int, str]:
        return (self.number, self.run)

    def _refuse_if_older_than(self, recorded: tuple[int, str] | None) -> None:
        if recorded is None or recorded <= self._rank():
            return
        number, run = recorded
        raise FenceError(
            "fence",
            f"run {self.run} (fence {self.number}) was overtaken by run {run} (fence {number})",
            "a run that holds the lock, which is newer than every one that changed this host",
            "ansible-playbook turnout.ops.status, then deploy or rollback again; "
            "only where the edges were set up anew and count from the beginning: "
            f"rm -f {self._path} {self._spare} on this host",
        )

    def _read(self) -> tuple[int, str] | None:
        return max(filter(None, (self._read_at(self._path), self._read_at(self._spare))), default=None)

    def _read_at(self, path: str) -> tuple[int, str] | None:
        newer = None
        try:
            with open(path, "rb") as stream:
                text = stream.read()
            record, newer = parse(text), newer_format(text)
        except FileNotFoundError:
            return None
        except OSError as error:
            record = error.strerror or "unreadable"
        if newer is not None:
            known = "its number counts" if isinstance(record, tuple) else "it counts as unknown"
            self._note(
                f"{path} is of format {newer}, written by a newer turnout_host than this, which reads "
                f"{atomic.FORMAT}: {known}, and run {self.run} goes on; to mend: ansible-playbook turnout.ops.site "
                "--tags service_host, by the Turnout that wrote it"
            )
        elif isinstance(record, str):
            self._note(f"{path} was damaged ({record}) and counts as unknown: run {self.run} goes on")
        return record if isinstance(record, tuple) else None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _write(self) -> None:
        record: Record = {"format": atomic.FORMAT, "fence": self.number, "run": self.run, "at": time.time()}
        text = json.dumps(record).encode() + b"\n"
        try:
            atomic.replace(self._path, text, 0o600)
            return
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise _unwritable(self._path, error) from None
            full = error
        try:
            os.makedirs(os.path.dirname(self._spare), mode=0o700, exist_ok=True)
            atomic.replace(self._spare, text, 0o600)
        except OSError as error:
            raise _unwritable(self._spare, error) from None
        self._note(
            f"{self._path}: {full.strerror}: the run is recorded in {self._spare}, until a reboot of this host; "
            f"to mend: df -h {self._folder}; mount | grep 'ro,'"
        )


class Lock:
    """The lock under which what runs of a service on this host is changed. Raises FenceError where it is not had."""

    def __init__(self, service: str, root: str = "/") -> None:
        self._folders = [os.path.join(root, folder, service) for folder in (STATE_DIR, SPARE_DIR)]
        self._stream: IO[str] | None = None

    def __enter__(self) -> None:
        paths = [os.path.join(folder, "fence.lock") for folder in self._folders]
        deadline = time.monotonic() + LOCK_WAIT_S
        try:
            self._hold(paths[0], deadline)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise _unwritable(paths[0], error) from None
            # A file that was there before can be locked on a full disk; without one, all that come meet in the spare.
            try:
                self._hold(paths[1], deadline)
            except OSError as other:
                raise _unwritable(paths[1], other) from None

    def _hold(self, path: str, deadline: float) -> None:
        """Open the file and lock it. Raises OSError where it cannot be opened, FenceError where it is not had."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic.clear_way(path)
        try:
            stream = open(path, "a", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            stream = open(path, encoding="ascii")  # noqa: SIM115 - it is only locked
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    stream.close()
                    raise FenceError(
                        "fence-busy",
                        f"another process has held {path} for {LOCK_WAIT_S:g} s",
                        "one change at a time, each of them short",
                        f"see what holds it, and end it if its run is dead: fuser -v {path}",
                    ) from None
                time.sleep(0.02)
        self._stream = stream

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None


def parse(text: bytes) -> tuple[int, str] | str:
    """Return (number, run) of a record, or what is wrong with it."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if not isinstance(record, dict):
        return "it is not an object"
    try:
        return _number_of(record.get("fence")), _run_of(record.get("run"))
    except FenceError as error:
        return error.fields["observed"]


def newer_format(text: bytes) -> int | None:
    """Return the format of a record that a newer program wrote; None for every other."""
    try:
        number = atomic.format_of(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return number if number is not None and number > atomic.FORMAT else None


def recorded(service: str, root: str = "/") -> Record | None:
    """Return {fence, run} of the newest run that changed this host, None when that is not known."""
    known = []
    for folder in (STATE_DIR, SPARE_DIR):
        with contextlib.suppress(OSError), open(os.path.join(root, folder, service, "fence.json"), "rb") as stream:
            found = parse(stream.read())
            known += [found] if isinstance(found, tuple) else []
    return {"fence": max(known)[0], "run": max(known)[1]} if known else None


def _number_of(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise FenceError(
            "fence-unknown",
            f"the fence is {number!r:.40}",
            "a whole number, which the edges gave with the lock",
            'pass fence: "{{ run_fence }}", which the role run sets',
        )
    return number


def _run_of(run: object) -> str:
    if not isinstance(run, str) or not run or len(run) > RUN_LENGTH or not run.isprintable():
        raise FenceError(
            "fence-unknown",
            f"the run is {run!r:.40}",
            f"the id of a run, of at most {RUN_LENGTH} characters",
            'pass run: "{{ run_id }}"',
        )
    return run


def _unwritable(path: str, error: OSError) -> FenceError:
    return FenceError(
        "host-files",
        f"{path}: {error.strerror}",
        "a file that root can write: a run that cannot be recorded changes nothing",
        f"see: ls -ld {os.path.dirname(path)}; df -h {os.path.dirname(path)}; mount | grep 'ro,'",
    )
