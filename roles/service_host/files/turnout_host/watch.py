"""Stop a scheduler that is not at home any more: its home was moved while this host was frozen, asleep or cut off.

A host that wakes up goes on where it stood, and nothing asks it to start anything. So a small program looks: at once
when it finds that the host stood still, and every few seconds otherwise, as long as a scheduler runs here.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

from turnout_host import fence, home, wanted

COLORS = ("blue", "green")
POLL_S = 0.5
STOOD_STILL_S = 2.5  # a loop of POLL_S that took longer than this: the host was away
ASK_EVERY_S = 15.0  # one SSH connection to each edge, while a scheduler runs here


def running(service: str) -> list[str]:
    """Return the service's scheduler units that run here."""
    units = [f"{service}-scheduler@{color}.service" for color in COLORS]
    done = subprocess.run(["systemctl", "is-active", *units], capture_output=True, text=True, check=False)
    states = done.stdout.split()
    return [unit for unit, state in zip(units, states) if state in ("active", "activating")]  # noqa: B905 - short is cut


def look(service: str, root: str = "/") -> list[str]:
    """Stop what runs here and is at home elsewhere; return the units that were stopped."""
    units = running(service)
    if not units:
        return []
    config = home.config_of(service, root)
    if config is None:
        return []
    told = home.newest(record for _, record in home.ask_all(config).values())
    # Held, so that no run starts the scheduler here between the look and the stop.
    with fence.Lock(service, root):
        known = home.newest([home.read(service, root), told])
        if known is None or known["host"] == config["host"]:
            return []
        for unit in units:
            home.forget_seen(unit, root)
            subprocess.run(["systemctl", "--no-block", "disable", "--now", unit], capture_output=True, check=False)
            print(
                f"{unit}: stopped: the scheduler's home is {known['host']} since run {known['run']} "
                f"(fence {known['fence']})",
                file=sys.stderr,
            )
        home.write(service, known, root)
        with contextlib.suppress(OSError):
            wanted.tell(service, root)
    return units


def main(service: str, root: str = "/") -> None:
    """Look for ever."""
    asked = seen = time.clock_gettime(time.CLOCK_BOOTTIME) - ASK_EVERY_S
    while True:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if now - seen > STOOD_STILL_S or now - asked >= ASK_EVERY_S:
            try:
                look(service, root)
            except Exception as error:  # what nobody foresaw keeps nobody from looking again either
                words = error.message() if isinstance(error, fence.FenceError) else str(error) or type(error).__name__
                print(f"it could not be seen where the scheduler's home is: {words}", file=sys.stderr)
            asked = now = time.clock_gettime(time.CLOCK_BOOTTIME)
        seen = now
        time.sleep(POLL_S)
