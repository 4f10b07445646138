"""The watch of one command: starts it, keeps its output, and connects the one client that it may have.

A frame is a letter, four bytes of length, and that many bytes. From the client: I input, E its end, S a signal's
number, W the terminal's "ROWS COLUMNS", B a sign of life. To it: O output, R standard error, A bytes of input that
were taken, B an answer to B, X the end, as JSON. `turnout.command.attached` is the other side.

A command that is not detached lives as long as its client: where nothing was heard for `SILENT_S`, it is stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

from turnout_host import commands, notify

MAGIC = b"\0turnout-run 1\n"
HEAD = struct.Struct("!cI")
CHUNK = 65536
WAITING = 1024 * 1024  # bytes that wait for a client before the command has to
SILENT_S = 20.0
FIRST_S = 30.0  # until the first client has come
CLOSING_S = 5.0  # that the last bytes to a client may take
TICK_S = 1.0
AGAIN_S = 0.2
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def frames(data: bytearray) -> list[tuple[bytes, bytes]]:
    """Take the whole frames out of what was read."""
    found = []
    while len(data) >= HEAD.size:
        kind, length = HEAD.unpack_from(data)
        if len(data) < HEAD.size + length:
            break
        found.append((kind, bytes(data[HEAD.size : HEAD.size + length])))
        del data[: HEAD.size + length]
    return found


def frame(kind: bytes, data: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return HEAD.pack(kind, len(data)) + data


class Kept:
    """The file of a command's output: as much as is kept, and a line that says what was not."""

    def __init__(self, path: str, limit: int = commands.OUTPUT_LIMIT) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - for the life of the watch
        self._left = limit
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Keep what there is room for. A full disk stops no command."""
        kept = data[: self._left]
        self._left -= len(kept)
        self._dropped += len(data) - len(kept)
        with contextlib.suppress(OSError):
            self._file.write(kept)

    def close(self) -> None:
        """Say what was not kept."""
        if self._dropped:
            with contextlib.suppress(OSError):
                self._file.write(f"\n[{self._dropped} more bytes were not kept]\n".encode())
        self._file.close()


class Client:
    """The client that is connected."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.heard_s = time.monotonic()
        self.read = bytearray()
        self.waiting = bytearray(MAGIC)

    def say(self, kind: bytes, data: bytes = b"") -> None:
        """Have a frame sent."""
        self.waiting += frame(kind, data)

    def send(self) -> None:
        """Send what can be sent. Raises OSError where the client is gone."""
        with contextlib.suppress(BlockingIOError):
            del self.waiting[: self.socket.send(self.waiting[:CHUNK])]

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Return the frames that came. Raises OSError where the client is gone."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError
        self.heard_s = time.monotonic()
        self.read += data
        return frames(self.read)


class Watch:
    """One command, from its start to the end of its output."""

    def __init__(self, given: dict) -> None:
        self.given = given
        self.names = (given["service"], given["color"], given["id"])
        self.unit = commands.unit_of(*self.names)
        self.folder = commands.folder_of(given["service"], given["id"])
        self.kept = Kept(os.path.join(self.folder, "output"))
        self.client: Client | None = None
        self.process: subprocess.Popen | None = None
        self.outputs: dict[int, bytes] = {}  # descriptor -> kind of frame
        self.input: int | None = None
        self.to_input = bytearray()
        self.input_ends = False
        self.terminal: tuple[int, int] | None = None
        self.why = ""
        self.stopping = False
        self.signals: list[int] = []
        self.again_s = 0.0
        self.began_s = time.monotonic()

    # What is done with the command --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the command's unit, with pipes or a terminal of ours."""
        argv, terminal = self.given["argv"], self.given["terminal"]
        at = argv.index("--")
        if terminal:
            main, side = pty.openpty()
            self.terminal = (main, side)
            self.resize(terminal["rows"], terminal["columns"])
            path = os.ttyname(side)
            tty = [f"--property=Standard{name}=tty" for name in ("Input", "Output", "Error")]
            errors, writing = os.pipe()
            self.process = subprocess.Popen(
                [*argv[:at], *tty, f"--property=TTYPath={path}", *argv[at:]],
                stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
            )  # fmt: skip
            os.close(writing)
            self.outputs = {main: b"O", errors: b"R"}
            self.input = main
        else:
            pipes = [os.pipe() for _ in range(3)]
            (input_read, self.input), (output, output_write), (errors, errors_write) = pipes
            self.process = subprocess.Popen(argv, stdin=input_read, stdout=output_write, stderr=errors_write)
            for end in (input_read, output_write, errors_write):
                os.close(end)
            self.outputs = {output: b"O", errors: b"R"}
            if self.given["detach"]:
                os.close(self.input)
                self.input = None
        for descriptor in (*self.outputs, *([self.input] if self.input is not None else [])):
            os.set_blocking(descriptor, False)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size."""
        if self.terminal:
            fcntl.ioctl(self.terminal[0], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the command; SIGTERM and SIGHUP end it in any case."""
        if number in SIGNALS and number != signal.SIGTERM:  # which `stop` sends
            self.signals.append(number)
        if number in (signal.SIGTERM, signal.SIGHUP):
            self.stop(f"its client got {signal.Signals(number).name}")

    def stop(self, why: str) -> None:
        """Have systemd end the command; its output is read meanwhile."""
        if not self.stopping:
            self.stopping, self.why = True, why

    def deliver(self) -> None:
        """Tell systemd what is to become of the command, again where its unit was only about to start."""
        if self.process is None or time.monotonic() < self.again_s:
            return
        while self.signals:
            words = ["systemctl", "kill", f"--signal={self.signals[0]}", self.unit]
            if subprocess.run(words, capture_output=True, check=False).returncode:
                self.again_s = time.monotonic() + AGAIN_S
                return
            self.signals.pop(0)
        if self.stopping:
            subprocess.run(["systemctl", "stop", "--no-block", self.unit], capture_output=True, check=False)
            self.again_s = time.monotonic() + 2 * TICK_S

    def gone(self) -> None:
        """Note that the client is gone."""
        if self.client:
            self.client.socket.close()
            self.client = None
        if not self.given["detach"]:
            self.stop("its client was gone")

    # The loop -----------------------------------------------------------------------------------------------------

    def take(self, kind: bytes, data: bytes) -> None:
        """Do what a client's frame says."""
        if kind == b"B" and self.client:
            self.client.say(b"B")
        elif kind == b"I" and self.input is not None:
            self.to_input += data
        elif kind == b"E":
            self.input_ends = True
        elif kind == b"S" and data.isdigit():
            self.signal(int(data))
        elif kind == b"W":
            rows, columns = (min(int(number), 9999) for number in data.split())
            self.resize(rows, columns)

    def feed(self) -> None:
        """Give the command its input, as much as it takes."""
        if self.input is None:
            return
        try:
            taken = os.write(self.input, self.to_input[:CHUNK]) if self.to_input else 0
        except BlockingIOError:
            taken = 0
        except OSError:  # it reads no more
            taken = len(self.to_input)
        del self.to_input[:taken]
        if taken and self.client:
            self.client.say(b"A", str(taken).encode())
        if self.input_ends and not self.to_input and not self.terminal:
            os.close(self.input)
            self.input = None

    def drain(self, descriptor: int) -> bool:
        """Read once what the command said; tell whether there was something."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # a terminal of which every other end is closed
            data = b""
        if not data:
            kind = self.outputs.pop(descriptor)
            if not (self.terminal and kind == b"O"):
                os.close(descriptor)
            return False
        self.kept.add(data)
        if self.client:
            self.client.say(self.outputs[descriptor], data)
        return True

    def run(self, listening: socket.socket) -> None:
        """Go through the command's life."""
        if self.given["detach"]:
            self.start()
        while self.process is None or self.process.poll() is None:
            if self.process is None and (self.stopping or time.monotonic() > self.began_s + FIRST_S):
                self.why = self.why or f"no client came within {FIRST_S:g} s: it was not begun"
                return
            self.turn(listening)
        while sum(self.drain(descriptor) for descriptor in list(self.outputs)):
            pass

    def turn(self, listening: socket.socket) -> None:
        """Wait for what comes next, and do it."""
        reading: list = [listening]
        writing: list = []
        client = self.client
        if client:
            reading.append(client.socket)
            writing += [client.socket] if client.waiting else []
        if not client or len(client.waiting) < WAITING:
            reading += self.outputs
        if self.to_input and self.input is not None:
            writing.append(self.input)
        ready, free, _ = select.select(reading, writing, [], AGAIN_S if self.signals else TICK_S)
        for descriptor in [one for one in ready if isinstance(one, int)]:
            self.drain(descriptor)
        try:
            if client and client.socket in ready:
                for kind, data in client.receive():
                    self.take(kind, data)
            if client and client.socket in free:
                client.send()
            if client and time.monotonic() > client.heard_s + SILENT_S:
                self.gone()
        except (OSError, ValueError):
            self.gone()
        self.feed()
        self.deliver()
        if listening in ready:
            self.welcome(listening.accept()[0])

    def welcome(self, connection: socket.socket) -> None:
        """Take a client; the newest counts. It gets what was said before it came."""
        if self.client and not self.given["detach"]:
            connection.close()  # a command that lives by its client has one
            return
        if self.client:
            self.client.socket.close()
        self.client = Client(connection)
        said = commands.output_of(self.given["service"], self.given["id"])
        if said:
            self.client.say(b"O", said.encode())
        if self.process is None:
            self.start()

    def close(self) -> None:
        """Put the end on record and tell it to the client."""
        self.kept.close()
        record: dict = {"why": self.why} if self.why else {}
        name = os.path.join(self.folder, "ended.json")
        if self.process and self.process.returncode and not os.path.exists(name):  # systemd did not even begin it
            record |= {"rc": commands.NEVER_RAN, "result": "not begun"}
        if record:
            commands.write(self.folder, "seen.json", record)
        if not self.client:
            return
        self.client.say(b"X", json.dumps(commands.read(self.given["service"], self.given["id"])).encode())
        self.client.socket.settimeout(CLOSING_S)
        with contextlib.suppress(OSError):
            self.client.socket.sendall(self.client.waiting)
            self.client.socket.shutdown(socket.SHUT_WR)
            self.client.socket.recv(CHUNK)


def main(path: str) -> int:
    """Be the watch of the command that is handed over in a file."""
    with open(path, encoding="utf-8") as file:
        given = json.load(file)
    os.unlink(path)
    watch = Watch(given)
    signal.signal(signal.SIGTERM, lambda *_: watch.stop("it was stopped by hand"))
    with socket.socket(socket.AF_UNIX) as listening:
        place = f"{commands.RUN}/{given['id']}/socket"
        listening.bind(place)
        os.chown(place, given["client_uid"], -1)
        listening.listen(1)
        notify.tell("READY=1")
        try:
            watch.run(listening)
        finally:
            watch.close()
    return 0


def attach(ident: str) -> int:
    """Connect standard input and output to a command until one side ends."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            if not commands.ID.fullmatch(ident):
                raise FileNotFoundError(2, "no such command")
            connection.connect(f"{commands.RUN}/{ident}/socket")
        except OSError as error:
            sys.stderr.write(f"turnout-run: command {ident}: {error.strerror}\n")
            return 1
        while True:
            ready, _, _ = select.select([0, connection], [], [])
            if connection in ready:
                data = connection.recv(CHUNK)
                if not data:
                    return 0
                _write_all(1, data)
            if 0 in ready:
                data = os.read(0, CHUNK)
                if not data:
                    return 0
                connection.sendall(data)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
