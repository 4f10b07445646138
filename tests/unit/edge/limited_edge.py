"""Real edges with limits, and clients at many addresses of loopback."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from ports import free_port
from real_edge import RealEdge, Threads

ADDRESSES = {"edge1": "127.0.0.11", "edge2": "127.0.0.12"}
"""Where edges reach each other."""
TESTERS = "127.0.9.0/24"
"""Who may choose a color."""


def limited(folder: Path, limits: Mapping[str, Any], **variables: Any) -> RealEdge:
    """Return one edge that is alone."""
    values = {
        "edge_candidate_networks": [TESTERS],
        "edge_limits_port": free_port(),
        "edge_latency": False,
        "groups": {"api": ["app1"], "edge": ["edge1"]},
    }
    return RealEdge(folder, limits=limits, **{**values, **variables})


def pair(folder: Path, limits: Mapping[str, Any], **variables: Any) -> tuple[RealEdge, RealEdge]:
    """Return two edges that count together."""
    port = free_port()
    edges = []
    for name in ADDRESSES:
        (folder / name).mkdir()
        hosts = {edge: {"private_address": address} for edge, address in ADDRESSES.items()}
        edges.append(
            limited(
                folder / name,
                limits,
                inventory_hostname=name,
                edge_limits_port=port,
                groups={"api": ["app1"], "edge": list(ADDRESSES)},
                hostvars={"app1": {"ansible_host": "127.0.0.1"}, **hosts},
                **variables,
            )
        )
    return edges[0], edges[1]


def told(edge: RealEdge, command: str) -> str:
    """Return what HAProxy answers to a command on its socket."""
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(5)
        to.connect(str(edge.folder / "admin.sock"))
        to.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: to.recv(65536), b"")).decode()


def wait_settled(*edges: RealEdge) -> None:
    """Wait until the edges have asked whoever may know their counters: a process that is younger hands none over."""
    finished = 0x3  # by the old process, and by other edges

    def settled(edge: RealEdge) -> bool:
        found = re.search(r"id=turnout-limits \S+ flags=0x([0-9a-f]+)", told(edge, "show peers"))
        return bool(found) and int(found[1], 16) & finished == finished

    for edge in edges:
        edge.wait_for(lambda one=edge: settled(one), "the end of its questions", 15)


def ask(
    edge: RealEdge, path: str, source: str = "127.0.1.1", method: str = "POST", body: Any = None, **headers: str
) -> tuple[int, dict[str, str]]:
    """Ask from an address of loopback; return status and headers. A body that is no bytes is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20, source_address=(source, 0))
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        with suppress(BrokenPipeError):  # refused while it was being sent; the answer tells
            connection.request(method, path, body=body, headers=given)
        response = http.client.HTTPResponse(connection.sock, method=method)
        response.begin()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}


def say(edge: RealEdge, *parts: bytes | float, source: str = "127.0.1.1") -> bytes:
    """Send bytes as they are, with a pause for each number; return all that is answered."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", edge.port), timeout=20, source_address=(source, 0)) as to:
            try:
                for part in parts:
                    if isinstance(part, bytes):
                        to.sendall(part)
                    else:
                        time.sleep(part)
            except OSError:
                pass  # refused while it was being sent; the answer tells
            while data := to.recv(65536):
                answer += data
                to.settimeout(1)  # a newer HAProxy waits for the rest of what it has refused
    except ConnectionError:
        pass
    except TimeoutError:
        assert answer, "no answer"
    return answer


class Attack(Threads):
    """Requests at a steady pace from many addresses, spread over edges; `admitted` and `refused` count answers."""

    def __init__(self, ask_one: Callable[[int], int], per_s: float, threads: int = 8) -> None:
        super().__init__()
        self.ask_one, self.pause_s = ask_one, threads / per_s
        self.statuses: list[int] = []
        self.threads = [threading.Thread(target=self.run, args=(n, threads)) for n in range(threads)]
        self.began = 0.0

    def run(self, number: int, step: int) -> None:
        due = time.monotonic()
        while not self.stopping.is_set():
            try:
                self.statuses.append(self.ask_one(number))
            except (OSError, http.client.HTTPException):
                self.statuses.append(0)
            number += step
            due += self.pause_s
            time.sleep(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        return super().__enter__()

    def __exit__(self, *what: object) -> None:
        super().__exit__(*what)
        self.lasted_s = time.monotonic() - self.began

    @property
    def admitted(self) -> int:
        return self.statuses.count(200)

    @property
    def refused(self) -> int:
        return self.statuses.count(429)
