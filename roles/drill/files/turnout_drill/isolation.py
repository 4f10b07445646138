"""Networks of their own for what is restored, and what stands where Unix sockets of the host would be.

The service's network has the addresses of database and Redis, which lead to the restored ones; the database's has none
at all. Every other address leads nowhere, and each attempt is counted by the kernel.

There is no route out of a namespace, so that a call to the outside ends at once with "network is unreachable" and
raises `OutNoRoutes` (RFC 4293, ipSystemStatsOutNoRoutes) of the namespace, in /proc/net/snmp and snmp6. Names are
asked of an address that has no route either, so that a call that needs a name is counted too.

Unix sockets are files and know no network. The host's /run, where servers have theirs, is not there for what is
restored; in the place of PostgreSQL's and Redis' sockets stand some that count who comes and let nobody in.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from . import encrypted
from .place import Place
from .shell import run

_NEWNET = 0x40000000  # sched.h: CLONE_NEWNET
NOWHERE = "192.0.2.1"  # RFC 5737: an address for documentation, routed by nobody
T = TypeVar("T")


class Isolation:
    """A network namespace with nothing but a loopback."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"
        self.made = False

    def make(self, addresses: list[str]) -> None:
        """Make the namespace, with these addresses on its loopback. Raises ProgramError."""
        name = self.name
        run(["ip", "netns", "add", name])
        for address in sorted(set(addresses)):
            length = 128 if ":" in address else 32
            run(["ip", "-n", name, "address", "add", f"{address}/{length}", "dev", "lo"])
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        self.made = True

    def inside(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread that has entered the namespace; return its result or raise its error."""
        answer: dict[str, Any] = {}

        def enter() -> None:
            try:
                with open(self.path, "rb") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.path)
                answer["value"] = function()
            except BaseException as error:
                answer["error"] = error

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if "error" in answer:
            raise answer["error"]
        value: T = answer["value"]
        return value

    def faults(self, unit: str) -> list[str]:
        """Return in what way a unit's process is not cut off: it runs elsewhere, or there is a way out."""
        pid = run(["systemctl", "show", "--property=MainPID", "--value", unit]).decode().strip()
        there, here = os.stat(f"/proc/{pid}/ns/net"), os.stat(self.path)
        found = []
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            found.append(f"process {pid} of {unit} is not in the network {self.name}")
        others = sorted(name for _, name in self.inside(socket.if_nameindex) if name != "lo")
        return found + ([f"the network {self.name} has {', '.join(others)} besides its loopback"] if others else [])

    def blocked(self) -> int:
        """Return how many attempts to reach the outside the kernel refused."""
        return self.inside(_no_routes)

    def forward(self, address: str, port: int, to: Path, tls: ssl.SSLContext | None = None) -> None:
        """Let connections to an address of the namespace reach a Unix socket outside of it.

        With `tls` it is PostgreSQL's, whose clients may ask for encryption.
        """

        def listen() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(128)
            return listener

        threading.Thread(target=_accept, args=(self.inside(listen), to, tls), daemon=True).start()


class Decoys:
    """Sockets that count who comes, for the folders in which PostgreSQL and Redis of a host have theirs."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.callers = 0
        self.binds: list[str] = []

    def make(self, ports: set[int]) -> None:
        """Make them; `binds` says what a unit is to see where."""
        postgres = [f".s.PGSQL.{port}" for port in sorted({5432, *ports})]
        for name, sockets in (("postgresql", postgres), ("redis", ["redis-server.sock", "redis.sock"])):
            folder = self.place.folder / f"run-{name}"
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
            for one in sockets:
                self._listen(folder / one)
            self.binds.append(f"{folder}:/run/{name}")

    def _listen(self, path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The path of a socket is at most 107 bytes; by the descriptor of its folder it is short.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        path.chmod(0o777)
        listener.listen(128)
        threading.Thread(target=self._count, args=(listener,), daemon=True).start()

    def _count(self, listener: socket.socket) -> None:
        while True:
            caller, _ = listener.accept()
            self.callers += 1
            caller.close()


def _no_routes() -> int:
    count = 0
    # /proc/net is a link to the files of the calling process; a thread's own lie below its thread id.
    folder = Path(f"/proc/self/task/{threading.get_native_id()}/net")
    head, values = [line.split() for line in (folder / "snmp").read_text().splitlines() if line.startswith("Ip:")]
    count += int(values[head.index("OutNoRoutes")])
    for line in (folder / "snmp6").read_text().splitlines():
        if line.startswith("Ip6OutNoRoutes"):
            count += int(line.split()[1])
    return count


def _accept(listener: socket.socket, to: Path, tls: ssl.SSLContext | None) -> None:
    while True:
        near, _ = listener.accept()
        if tls is not None:
            threading.Thread(target=_serve_postgres, args=(near, to, tls), daemon=True).start()
            continue
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            far.connect(str(to))
        except OSError:
            near.close()
            far.close()
            continue
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, sink), daemon=True).start()


def _serve_postgres(near: socket.socket, to: Path, tls: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        near, first = encrypted.agree(near, tls)
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far.connect(str(to))
        encrypted.relay(near, far, first)
    near.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, until its end."""
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
