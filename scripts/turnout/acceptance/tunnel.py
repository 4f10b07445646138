"""The way from the controller into the cage: SSH forwards a port of this machine to the cage's socket.

The cage stays open for as long as this process lives: it holds a connection to the cage's other socket, and is at the
other end of the standard input of what runs over SSH.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from turnout.errors import TurnoutError

GREETING = b"held\n"
_OPEN_S = 30.0  # until the way must be open
_WAIT_S = 0.2
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
    """An open way. `url` is where the candidate answers on this machine."""

    def __init__(self, host: str, log: Path) -> None:
        self.host, self.log = host, log
        self.port, self._held = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._ssh: subprocess.Popen[bytes] | None = None
        self._holder: socket.socket | None = None
        self._said: IO[bytes] | None = None

    def forwards(self, api: str, held: str) -> list[str]:
        """Return the options of ssh that make the way to the sockets of a cage."""
        return ["-L", f"127.0.0.1:{self.port}:{api}", "-L", f"127.0.0.1:{self._held}:{held}"]

    def open(self, words: Sequence[str]) -> None:
        """Start ssh by its whole command, whose program over there must read its standard input to the end.

        Raises `TurnoutError` where no way is open in time.
        """
        self._said = self.log.open("wb")
        self._ssh = subprocess.Popen(
            list(words), stdin=subprocess.PIPE, stdout=self._said, stderr=self._said, start_new_session=True
        )
        deadline = time.monotonic() + _OPEN_S
        while self._ssh.poll() is None and time.monotonic() < deadline:
            if self._hold():
                return
            time.sleep(_WAIT_S)
        said = " ".join(self.log.read_text(errors="replace").split())[-300:]
        self.close()
        raise TurnoutError(
            "acceptance-tunnel",
            observed=f"no way into the cage on {self.host} by ssh -L: {said or 'no word of ssh'}",
            expected=f"an SSH server that forwards to a Unix socket, within {_OPEN_S:g} s",
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
