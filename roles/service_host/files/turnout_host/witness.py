"""An edge's part of the lease: it answers a worker host, as a user without rights (`lease` decides).

The host's key says which service and host it is; what it asks comes as SSH's command. Without one the record of the
home is told.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from turnout_host import atomic, home, lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST = 4000  # characters of a request
STATE = {"heard": float, "for_s": float, "boot": str, "holder": str, "spoke": list, "serial": int}


def boot_id() -> str:
    """Return what differs from one start of this machine to the next."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def told_to(service: str, root: str = "/") -> tuple[float, tuple[str, ...]]:
    """Return for how long this edge leases, 0 for never, and which edges do."""
    try:
        with open(os.path.join(root, home.HOMES_DIR, f"{service}.takeover"), encoding="utf-8") as file:
            given = json.load(file)
        return max(0.0, float(given["takeover_s"]) - lease.ROUNDS_S), tuple(map(str, given["edges"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, ()


def _read(path: str) -> dict[str, Any] | None:
    """Return the state, None for one that is not whole: then nothing is known of what was leased."""
    try:
        with open(path, encoding="utf-8") as file:
            state: dict[str, Any] = json.load(file)
        whole = all(isinstance(state[name], (int, kind)) for name, kind in STATE.items())
        if not whole or "record" not in state:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return {**state, "record": home.checked(state["record"])}


def reply(service: str, host: str, request: str, root: str = "/") -> dict[str, Any]:
    """Answer one request, and keep what follows from it on disk first. Raises OSError, ValueError."""
    asked = json.loads(request) if len(request) <= LONGEST else None
    if not isinstance(asked, dict) or asked.get("do") not in ("look", "renew", "take", "leave"):
        raise ValueError("no request that is known")
    path = os.path.join(root, home.LEASES_DIR, f"{service}.json")
    with open(os.path.join(root, home.LEASES_DIR, f"{service}.lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read(path)
        for_s, edges = told_to(service, root)
        clock_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        now = lease.Now(clock_s, boot_id(), home.read(service, root), for_s, edges)
        state, answer = lease.answer(before, host, asked, now)
        if state != before:
            atomic.replace(path, json.dumps({"format": atomic.FORMAT, **state}).encode() + b"\n", 0o644)
    return dict(answer)


def main(service: str, host: str, root: str = "/") -> int:
    """Answer what came by SSH; 1 where there is nothing to tell."""
    request = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    try:
        told = reply(service, host, request, root) if request else home.read(service, root)
    except (OSError, ValueError, RecursionError) as error:
        told = {"error": getattr(error, "strerror", None) or str(error)}
    if told is not None:
        print(json.dumps(told))
    return 0 if told is not None else 1
