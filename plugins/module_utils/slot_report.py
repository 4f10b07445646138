# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""What a host says of a service's releases, colors, units and ports, in one go."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import time
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.slot_colors import kept_record, standing
from ansible_collections.turnout.ops.plugins.module_utils.slot_configuration import told as configuration_told
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    COLORS,
    LIBRARY,
    SYSTEMCTL_TIMEOUT_S,
    Places,
    SlotError,
    commands_in,
    fence_library,
    host_module,
    is_complete,
    is_own_unit,
    last_line,
    read_marker,
    run,
)
from ansible_collections.turnout.ops.plugins.module_utils.slot_laying import laid_releases

BOOT = "multi-user.target.wants"  # below the units' folder: what starts with the host, and ought to run
COMMAND_KEYS = ("id", "color", "release_id", "actor", "begun_at", "shown")  # what is told of a person's command
YOUNG_S = 60  # a process that was restarted and has run for less is told: it may end again
UNIT_PROPERTIES = {
    "LoadState": "load",
    "ActiveState": "active",
    "SubState": "sub",
    "Result": "result",
    "MainPID": "main_pid",
    "NRestarts": "restarts",
    "ExecMainStatus": "status",
    "ActiveEnterTimestampMonotonic": "since_monotonic_us",
}


def info(places: Places, params: dict) -> dict:
    """Return everything that a preflight or a status page asks a host, in one go."""
    home = places.releases
    while not home.exists():
        home = home.parent
    status = os.statvfs(home)
    declared = params.get("directories") or []
    return {
        "changed": False,
        "colors": {color: color_info(places, color, params) for color in COLORS},
        "fenced_by": fenced_by(places),
        "directories": {one["path"]: directory_info(places, one["source"], params["user"]) for one in declared},
        "undeclared": undeclared(places, [one["source"] for one in declared]),
        "commands": [{key: one.get(key) for key in COMMAND_KEYS} for one in commands_in(places)],
        "laid": laid_releases(places),
        "complete": is_complete(places, params["release_id"]),
        "units": told_units(places, params["unit_names"]),
        "ports": {str(port): state for port, state in port_states(params["ports"]).items()},
        "disk": {
            "path": str(home),
            "free_bytes": status.f_bavail * status.f_frsize,
            "total_bytes": status.f_blocks * status.f_frsize,
            "free_inodes": status.f_favail,
        },
        "clock": {"wall_s": time.time(), "monotonic_s": time.monotonic()},
        "tools": {
            **{name: shutil.which(name) is not None for name in ("tar", "zstd", "umoci")},
            "steps": (places.root / LIBRARY / "turnout_host/steps.py").exists(),
            "fence": fence_library(places) is not None and (places.root / LIBRARY / "turnout_host/home.py").exists(),
        },
    }


def directory_info(places: Places, source: str, user: str) -> dict:
    """Return what a declared directory is on this host."""
    path = places.root / source.lstrip("/")
    place = path
    while not os.path.ismount(place) and place != places.root:
        place = place.parent
    writable = None
    if path.is_dir():
        with contextlib.suppress(KeyError, OSError):  # without the user nobody can be asked; that is told elsewhere
            account = pwd.getpwnam(user)
            asked = ["test", "-w", str(path)]
            done = subprocess.run(
                asked, user=account.pw_uid, group=account.pw_gid, extra_groups=[], check=False, timeout=10
            )
            writable = done.returncode == 0
    mount = f"/{place.relative_to(places.root)}" if place != places.root else "/"
    return {"exists": path.is_dir(), "mount": mount, "writable": writable}


def undeclared(places: Places, sources: list[str]) -> list[str]:
    """Return some names of what the service keeps in its state folder outside its declared directories."""
    state = places.root / "var/lib" / places.service
    known = {source.removeprefix(f"/var/lib/{places.service}/").partition("/")[0] for source in sources}
    try:
        names = sorted(name for name in os.listdir(state) if not name.startswith(".") and name not in known)
    except OSError:
        return []
    return names[:3]


def fenced_by(places: Places) -> dict | None:
    """Return the newest run that changed this host, None where that is not known."""
    library = fence_library(places)
    return library.recorded(places.service, str(places.root)) if library else None


def color_info(places: Places, color: str, params: dict) -> dict:
    """Return what stands in a color."""
    release_id = standing(places, color)
    marker = read_marker(places, release_id) if release_id else None
    kept = kept_record(places, color)
    return {
        "release_id": release_id,
        "version": release_id.rpartition("-")[0] if release_id else None,
        "complete": is_complete(places, release_id),
        "configuration": configuration_told(places, color, params),
        "manifest": (marker or {}).get("manifest"),
        "unfinished": kept is not None,
        "displaced": kept.get("release_id") if kept else None,
    }


def told_units(places: Places, names: list[str]) -> dict[str, dict]:
    """Return the state of units, and of all that have a name or a number; where one fails also how, and its last lines.

    Units with a name are found where a release was laid, so that those of an older release are seen as well.
    """
    laid = sorted(path.parent.name for path in places.units.glob(f"{places.service}-*@*.service.d/turnout.conf"))
    more = [unit.removesuffix(".d") for unit in laid if is_own_unit(places, unit)]
    # A timer is there only where it runs.
    more += [name for unit in more if (places.units / (name := f"{unit.removesuffix('.service')}.timer")).exists()]
    states = unit_states([*names, *(unit for unit in more if unit not in names)] if names else [])
    for name, state in states.items():
        state["at_boot"] = os.path.lexists(places.units / BOOT / name)
        quiesced = (places.root / "run/turnout" / f"{name}.quiesced").exists()  # such a worker may end, and stays down
        state["fault"] = None if quiesced else unit_fault(state)
        state["lines"] = last_lines(places, name) if state["fault"] else []
    return states


def unit_fault(state: dict) -> str | None:
    """Return in which way a unit fails, None where it runs or need not."""
    times = "1 time" if state["restarts"] == 1 else f"{state['restarts']} times"
    again = f", started again {times}" if state["restarts"] else ""
    ran_s = time.clock_gettime(time.CLOCK_MONOTONIC) - state["since_monotonic_us"] / 1e6
    if state["active"] == "active":
        young = state["at_boot"] and state["restarts"] and ran_s < YOUNG_S
        return f"has run for {ran_s:.0f} s{again}" if young else None
    crashes = state["active"] == "failed" or state["sub"] == "auto-restart"
    if not crashes and not (state["at_boot"] and state["active"] == "inactive"):
        return None
    how = f", {state['result']}" if state["result"] not in ("", "success") else ""
    return f"is {state['active']} ({state['sub']}{how}, exit code {state['status']}){again}"


def last_lines(places: Places, unit: str) -> list[str]:
    """Return a unit's last lines without the values of its environment; empty where this host cannot tell them."""
    said = host_module(places, "said")
    return said.last_lines(unit, str(places.root)) if said else []


def unit_states(names: list[str]) -> dict[str, dict]:
    """Return the state of units, by one call of systemctl."""
    if not names:
        return {}
    wanted = ",".join(["Id", *UNIT_PROPERTIES])
    result = run(["systemctl", "show", f"--property={wanted}", "--", *names], timeout_s=SYSTEMCTL_TIMEOUT_S)
    if result.returncode != 0:
        raise SlotError(
            "systemd-silent",
            f"systemctl show failed: {last_line(result.stderr)}",
            "the state of the service's units",
            "see: systemctl is-system-running",
        )
    states = {}
    for name, block in zip(names, result.stdout.decode().strip().split("\n\n"), strict=False):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        state = {ours: values.get(theirs, "") for theirs, ours in UNIT_PROPERTIES.items()}
        for number in ("main_pid", "restarts", "status", "since_monotonic_us"):
            state[number] = int(state[number]) if str(state[number]).isdigit() else 0
        states[name] = state
    return states


def port_states(ports: list[int]) -> dict[int, dict]:
    """Return who listens on TCP ports of this host."""
    if not ports:
        return {}
    inodes: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":  # LISTEN
                    inodes.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(fields[9])
    wanted = {inode for port in ports for inode in inodes.get(port, ())}
    owners = socket_owners(wanted)
    states: dict[int, dict] = {}
    for port in ports:
        owner = next((owners[inode] for inode in inodes.get(port, ()) if inode in owners), {})
        states[port] = {"listening": port in inodes, "pid": None, "unit": None, "command": None, **owner}
    return states


def socket_owners(inodes: set[str]) -> dict[str, dict]:
    """Return the process that holds each socket, where it can be seen."""
    owners: dict[str, dict] = {}
    for process in Path("/proc").iterdir() if inodes else ():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = os.readlink(descriptor).removeprefix("socket:[").removesuffix("]")
                    if inode in inodes:
                        owners.setdefault(inode, describe_process(process))
    return owners


def describe_process(process: Path) -> dict:
    """Return a process's id, name and systemd unit; its command line could hold secrets and is left out."""
    unit = None
    with contextlib.suppress(OSError):
        found = re.findall(
            r"/([^/\n]+\.(?:service|scope|socket))(?:/|$)", (process / "cgroup").read_text(), re.MULTILINE
        )
        unit = found[-1].replace("\\x2d", "-") if found else None
    name = None
    with contextlib.suppress(OSError):
        name = (process / "comm").read_text().strip()
    return {"pid": int(process.name), "unit": unit, "command": name}
