"""A worker host's part of the lease: it asks the edges, and runs what runs on one host while they lease to it."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from turnout_host import atomic, fence, home, lease, timers, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Ask = Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], Any]

CONNECT_S, ASK_S = 4, 5.0  # of one request; three of them fit into lease.ROUNDS_S, with the wait before
SEEN_S = 5.0  # between two looks at whether something runs where nothing may
BEGIN_S = 5.0  # beyond a whole lease, for which a run waits until this host may start


def clock() -> float:
    """Return the seconds of the clock that nobody sets, and that goes on while a host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def takes_over(config: Mapping[str, Any] | None) -> bool:
    """Tell whether another host takes over by itself."""
    return config is not None and float(config.get("takeover_s") or 0) > 0


# What runs on one host --------------------------------------------------------------------------------------------


def units(service: str, color: str = "*", root: str = "/") -> list[str]:
    """Return the units, of a color or both, that start what runs on one host: the scheduler, and timers."""
    laid = glob.glob(os.path.join(root, timers.UNITS_DIR, f"{service}-*@{color}.service.d", "turnout.conf"))
    name = re.compile(rf"{re.escape(service)}-({wanted.PROCESS})@(blue|green)\.service")
    names = [os.path.basename(os.path.dirname(path)).removesuffix(".d") for path in sorted(laid)]
    kinds = {unit: found[1].partition("-")[0] for unit in names if (found := name.fullmatch(unit))}
    return [
        f"{unit.removesuffix('.service')}.timer" if kind == "timer" else unit
        for unit, kind in kinds.items()
        if kind in ("scheduler", "timer")
    ]


def with_jobs(names: list[str]) -> list[str]:
    """Return the units, and those that timers start."""
    return [*names, *(timers.job_of(unit) for unit in names if unit.endswith(".timer"))]


def active(names: list[str]) -> list[str]:
    """Return which of these run, or are about to start or stop."""
    if not names:
        return []
    done = subprocess.run(["systemctl", "is-active", *names], capture_output=True, text=True, check=False)
    states = done.stdout.split()
    return [unit for unit, state in zip(names, states) if state not in ("inactive", "failed", "unknown")]  # noqa: B905


def at_boot(names: list[str], root: str = "/") -> list[str]:
    """Return which of these start with the host."""
    return [unit for unit in names if os.path.lexists(os.path.join(root, wanted.WANTED_DIR, unit))]


def _systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], capture_output=True, check=False)


def end(names: list[str], why: str, *, kill: bool = False, root: str = "/") -> list[str]:
    """Stop what runs of these units, with `kill` at once; return what ran."""
    running = active(with_jobs(names))
    if running:
        if kill:
            _systemctl("kill", "--kill-whom=all", "--signal=KILL", *running)
        for unit in names:
            home.forget_seen(unit, root)
        _systemctl("--no-block", "stop", *running)
        print(f"{' '.join(running)}: {'killed' if kill else 'stopped'}: {why}", file=sys.stderr)
    return running


# What is kept -----------------------------------------------------------------------------------------------------


def _volatile(service: str, root: str) -> str:
    return os.path.join(root, home.SEEN_DIR, f"{service}.lease")


def _durable(service: str, root: str) -> str:
    return os.path.join(root, home.HOMES_DIR, f"{service}.held")


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load(service: str, config: Mapping[str, Any], root: str = "/") -> lease.Host:
    """Return this host as it was after its last turn."""
    kept = _load(_volatile(service, root))  # gone after a reboot, as the clock begins anew then
    names = tuple(config["edges"])
    ends = {edge: float(end_s) for edge, end_s in dict(kept.get("ends") or {}).items() if edge in names}
    workers = tuple(config.get("workers") or ())
    held = _load(_durable(service, root)).get("held")
    return lease.Host(
        config["host"], names, workers, clock, home.read(service, root), held, ends, bool(kept.get("has"))
    )


def knew_leases(service: str, root: str = "/") -> bool:
    """Tell whether an edge has ever leased to this host."""
    return _load(_durable(service, root)).get("held") is not None


def forget(service: str, root: str = "/") -> None:
    """Forget what was leased, where nobody takes over any more: once it is switched on again, what runs goes on."""
    for path in (_durable(service, root), _volatile(service, root)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def until_s(service: str, config: Mapping[str, Any], root: str = "/") -> float:
    """Return until when it may run here, by `clock`; 0 for not at all."""
    return load(service, config, root).until_s()


def may_begin(until: float, config: Mapping[str, Any]) -> bool:
    """Tell whether something may begin by a lease that ends then: not in its last part, in which `Guard` stops all."""
    return until - clock() > float(config.get("stop_s") or 0)


def _keep(service: str, host: lease.Host, root: str) -> None:
    record = host.record
    if record is not None and record != home.read(service, root):
        # Held, so that what a run records meanwhile is not written over.
        with fence.Lock(service, root):
            home.write(service, record, root)
    durable = _load(_durable(service, root))
    host.held = host.held or ([] if host.ends else None)  # an edge has heard of this host: now it may be taken over
    if durable.get("held") != host.held:
        taken = durable.get("taken")
        since = durable.get("since")
        if host.has and record is not None and record.get("term"):
            # Begun in one turn and ended in another, nothing is known of when: then nothing is made up for.
            taken, since = home.rank(record), time.time() - (clock() - host.heard_s) if host.heard_s else None
        text = json.dumps({"format": atomic.FORMAT, "held": host.held, "taken": taken, "since": since})
        atomic.replace(_durable(service, root), text.encode() + b"\n", 0o600)
    path = _volatile(service, root)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    atomic.replace(path, json.dumps({"ends": host.ends, "has": host.has}).encode(), 0o644)


# Turns ------------------------------------------------------------------------------------------------------------


def ask(
    config: Mapping[str, Any], requests: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[float, dict[str, Any]]]:
    """Ask edges at once; return of each that answered when it was asked, and its reply."""

    def one(edge: str) -> tuple[float, dict[str, Any] | None]:
        asked_s = clock()
        try:
            done = home.ssh(config["edges"][edge], config, json.dumps(requests[edge]), CONNECT_S, ASK_S)
            said = json.loads(done.stdout)
        except (OSError, ValueError, RecursionError, subprocess.TimeoutExpired):
            return asked_s, None
        return asked_s, said if isinstance(said, dict) and "granted" in said else None

    with ThreadPoolExecutor(max(1, len(requests))) as pool:
        answers = dict(zip(requests, pool.map(one, requests), strict=True))
    return {edge: (asked_s, said) for edge, (asked_s, said) in answers.items() if said is not None}


def turn(service: str, config: Mapping[str, Any], root: str = "/") -> lease.Host:
    """Take one turn, the only one of this host at a time. Raises OSError, fence.FenceError."""
    path = f"{_volatile(service, root)}.lock"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host = load(service, config, root)
        record = host.record
        mine = units(service, str(record.get("color")), root) if record is not None else []
        going = host.turn(running=bool(active(with_jobs(units(service, root=root)))), can_take=bool(mine))
        try:
            requests = next(going)
            while True:
                requests = going.send(ask(config, requests))
        except StopIteration:
            pass
        _keep(service, host, root)
    return host


def follow(service: str, host: lease.Host, config: Mapping[str, Any], root: str = "/") -> None:
    """Have what is to run here run, and nothing of it where it is not to."""
    names = units(service, root=root)
    if not host.at_home():
        record = host.record
        if record is None or not (at_boot(names, root) or active(with_jobs(names))):
            return
        with fence.Lock(service, root):  # so that no run starts anything here between the look and the stop
            known = home.read(service, root)
            if known is None or known["host"] == host.me:
                return
            _systemctl("disable", *at_boot(names, root))
            end(names, f"the scheduler's home is {known['host']} since run {known['run']}", root=root)
            for unit in names:
                if unit.endswith(".timer"):
                    timers.remove(unit, root)
            _tell(service, root)
        return
    if not may_begin(host.until_s(), config):
        return
    with fence.Lock(service, root):
        known = home.read(service, root)
        if known is None or known["host"] != host.me or not may_begin(until_s(service, config, root), config):
            return
        durable = _load(_durable(service, root))
        mine = units(service, str(known.get("color")), root)
        taken = durable.get("taken") == home.rank(known)
        if taken:
            for unit in mine:
                if unit.endswith(".timer"):
                    timers.lay(unit, float(durable.get("since") or time.time()), root)
            _systemctl("daemon-reload")
            _systemctl("enable", *mine)
            print(f"this host took the scheduler and the timers over: {' '.join(mine)}", file=sys.stderr)
        waiting = set(at_boot(mine, root)) - set(active(mine))
        if waiting:
            _systemctl("reset-failed", *with_jobs(mine))
            _systemctl("--no-block", "start", *sorted(waiting))
        if taken:
            text = json.dumps({"format": atomic.FORMAT, "held": durable["held"], "taken": None})
            atomic.replace(_durable(service, root), text.encode() + b"\n", 0o600)
            _tell(service, root)


def _tell(service: str, root: str) -> None:
    try:
        wanted.tell(service, root)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)


def may_start(service: str, config: Mapping[str, Any], unit: str, root: str = "/") -> bool:
    """Tell whether a unit may start here now. A timer's job asks the edges first, so that they know it began before
    another host makes up for it; on the home it waits until they lease to it, as after a reboot.
    """
    if not timers.is_timers(unit):
        return may_begin(until_s(service, config, root), config)
    asked_s = clock()
    while True:
        host = turn(service, config, root)
        if host.renewed_s >= asked_s:
            return True
        if not host.at_home() or clock() - asked_s > float(config["takeover_s"]):
            return False
        time.sleep(1)


class Guard:
    """Stops in time what may not run here any more, and kills it when the time is over."""

    def __init__(self, service: str, root: str = "/") -> None:
        self._service, self._root = service, root
        self._over_s = -SEEN_S  # when nothing was seen to run, and nothing may
        self._killed: list[str] = []

    def look(self, config: Mapping[str, Any]) -> None:
        """Look once. Asks no edge."""
        if not knew_leases(self._service, self._root):
            return  # it was switched on just now: what runs here goes on, and nobody takes it over
        until = until_s(self._service, config, self._root)
        if may_begin(until, config):
            self._over_s = -SEEN_S
        elif clock() - self._over_s >= SEEN_S:
            names, over = units(self._service, root=self._root), until <= clock()
            running = end(names, "no lease of the edges", kill=over, root=self._root)
            if running:
                self._killed += running if over else []
                return
            self._over_s = clock()
            if self._killed:  # a job that was killed here did not fail: nobody is to be paged for it
                _systemctl("reset-failed", *sorted(set(self._killed)))
                self._killed = []


def begin(service: str, root: str = "/") -> str:
    """Get the lease for a run that starts something here, once an old one ends; return why there is none, or ""."""
    config = home.config_of(service, root)
    if config is None or not takes_over(config):
        return ""
    deadline_s = clock() + float(config["takeover_s"]) - lease.ROUNDS_S + BEGIN_S
    while True:
        host = turn(service, config, root)
        if may_begin(host.until_s(), config):
            return ""
        if clock() > deadline_s or not host.at_home():
            whose = "" if host.at_home() or not host.record else f"; its home is {host.record['host']}"
            take = lease.quorums(len(host.edges))[0]
            return (
                f"{config['host']} has no lease of {take} of the edges {', '.join(host.edges)}{whose}; expected: their "
                "leases, without which nothing that runs on one host starts (service.takeover_s); to mend: see that "
                f"they answer: journalctl -u turnout-scheduler-watch@{service} on this host; then this again"
            )
        time.sleep(1)


def leave(service: str, limit_s: float, root: str = "/") -> str:
    """On a host that is not the home: see stopped what runs of it, and give the lease back; return why not, or ""."""
    config = home.config_of(service, root)
    record = home.read(service, root)
    if config is None or not takes_over(config) or record is None or record["host"] == config["host"]:
        return ""
    names, deadline_s = units(service, root=root), clock() + float(config["stop_s"]) + limit_s
    while end(names, f"the scheduler's home is {record['host']} since run {record['run']}", root=root):
        if clock() > deadline_s:
            return (
                f"{', '.join(active(with_jobs(names)))} did not stop; expected: nothing of it on a host that is not "
                f"its home; see: systemctl status {names[0]}"
            )
        time.sleep(1)
    turn(service, config, root)
    return ""
