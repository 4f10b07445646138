"""An edge in memory: disk, HAProxy and clock are models that can be broken at any step."""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any

from turnout_edge import cli
from turnout_edge.edge import Config, Edge
from turnout_edge.haproxy import HAProxy, Unreachable
from turnout_edge.request import Who
from turnout_edge.state import State, parse_map
from turnout_edge.store import Clock, Files, utc_text

MAP = "/etc/haproxy/share.map"
STATE_DIR = "/state"
STAT_HEADER = (
    "# pxname,svname,status,check_status,scur,qcur,req_tot,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,"
    "econ,eresp,wretr,wredis"
)


class Crash(BaseException):
    """The machine, or the program, stops here."""


class Fuse:
    """Counts the steps that touch the world, and ends the program at a chosen one.

    `when` is "before" (the step did not happen), "after" (it did) or "torn" (an append of which a part arrived).
    """

    def __init__(self) -> None:
        self.steps = 0
        self.blow_at: int | None = None
        self.when = "before"

    def set(self, step: int | None, when: str = "before") -> None:
        """Count from zero, and blow at `step`."""
        self.steps, self.blow_at, self.when = 0, step, when

    def enter(self) -> bool:
        """Count a step; blow before it; return whether it must blow after (or within) it."""
        self.steps += 1
        here = self.steps == self.blow_at
        if here and self.when == "before":
            raise Crash
        return here


class ModelFiles(Files):
    """Files in memory."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.data: dict[str, bytes] = {}
        self.fault: OSError | None = None

    def read(self, path: str, limit: int = -1) -> bytes | None:
        data = self.data.get(path)
        return data if data is None or limit < 0 else data[:limit]

    def tail(self, path: str, limit: int) -> tuple[bytes, int]:
        data = self.data.get(path, b"")
        return (data[-limit:] if limit else b""), len(data)

    def _change(self, path: str, data: bytes, torn: bytes | None = None) -> None:
        if self.fault:
            raise self.fault
        blow = self.fuse.enter()
        if blow and self.fuse.when == "torn" and torn is not None:
            self.data[path] = torn
        else:
            self.data[path] = data
        if blow:
            raise Crash

    def replace(self, path: str, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
        self._change(path, data)

    def append(self, path: str, data: bytes) -> None:
        old = self.data.get(path, b"")
        self._change(path, old + data, torn=old + data[: len(data) // 2])

    def truncate(self, path: str, size: int) -> None:
        self._change(path, self.data[path][:size])


class ModelHAProxy(HAProxy):
    """A HAProxy that answers as the real one does."""

    def __init__(self, fuse: Fuse, files: ModelFiles) -> None:
        super().__init__("/admin.sock", MAP, None, {"blue": "sample-blue", "green": "sample-green"})
        self.fuse = fuse
        self.files = files
        self.running = True
        self.deaf = False  # answers, but does not do what it is told
        self.green: int | None = 0
        self.statuses = {f"sample-{color}": {"app1": "UP", "app2": "UP"} for color in ("blue", "green")}

    def restart(self) -> None:
        """Start anew: the share comes from the disk."""
        self.running = True
        self.green = parse_map(self.files.data.get(MAP, b"").decode())

    def ask(self, command: str) -> str:
        if not self.running:
            raise Unreachable("/admin.sock: No such file or directory")
        words = command.split()
        if words[:2] == ["show", "map"]:
            return "" if self.green is None else f"0x55aa green {self.green}\n\n"
        if words[:2] == ["set", "map"] and self.green is None:
            return "entry not found.\n\n"
        if words[:2] in (["set", "map"], ["add", "map"]):
            blow = self.fuse.enter()
            if not self.deaf:
                self.green = int(words[4])
            if blow:
                raise Crash
            return "\n"
        if words == ["show", "stat"]:
            return self._stat()
        if words == ["show", "info"]:
            return "Name: HAProxy\nVersion: 3.0.11\nPid: 7\nUptime_sec: 5\n"
        raise AssertionError(command)

    def _stat(self) -> str:
        rows = [STAT_HEADER]
        for backend, servers in self.statuses.items():
            rows += [
                f"{backend},{name},{status},{'L7OK' if status == 'UP' else 'L4CON'},0"
                for name, status in servers.items()
            ]
            up = "UP" if "UP" in servers.values() else "DOWN"
            rows.append(f"{backend},BACKEND,{up},,3,0,10,0,9,0,0,1,0,2,0,0,0")
        return "\n".join(rows) + "\n"


class ModelClock(Clock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.boot = 1000.0
        self.boot_id = "boot-1"

    def mark(self) -> dict[str, Any]:
        return {"wall": self.wall, "boot": self.boot, "boot_id": self.boot_id}

    def stamp(self) -> str:
        return utc_text(self.wall)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.boot += seconds

    def reboot(self) -> None:
        """Start a new boot."""
        self.boot, self.boot_id = 20.0, self.boot_id + "+"


class ModelEdge(Edge):
    """An edge whose watchdog always lives."""

    def __init__(self) -> None:
        self.fuse = Fuse()
        files = ModelFiles(self.fuse)
        config = {
            "service": "sample",
            "socket": "/admin.sock",
            "map": MAP,
            "backends": {"blue": "sample-blue", "green": "sample-green"},
            "state_dir": STATE_DIR,
            "require_watch": False,
        }
        super().__init__(Config(config), files, ModelClock())
        self.disk = files
        self.time: ModelClock = self.clock  # type: ignore[assignment]
        self.haproxy = self.proxy = ModelHAProxy(self.fuse, files)
        files.data[MAP] = b"green 0\n"

    def locked(self) -> Any:
        return contextlib.nullcontext()

    def watch_is_alive(self) -> bool:
        return True

    def power_cut(self) -> None:
        """Lose power: what is on the disk stays, the rest starts anew."""
        self.time.reboot()
        self.proxy.restart()

    def run(self, words: str, *, release: dict[str, Any] | None = None, **named: str) -> dict[str, Any]:
        """Run a command as the command line would; raises Trouble."""
        arguments = words.split()
        if release is not None:
            arguments += ["--release", json.dumps(release)]
        for name, value in named.items():
            arguments += [f"--{name}", value]
        command, options = cli.parse(arguments)
        assert isinstance(options, argparse.Namespace)
        who = Who(options.run, options.actor or "tester", options.phase, options.dry_run)
        return cli.perform(self, command, who, options)

    def agrees(self) -> bool:
        """Tell whether HAProxy, map file and state hold the same share."""
        return self.proxy.green == self.disk_bp() == self.load_state().green_bp

    def shares(self) -> dict[str, int]:
        """Return what users really get, in basis points by color."""
        green = self.proxy.green or 0
        return {"blue": 10_000 - green, "green": green}


def release(version: str, *, complete: bool = True, low: int = 0, high: int = 9) -> dict[str, Any]:
    """Return a release record."""
    return {"release": version, "complete": complete, "schema": {"min": low, "max": high}}


def edge_with_stable() -> ModelEdge:
    """Return an edge on which 1.0.0 is stable in blue, and run A holds the lock."""
    edge = ModelEdge()
    edge.run("lock take --run A --purpose deploy")
    edge.run("prepare --run A --color blue", release=release("1.0.0"))
    edge.run("move --run A --share-bp 10000")
    hand_over(edge, "blue")
    return edge


def hand_over(edge: ModelEdge, color: str, run: str = "A") -> None:
    """Say the three words by which a release is confirmed."""
    edge.run(f"ready --run {run} --color {color}")
    edge.run(f"confirm --run {run} --color {color}")
    edge.run(f"commit --run {run}")


def edge_in_flight(share_bp: int = 2500) -> ModelEdge:
    """Return an edge on which candidate 1.1.0 in green has a share beside stable 1.0.0 in blue."""
    edge = edge_with_stable()
    edge.run("prepare --run A --color green", release=release("1.1.0"))
    if share_bp:
        edge.run(f"move --run A --share-bp {share_bp}")
    return edge


def edge_between(stage: str = "confirmed") -> ModelEdge:
    """Return an edge that is left between the words by which run A confirms 1.1.0 in green."""
    edge = edge_in_flight(0)
    edge.run("move --run A --share-bp 10000 --lease-s 5")
    edge.run("ready --run A --color green")
    if stage == "confirmed":
        edge.run("confirm --run A")
    return edge


def edge_confirmed() -> ModelEdge:
    """Return an edge on which 1.1.0 in green is stable and 1.0.0 in blue is the way back."""
    edge = edge_in_flight(10_000)
    hand_over(edge, "green")
    return edge


def state_of(edge: Edge) -> State:
    """Return the edge's state."""
    return edge.load_state()
