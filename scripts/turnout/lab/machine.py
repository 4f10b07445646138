"""What this machine is, and how podman must be set up to run systemd hosts on it.

Machines differ: cgroup v1, v2 or both at once; crun or runc; systemd as the first process or something else;
hard limits below podman's defaults. `probe` looks, `choose` decides (pure), `containers_conf` writes it down.
The file goes to podman through `CONTAINERS_CONF`, so that the machine's own configuration stays as it is.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError

# Services on a host want thousands of files (HAProxy: 4000 connections need about 8100); more than this is of
# no use to a lab.
MOST_FILES = 65536
MOST_PROCESSES = 30000
LEAST_FILES = 9000
LEAST_PODMAN = (4, 0)
# inotify instances are counted for root over all hosts of all labs: six or so each when idle, more with services.
# Where they run out, systemd units fail and hosts do not start. Many machines allow 128.
INOTIFY_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
LEAST_INOTIFY = 1024
APT_INSTALL = "sudo apt-get install --no-install-recommends -y"

_NETAVARK_FOLDERS = (
    "/usr/lib/podman",
    "/usr/libexec/podman",
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
)


@dataclass(frozen=True)
class Machine:
    """What was seen on this machine. Limits are counts, None where there is no limit."""

    user_id: int
    sudo: bool
    cgroups: str  # "v2", "hybrid" or "v1"
    first_process: str
    runtimes: frozenset[str]
    netavark: bool
    podman: tuple[int, ...] | None
    nofile_hard: int | None
    nproc_hard: int | None
    memory_controller: bool
    inotify_instances: int | None


@dataclass(frozen=True)
class Choice:
    """How podman is run on this machine."""

    with_sudo: bool
    runtime: str
    cgroup_manager: str
    nofile: int
    nproc: int
    memory_limits: bool
    raise_inotify: bool

    def lines(self, machine: Machine) -> list[str]:
        """Return the choice and its grounds for a person."""
        version = ".".join(str(part) for part in machine.podman or ())
        return [
            f"podman {version}{' through sudo' if self.with_sudo else ''}, runtime {self.runtime}"
            f" (cgroups {machine.cgroups}), cgroup manager {self.cgroup_manager}"
            f" (first process {machine.first_process})",
            f"limits: {self.nofile} files, {self.nproc} processes"
            f" (hard limits here: {machine.nofile_hard or 'none'}, {machine.nproc_hard or 'none'});"
            f" memory caps {'on' if self.memory_limits else 'off: no memory controller'}",
        ]


def probe() -> Machine:
    """Look at this machine; changes nothing."""
    return Machine(
        user_id=os.getuid(),
        sudo=shutil.which("sudo") is not None,
        cgroups=cgroups_in(Path("/proc/self/mounts").read_text(encoding="utf-8")),
        first_process=_first_process(),
        runtimes=frozenset(name for name in ("crun", "runc") if _program(name)),
        netavark=any((Path(folder) / "netavark").exists() for folder in _NETAVARK_FOLDERS),
        podman=_podman_version(),
        nofile_hard=_hard(resource.RLIMIT_NOFILE),
        nproc_hard=_hard(resource.RLIMIT_NPROC),
        memory_controller=_memory_controller(),
        inotify_instances=_inotify_instances(),
    )


def choose(machine: Machine) -> Choice:
    """Decide how podman is run; raises `TurnoutError` naming what the machine lacks."""
    if machine.podman is None or not machine.netavark or not machine.runtimes:
        missing = [
            name
            for name, there in (
                ("podman", machine.podman is not None),
                ("netavark", machine.netavark),
                ("crun or runc", bool(machine.runtimes)),
            )
            if not there
        ]
        packages = " ".join(name.replace("crun or ", "") for name in missing)
        raise TurnoutError(
            "lab-programs",
            observed=f"this machine lacks {', '.join(missing)}",
            expected="podman with netavark and an OCI runtime",
            remedy=f"make setup, or: {APT_INSTALL} {packages}",
        )
    if machine.podman < LEAST_PODMAN:
        raise TurnoutError(
            "lab-podman-old",
            observed=f"podman is {'.'.join(str(part) for part in machine.podman)}",
            expected="podman 4.0 or newer (Debian 12, Ubuntu 24.04 and later have it)",
            remedy="use a machine with a newer Debian or Ubuntu",
        )
    if machine.user_id != 0 and not machine.sudo:
        raise TurnoutError(
            "lab-needs-root",
            observed="this user is not root and there is no sudo",
            expected="root or sudo: the hosts' addresses must be reachable from this machine,"
            " and rootless podman does not make them so",
            remedy="run it as root, or: apt-get install sudo",
        )
    nofile = min(machine.nofile_hard or MOST_FILES, MOST_FILES)
    if nofile < LEAST_FILES:
        raise TurnoutError(
            "lab-file-limit",
            observed=f"the hard limit of open files is {nofile}",
            expected=f"at least {LEAST_FILES}, or HAProxy does not start",
            remedy="sudo prlimit --nofile=65536:65536 --pid $$",
        )
    return Choice(
        with_sudo=machine.user_id != 0,
        runtime=_runtime(machine),
        cgroup_manager="systemd" if machine.cgroups == "v2" and machine.first_process == "systemd" else "cgroupfs",
        nofile=nofile,
        nproc=min(machine.nproc_hard or MOST_PROCESSES, MOST_PROCESSES),
        memory_limits=machine.memory_controller,
        raise_inotify=machine.inotify_instances is not None and machine.inotify_instances < LEAST_INOTIFY,
    )


def containers_conf(choice: Choice) -> str:
    """Return the containers.conf (TOML) for a choice."""
    return f"""\
# Written by `turnout lab`; used through CONTAINERS_CONF by the lab only.
[containers]
default_ulimits = ["nofile={choice.nofile}:{choice.nofile}", "nproc={choice.nproc}:{choice.nproc}"]
log_driver = "k8s-file"
log_size_max = 10485760
# The machine's own /etc/hosts is no business of the hosts.
base_hosts_file = "none"

[engine]
runtime = "{choice.runtime}"
cgroup_manager = "{choice.cgroup_manager}"
events_logger = "file"

[network]
network_backend = "netavark"
"""


def _runtime(machine: Machine) -> str:
    if machine.cgroups == "v2" and "crun" in machine.runtimes:
        return "crun"
    if "runc" in machine.runtimes:
        return "runc"
    raise TurnoutError(
        "lab-runtime",
        observed=f"cgroups are {machine.cgroups} and the only OCI runtime is crun",
        expected="runc: crun does not run systemd where cgroups are not v2 alone",
        remedy=f"{APT_INSTALL} runc",
    )


def cgroups_in(mounts: str) -> str:
    """Return which cgroups the text of /proc/self/mounts shows: `v2`, `v1` or `hybrid` (both)."""
    types = {fields[2]: fields[1] for fields in (line.split() for line in mounts.splitlines()) if len(fields) > 2}
    if "cgroup" not in types:
        return "v2"
    return "hybrid" if "cgroup2" in types else "v1"


def _first_process() -> str:
    try:
        return Path("/proc/1/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def _program(name: str) -> str | None:
    # /usr/sbin is not on an ordinary user's PATH in Debian, and crun and runc may be there.
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _podman_version() -> tuple[int, ...] | None:
    if not _program("podman"):
        return None
    answer = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=False, timeout=30)
    return parse_version(answer.stdout)


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return the first dotted version number in a program's answer, or None."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found.group().split(".")) if found else None


def _hard(limit: int) -> int | None:
    hard = resource.getrlimit(limit)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _inotify_instances() -> int | None:
    try:
        return int(INOTIFY_SETTING.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _memory_controller() -> bool:
    if Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        return True
    try:
        return "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text(encoding="utf-8").split()
    except OSError:
        return False
