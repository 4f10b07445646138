"""Which units of a service start with this host, told to the node exporter: what ought to run, for the alerts."""

from __future__ import annotations

import os
import re

from turnout_host import atomic

# Kind and name of a process: no word of a name is a kind, so that `shop-worker-api@blue` is a service `shop-worker`'s.
KINDS = "api|web|worker|scheduler|timer"
PROCESS = rf"(?:{KINDS})(?:-(?!(?:{KINDS})\b)[a-z0-9]+)*"
WANTED_DIR = "etc/systemd/system/multi-user.target.wants"
# Where the node exporter finds figures of other programs, if there is one.
FIGURES_DIR = "var/lib/prometheus/node-exporter"


def tell(service: str, root: str = "/") -> None:
    """Write which units of the service start with the host. Raises OSError where the figures cannot be written."""
    figures = os.path.join(root, FIGURES_DIR)
    if not os.path.isdir(figures):
        return
    wanted = os.path.join(root, WANTED_DIR)
    unit = re.compile(rf"{re.escape(service)}-({PROCESS})@(blue|green)(-\d+)?\.(?:service|timer)")
    names = [unit.fullmatch(name) for name in sorted(os.listdir(wanted) if os.path.isdir(wanted) else [])]
    lines = [
        "# HELP turnout_unit_at_boot Units of the service that start with the host, and ought to run.",
        "# TYPE turnout_unit_at_boot gauge",
        *(
            f'turnout_unit_at_boot{{name="{found[0]}",service="{service}",process="{found[1]}",color="{found[2]}"}} 1'
            for found in names
            if found
        ),
    ]
    atomic.replace(os.path.join(figures, f"turnout-units-{service}.prom"), ("\n".join(lines) + "\n").encode(), 0o644)
