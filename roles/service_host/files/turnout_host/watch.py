"""Stop a scheduler that is not at home any more: its home was moved while this host was frozen, asleep or cut off.

A host that wakes up goes on where it stood, and nothing asks it to start anything. So a small program looks: at once
when it finds that the host stood still, and every few seconds otherwise, as long as a scheduler runs here.

Where another host takes over by itself (service.takeover_s) it asks the edges for their lease instead (`agent`), and
stops what runs on one host when it has none. Whether it has one is looked at apart from the asking, which may hang.
systemd kills this program where it stands still itself, and starts it anew.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

from turnout_host import agent, fence, home, lease, notify, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLL_S = 0.5
STOOD_STILL_S = 2.5  # a loop of POLL_S that took longer than this: the host was away
ASK_EVERY_S = 15.0  # one SSH connection to each edge, while a scheduler runs here


def running(service: str, root: str = "/") -> list[str]:
    """Return the service's scheduler and timer units that run here."""
    units = [f"{service}-scheduler@{color}.service" for color in home.COLORS]
    units += [unit for unit in agent.units(service, root=root) if unit not in units]
    return agent.active(units)


def look(service: str, root: str = "/") -> list[str]:
    """Stop what runs here and is at home elsewhere; return the units that were stopped."""
    units = running(service, root)
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


def _turn(service: str, config: dict[str, Any], root: str) -> None:
    """Ask the edges for their lease, and have run what may."""
    try:
        agent.follow(service, agent.turn(service, config, root), config, root)
    except Exception as error:
        _say(error)


def _say(error: Exception) -> None:
    words = error.message() if isinstance(error, fence.FenceError) else str(error) or type(error).__name__
    print(f"it could not be seen where the scheduler's home is: {words}", file=sys.stderr)


def main(service: str, root: str = "/") -> None:
    """Look for ever."""
    asked = seen = time.clock_gettime(time.CLOCK_BOOTTIME) - ASK_EVERY_S
    guard, turning = agent.Guard(service, root), threading.Thread()
    config: dict[str, Any] | None = None
    while True:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with contextlib.suppress(OSError):
            notify.tell("WATCHDOG=1")
        try:
            config = home.config_of(service, root)
        except home.ConfigError as error:  # that of before counts; without one nobody knows how long a lease lasts
            if config is None and agent.knew_leases(service, root):
                agent.end(agent.units(service, root=root), str(error), kill=True, root=root)
        try:
            if config is not None and agent.takes_over(config):
                guard.look(config)
                if now - asked >= lease.POLL_S and not turning.is_alive():
                    turning = threading.Thread(target=_turn, args=(service, config, root), daemon=True)
                    turning.start()
                    asked = now
            elif now - seen > STOOD_STILL_S or now - asked >= ASK_EVERY_S:
                asked = now
                agent.forget(service, root)
                look(service, root)
                asked = now = time.clock_gettime(time.CLOCK_BOOTTIME)
        except Exception as error:  # what nobody foresaw keeps nobody from looking again either
            _say(error)
        seen = now
        time.sleep(POLL_S)
