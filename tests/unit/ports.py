"""Ports that a test picks first and another program binds later; nobody else gets them meanwhile.

A port that the kernel picks (port 0) is one of those that outgoing connections get, too: once it is closed, a
connection or another test may have it before the program binds. Those given here lie outside of that range, and each
process gives out a stretch of ports that is its alone: it holds the stretch's first port, bound, until it ends.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from functools import cache
from pathlib import Path

LOWEST = 10000
STRETCH = 500
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def outgoing() -> tuple[int, int]:
    """Return the first and the last of the ports that the kernel gives to outgoing connections."""
    first, last = RANGE.read_text().split()
    return int(first), int(last)


def stretches(first: int, last: int) -> list[range]:
    """Return the stretches of ports that touch none from `first` to `last`."""
    whole = [range(at, at + STRETCH) for at in range(LOWEST, 65536 - STRETCH + 1, STRETCH)]
    return [stretch for stretch in whole if stretch[-1] < first or stretch[0] > last]


class Stretch:
    """A stretch of ports that is this process's alone as long as it lives, or until `close`."""

    def __init__(self, among: Iterable[range]) -> None:
        """Take the first stretch of `among` that no other process has; raise AssertionError where there is none."""
        for stretch in among:
            if holder := bound(stretch[0]):
                self.ports, self._holder, self._given = stretch[1:], holder, 0
                return
        raise AssertionError(
            f"no stretch of {STRETCH} ports is free outside of net.ipv4.ip_local_port_range {outgoing()}; "
            f"expected: one for each process of tests, from {LOWEST}; "
            "to mend: sysctl net.ipv4.ip_local_port_range='32768 60999'"
        )

    def next(self) -> int:
        """Return the next port that nobody uses; one that was given comes again after all others."""
        for _ in self.ports:
            port = self.ports[self._given % len(self.ports)]
            self._given += 1
            if free := bound(port):
                free.close()
                return port
        raise AssertionError(f"all ports from {self.ports[0]} to {self.ports[-1]} are in use; expected: a free one")

    def close(self) -> None:
        """Leave the stretch to others."""
        self._holder.close()


def bound(port: int) -> socket.socket | None:
    """Return a socket bound to the port on all addresses, or None where another one is."""
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(socket.socket())
        with contextlib.suppress(OSError):
            holder.bind(("", port))
            stack.pop_all()
            return holder
    return None


@cache
def _own() -> Stretch:
    return Stretch(stretches(*outgoing()))


def free_port() -> int:
    """Return a port that nobody uses and nobody else gets: for a program that binds it later, or for none at all."""
    return _own().next()
