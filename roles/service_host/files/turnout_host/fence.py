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
            f"only where the edges were set up anew and count from the beginning: rm {self._path} on this host",
        )

    def _read(self) -> tuple[int, str] | None:
        newer = None
        try:
            with open(self._path, "rb") as stream:
                text = stream.read()
            record, newer = parse(text), newer_format(text)
        except FileNotFoundError:
            return None
        except OSError as error:
            record = error.strerror or "unreadable"
        if newer is not None:
            known = "its number counts" if isinstance(record, tuple) else "it counts as unknown"
            self._note(
                f"{self._path} is of format {newer}, written by a newer turnout_host than this, which reads "
                f"{atomic.FORMAT}: {known}, and run {self.run} goes on; to mend: ansible-playbook turnout.ops.site "
                "--tags service_host, by the Turnout that wrote it"
            )
        elif isinstance(record, str):
            self._note(f"{self._path} was damaged ({record}) and counts as unknown: run {self.run} goes on")
        return record if isinstance(record, tuple) else None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _write(self) -> None:
        record: Record = {"format": atomic.FORMAT, "fence": self.number, "run": self.run, "at": time.time()}
        try:
            atomic.replace(self._path, json.dumps(record).encode() + b"\n", 0o600)
        except OSError as error:
            raise _unwritable(self._path, error) from None


class Lock:
    """The lock under which what runs of a service on this host is changed. Raises FenceError where it is not had."""

    def __init__(self, service: str, root: str = "/") -> None:
        self._folder = os.path.join(root, STATE_DIR, service)
        self._stream: IO[str] | None = None

    def __enter__(self) -> None:
        path = os.path.join(self._folder, "fence.lock")
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            stream = open(path, "a", encoding="ascii")
        except OSError as error:
            raise _unwritable(path, error) from None
        deadline = time.monotonic() + LOCK_WAIT_S
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
    try:
        with open(os.path.join(root, STATE_DIR, service, "fence.json"), "rb") as stream:
            found = parse(stream.read())
    except OSError:
        return None
    return {"fence": found[0], "run": found[1]} if isinstance(found, tuple) else None


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
