"""Timers of a release: `SERVICE-timer-NAME@COLOR.timer`, made of the drop-in of the service that it starts.

A timer is there only in the color and on the host that runs it. What was due while none ran is run once, where it is
`persistent`: systemd counts from the time of a stamp file (systemd.timer(5), Persistent=), which is set here to the
moment when the last one ended, in whatever color or on whatever host that was.
"""

from __future__ import annotations

import json
import os
import re
import time

from turnout_host import atomic, home

UNITS_DIR = "etc/systemd/system"
STAMPS_DIR = "var/lib/systemd/timers"
_NAME = re.compile(r".+-timer-[a-z0-9-]+@(blue|green)\.(timer|service)")
_DECLARED = re.compile(r"^X-Turnout-Timer=(.*)$", re.MULTILINE)


def is_timers(unit: str) -> bool:
    """Tell whether a unit is a timer, or the service that one starts."""
    return _NAME.fullmatch(unit) is not None


def job_of(unit: str) -> str:
    """Return the service that a timer starts."""
    return f"{unit.removesuffix('.timer')}.service"


def text(unit: str, drop_in: str) -> str:
    """Return the text of a timer's unit. Raises ValueError where the drop-in declares none."""
    found = _DECLARED.search(drop_in)
    declared = json.loads(found[1] if found else "")
    lines = [
        "# Laid by Turnout where this timer runs; removed where it does not.",
        "[Unit]",
        f"Description={unit.removesuffix('.timer')}, as the release declares it",
        "[Timer]",
        *(f"OnCalendar={one}" for one in declared["on_calendar"]),
        f"Persistent={'true' if declared['persistent'] else 'false'}",
        f"RandomizedDelaySec={declared['random_delay_s']}",
        "AccuracySec=1s",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def lay(unit: str, since_s: float, root: str = "/") -> None:
    """Lay a timer, which makes up for what was due since a moment (in seconds since the epoch). Raises OSError,
    ValueError. systemd has to read its units again.
    """
    with open(os.path.join(root, UNITS_DIR, f"{job_of(unit)}.d", "turnout.conf"), encoding="utf-8") as file:
        whole = text(unit, file.read())
    atomic.replace(os.path.join(root, UNITS_DIR, unit), whole.encode(), 0o644)
    stamp = os.path.join(root, STAMPS_DIR, f"stamp-{unit}")
    os.makedirs(os.path.dirname(stamp), exist_ok=True)
    with open(stamp, "a", encoding="ascii"):
        os.utime(stamp, (since_s, since_s))


def remove(unit: str, root: str = "/") -> bool:
    """Remove the unit of a timer that was stopped; return whether it was there."""
    try:
        os.unlink(os.path.join(root, UNITS_DIR, unit))
    except FileNotFoundError:
        return False
    return True


def _ended(service: str, root: str) -> str:
    return os.path.join(root, home.HOMES_DIR, f"{service}.timers-ended")


def note_end(service: str, root: str = "/") -> None:
    """Note that from this moment no timer runs: a run stops them on every host before it starts them on one."""
    atomic.touch(_ended(service, root))


def since(service: str, root: str = "/") -> float:
    """Return since when, in seconds since the epoch, no timer ran; now where nothing is known of it."""
    now_s = time.time()
    try:
        return min(now_s, os.stat(_ended(service, root)).st_mtime)
    except FileNotFoundError:
        return now_s
