"""Connect this terminal, or these pipes, to a command of `turnout run` on its host.

The other side is `turnout_host.watched`, which says what the frames are. Signals go to the command, but for one that is
detached, which this client only follows: there they end the client alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from turnout.errors import TurnoutError

MAGIC = b"\0turnout-run 1\n"
HEAD = struct.Struct("!cI")
CHUNK = 65536
BEAT_S = 4.0
SILENT_S = 20.0  # as the host counts it
IN_FLIGHT = 256 * 1024  # bytes of input that the command has not taken yet
PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def terminal_of(environment: Any) -> dict[str, Any] | None:
    """Return type and size of the terminal that this process talks through, None where it is none on both sides."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    rows, columns = _size()
    return {"term": environment.get("TERM") or "dumb", "rows": rows, "columns": columns}


def _size() -> tuple[int, int]:
    found = os.get_terminal_size(sys.stdout.fileno())
    return found.lines, found.columns


class Attached:
    """One connection to one command."""

    def __init__(self, argv: Sequence[str], name: str, *, terminal: bool, follow: bool) -> None:
        self.argv, self.name, self.terminal, self.follow = list(argv), name, terminal, follow
        self.read = bytearray()
        self.met = False  # the host has said who it is
        self.sent = 0  # bytes of input that the command has not taken
        self.input = not follow
        self.to_host = bytearray()
        self.signals: list[int] = []
        self.end: dict[str, Any] | None = None
        self.heard_s = self.beat_s = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Stay connected until the command's end; return what is on record of it. Raises TurnoutError where it is lost.

        Raises KeyboardInterrupt where a signal ended a client that only follows.
        """
        # In a session of its own, so that Ctrl-C ends no ssh.
        process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        to_ssh, from_ssh = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(to_ssh, False)
        try:
            with self._met_signals() as wake, _raw(self.terminal):
                while self.end is None:
                    if not self._turn(wake, to_ssh, from_ssh):
                        break
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            process.wait()
        if self.end is None:
            raise self._lost()
        return self.end

    def _turn(self, wake: int, to_ssh: int, from_ssh: int) -> bool:
        """Wait for what comes next and do it; tell whether the connection is still there."""
        reading = [wake, from_ssh]
        if self.met and self.input and self.sent < IN_FLIGHT:
            reading.append(sys.stdin.fileno())
        ready, free, _ = select.select(reading, [to_ssh] if self.to_host else [], [], 1.0)
        now_s = time.monotonic()
        if wake in ready:
            os.read(wake, CHUNK)
            self._tell_signals()
        if sys.stdin.fileno() in ready:
            self._take_input()
        if from_ssh in ready:
            data = os.read(from_ssh, CHUNK)
            if not data:
                return False
            self.heard_s = now_s
            self.read += data
            self._take_frames()
        if self.met and now_s > self.beat_s + BEAT_S:
            self.beat_s = now_s
            self._say(b"B")
        if free or self.to_host:
            try:
                del self.to_host[: os.write(to_ssh, self.to_host[:CHUNK])]
            except BlockingIOError:
                pass
            except OSError:
                self.to_host.clear()  # what it still has to say is read
        return now_s < self.heard_s + SILENT_S

    def _say(self, kind: bytes, data: bytes = b"") -> None:
        self.to_host += HEAD.pack(kind, len(data)) + data

    def _take_input(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), 4096 if self.terminal else CHUNK)
        except OSError:
            data = b""
        self.input = bool(data)
        self.sent += len(data)
        self._say(*((b"I", data) if data else (b"E",)))

    def _take_frames(self) -> None:
        if not self.met:  # whatever a login shell says first
            _, magic, rest = bytes(self.read).partition(MAGIC)
            if not magic:
                return
            self.met, self.read = True, bytearray(rest)
            if self.terminal:
                self._say(b"W", "{} {}".format(*_size()).encode())
        while len(self.read) >= HEAD.size:
            kind, length = HEAD.unpack_from(self.read)
            if len(self.read) < HEAD.size + length:
                return
            data = bytes(self.read[HEAD.size : HEAD.size + length])
            del self.read[: HEAD.size + length]
            if kind in (b"O", b"R"):
                _write(1 if kind == b"O" else 2, data)
            elif kind == b"A":
                self.sent -= int(data)
            elif kind == b"X":
                self.end = json.loads(data)

    def _tell_signals(self) -> None:
        while self.signals:
            number = self.signals.pop(0)
            if number == signal.SIGWINCH:
                if self.met and self.terminal:
                    self._say(b"W", "{} {}".format(*_size()).encode())
            elif self.follow or not self.met:
                raise KeyboardInterrupt(number)
            else:
                self._say(b"S", str(number).encode())

    def _meet(self, number: int, _frame: FrameType | None) -> None:
        self.signals.append(number)

    @contextlib.contextmanager
    def _met_signals(self) -> Iterator[int]:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, self._meet) for number in (*PASSED_ON, signal.SIGWINCH)}
        old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)

    def _lost(self) -> TurnoutError:
        if not self.met:
            return TurnoutError(
                "run-unconnected",
                observed=f"the command {self.name} could not be connected to",
                expected=f"{' '.join(self.argv[-3:])} on its host, by the ssh that Ansible uses",
                remedy=f"turnout run --show {self.name}; a command without a client was not begun",
            )
        becomes = "it goes on" if self.follow else "it is ended there within half a minute"
        again = f"turnout run --attach {self.name}" if self.follow else f"turnout run --show {self.name}"
        return TurnoutError(
            "run-lost",
            observed=f"the connection to the command {self.name} was lost: {becomes}",
            expected="a connection until the command's end",
            remedy=again,
        )


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it; whoever closed our output (`| head`) hears no more, which is no fault of the command."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """Have the terminal hand over each key as it is, Ctrl-C too."""
    if not wanted:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        with contextlib.suppress(termios.error, OSError):  # of a terminal that was closed
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
