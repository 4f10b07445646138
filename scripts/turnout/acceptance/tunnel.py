"""The way from the controller to a candidate: SSH forwards a port of this machine to the cage's socket, or to an edge.

The cage stays open for as long as this process lives: it holds a connection to the cage's other socket, and is at the
other end of the standard input of what runs over SSH.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from turnout.errors import TurnoutError

GREETING = b"held\n"
_OPEN_S = 30.0  # until the way must be open
_WAIT_S = 0.2
_HOLD = "cat >/dev/null"  # over there: ends with the standard input
# A way that a busy host does not lose, and no part of a connection that others share.
OPTIONS = (
    "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6",
    "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes",
)  # fmt: skip


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Tunnel:
    """A way to `to` on a host: a Unix socket, or an address with a port. `url` is where that answers on this machine.

    `held` is the cage's other socket: the way is open once it has greeted, and the cage stays until `close`. Without it
    the way is open once ssh listens here.
    """

    def __init__(self, host: str, log: Path, to: str, held: str = "", *, scheme: str = "http") -> None:
        self.host, self.log = host, log
        port, self._held = free_port(), free_port() if held else 0
        self.url = f"{scheme}://127.0.0.1:{port}"
        self._port = port
        self._forwards = ["-L", f"127.0.0.1:{port}:{to}"]
        self._forwards += ["-L", f"127.0.0.1:{self._held}:{held}"] if held else []
        self._ssh: subprocess.Popen[bytes] | None = None
        self._holder: socket.socket | None = None
        self._said: IO[bytes] | None = None

    def open(self, words: Callable[..., list[str]]) -> None:
        """Start ssh; `words` returns its whole command for what stands at the end.

        Raises `TurnoutError` where no way is open in time.
        """
        program, *rest = words(*self._forwards, "-T", self.host, _HOLD)
        self._said = self.log.open("wb")
        # Of an option that is given twice the first one counts.
        self._ssh = subprocess.Popen(
            [program, *OPTIONS, *rest], stdin=subprocess.PIPE, stdout=self._said, stderr=self._said,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + _OPEN_S
        while self._ssh.poll() is None and time.monotonic() < deadline:
            if self._hold() if self._held else self._listens():
                return
            time.sleep(_WAIT_S)
        said = " ".join(self.log.read_text(errors="replace").split())[-300:]
        self.close()
        raise TurnoutError(
            "acceptance-tunnel",
            observed=f"no way through {self.host} by ssh -L: {said or 'no word of ssh'}",
            expected=f"an SSH server that forwards to its host's addresses and Unix sockets, within {_OPEN_S:g} s",
            remedy=f"on {self.host}, in sshd_config: AllowTcpForwarding local and AllowStreamLocalForwarding local for "
            "the user that Ansible logs in as; then systemctl reload ssh",
        )

    def alive(self) -> bool:
        """Tell whether the way is still open."""
        return self._ssh is not None and self._ssh.poll() is None

    def close(self) -> None:
        """End it; the cage goes then."""
        if self._holder is not None:
            self._holder.close()
        if self._ssh is not None:
            with contextlib.suppress(OSError):
                assert self._ssh.stdin is not None  # noqa: S101 - it is a pipe
                self._ssh.stdin.close()
            try:
                self._ssh.wait(5)
            except subprocess.TimeoutExpired:
                self._ssh.kill()
                self._ssh.wait()
        if self._said is not None:
            self._said.close()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _hold(self) -> bool:
        holder = socket.socket()
        holder.settimeout(5)
        try:
            holder.connect(("127.0.0.1", self._held))
            if holder.recv(len(GREETING)) == GREETING:
                self._holder = holder
                return True
        except OSError:
            pass
        holder.close()
        return False
