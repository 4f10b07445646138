"""What a killed run leaves behind that podman itself does not know of.

Podman starts a container and then writes that down; removes its network and then forgets it. Killed in between, it
leaves a host that runs unseen, or a bridge and its cables on the machine that stand in the next network's way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from turnout.lab.podman import Podman

_BRIDGE = re.compile(r"podman\d+")
_PEER = re.compile(r"link-netns (netns-[0-9a-f-]+)")


@dataclass(frozen=True)
class Monitor:
    """The conmon process that watches over one container: it outlives podman, and names what it watches."""

    container: str
    name: str
    runtime: str


def monitor_of(cmdline: bytes) -> Monitor | None:
    """Read the text of a /proc/PID/cmdline; None where the process is not a conmon."""
    words = cmdline.decode(errors="replace").split("\0")
    if Path(words[0]).name != "conmon":
        return None
    options = dict(pairwise(words))
    try:
        return Monitor(container=options["-c"], name=options["-n"], runtime=options["-r"])
    except KeyError:
        return None


def end_unknown_hosts(podman: Podman, names: Collection[str], known: Collection[str]) -> list[str]:
    """End containers that run under one of `names` without being among the ids in `known`; returns their names."""
    ended = []
    for monitor in _monitors():
        if monitor.name in names and monitor.container not in known:
            podman.run_as_root(monitor.runtime, "delete", "--force", monitor.container)
            ended.append(monitor.name)
    return ended


def remove_bridge(podman: Podman, gateway: str) -> None:
    """Remove a bridge of podman's that has the lab's own gateway address and belongs to no network any more."""
    show = podman.run_as_root("ip", "-json", "-4", "address", "show", "to", f"{gateway}/32")
    bridges = {link["ifname"] for link in json.loads(show or "[]") if _BRIDGE.fullmatch(link.get("ifname", ""))}
    if not bridges:
        return
    known = {
        network.get("network_interface")
        for name in podman.run("network", "ls", "--quiet").split()
        for network in podman.json("network", "inspect", name)
    }
    for bridge in bridges - known:
        cables = podman.run_as_root("ip", "-details", "link", "show", "master", bridge)
        for port in sorted(path.name for path in Path("/sys/class/net", bridge, "brif").glob("*")):
            podman.run_as_root("ip", "link", "delete", port)
        for namespace in sorted(set(_PEER.findall(cables))):
            podman.run_as_root("ip", "netns", "delete", namespace)
        podman.run_as_root("ip", "link", "delete", bridge)


def _monitors() -> Iterator[Monitor]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            monitor = monitor_of(path.read_bytes())
        except OSError:
            continue  # It has ended meanwhile.
        if monitor is not None:
            yield monitor
