"""What makes a systemd unit run one color of one service: unit names and drop-ins.

The template units (`<service>-api@.service`, hardening and all) are installed once, by provisioning. All that
belongs to a release (commands, ports, signals, time-outs) stands in drop-ins that are laid with it, so that it
goes back with it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turnout.service.commands import argv, command_line
from turnout.service.directories import binds
from turnout.service.environment import METRICS_PORT, process_variables
from turnout.service.layout import Layout
from turnout.service.model import Process, Ready, Service, Timer, Web, Worker

# Seconds that systemd waits beyond the drain time before it kills a process: the answer that was begun in the
# last moment of the drain still has to be sent.
STOP_GRACE_S = 5


def unit_names(service: Service, color: str, process: Process) -> list[str]:
    """Return the units of a process in a color; instance 1 is `@blue`, instance k is `@blue-k`."""
    first = f"{service.name}-{process.label}@{color}"
    return [f"{first}.service", *(f"{first}-{k}.service" for k in range(2, process.instances + 1))]


def ordinary_hosts(workers: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the hosts of `worker` that are in no kind's own group, in the inventory's order."""
    named = {(worker or {}).get("group") for worker in workers.values()} - {None, "", "worker"}
    apart = {host for group in named for host in groups.get(str(group), ())}
    return [host for host in groups.get("worker", ()) if host not in apart]


def worker_names(workers: Mapping[str, Any], host: str, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which kinds of worker run on a host; `workers` as a service file has them, and `groups` the inventory's.

    A kind that names no group runs on `ordinary_hosts`.
    """
    named = {name: (worker or {}).get("group") for name, worker in workers.items()}
    ordinary = host in ordinary_hosts(workers, groups)
    return [name for name, group in named.items() if (host in groups.get(group, ()) if group else ordinary)]


def drop_ins(
    service: Service, color: str, layout: Layout | None = None, processes: Iterable[Process] | None = None
) -> dict[str, str]:
    """Return the drop-ins of a color: path relative to `/etc/systemd/system`, and text. No secret is in them.

    Without a `layout` the release is files in the color's folder; without `processes` it is all of the service's.
    """
    layout = layout or Layout(f"/opt/{service.name}/{color}")
    return {
        f"{unit}.d/turnout.conf": _drop_in(service, color, process, index, layout)
        for process in (service.processes() if processes is None else processes)
        for index, unit in enumerate(unit_names(service, color, process))
    }


def _drop_in(service: Service, color: str, process: Process, index: int, layout: Layout) -> str:
    part = process.part
    handover = {"X-Turnout-Drain": str(part.drain_s)}
    ready = None
    if isinstance(part, Worker):
        ready = part.ready
        handover["X-Turnout-Quiesce"] = part.quiesce_signal or ""
        handover["X-Turnout-Resume"] = part.resume_signal or ""
        handover["X-Turnout-Ready"] = _ready(ready, layout)
    if isinstance(part, Web):
        handover["X-Turnout-Quiesce"] = part.quiesce_signal or ""
    if isinstance(part, Timer):  # the host makes the timer of it where it runs
        when = {"on_calendar": part.on_calendar, "persistent": part.persistent, "random_delay_s": part.random_delay_s}
        handover["X-Turnout-Timer"] = json.dumps(when)
    variables = process_variables(color, process)
    if METRICS_PORT in variables:
        variables[METRICS_PORT] = str(int(variables[METRICS_PORT]) + index)
    lines = [
        "# Laid by Turnout with the release; the next release replaces it.",
        # The template of a process with a name may be a copy of its kind's.
        *(["[Unit]", f"Description={service.name} {process.label} (%i)"] if process.name else []),
        "[Service]",
        *([f"SyslogIdentifier={service.name}-{process.label}-%i"] if process.name else []),
        *(f"{name}={value}" for name, value in layout.properties.items()),
        *(f"BindPaths={there}:{seen}" for there, seen in binds(service.name, _paths(service), layout.folder)),
        f"WorkingDirectory={layout.folder}",
        "EnvironmentFile=",
        f"EnvironmentFile=/etc/{service.name}/{color}.env",
        *(f"Environment={_assignment(key, value)}" for key, value in layout.environment.items()),
        *(f"Environment={key}={value}" for key, value in variables.items()),
        "ExecStart=",
        f"ExecStart={command_line(part.command, layout.folder)}",
        *_notifies(ready),
        *([f"TimeoutStartSec={part.timeout_s}"] if isinstance(part, Timer) else []),
        f"KillSignal={part.stop_signal}",
        f"TimeoutStopSec={part.drain_s + STOP_GRACE_S}",
        # systemd passes over keys that start with X-; `turnout.ops.units` reads them on the host, so that a rollback
        # uses the signals of the release that it returns to and needs no service file for them.
        *(f"{key}={value}" for key, value in handover.items() if value),
    ]
    return "\n".join(lines) + "\n"


def _paths(service: Service) -> list[str]:
    return [one.path for one in service.directories]


def _ready(ready: Ready | None, layout: Layout) -> str:
    """Return how the host sees that a worker is ready, empty where running is ready."""
    if ready is None:
        return ""
    how = (
        {"argv": argv(ready.command, layout.folder)} if ready.command else {"file": ready.file, "notify": ready.notify}
    )
    return json.dumps({**how, "timeout_s": ready.timeout_s})


def _notifies(ready: Ready | None) -> list[str]:
    """Return what lets systemd wait for a worker's own word."""
    if ready is None or not ready.notify:
        return []
    # A worker behind a wrapper is no less ready.
    return ["Type=notify", "NotifyAccess=all", f"TimeoutStartSec={ready.timeout_s}"]


def _assignment(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{key}={escaped}"'
