#!/usr/bin/python
"""Start, quiesce, stop and look at the processes of one color of a service on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Drive the systemd units of one color of a service
description:
  - Starts, quiesces, resumes, stops or looks at the units C(<service>-<process>@<color>.service) of this host, where
    C(<process>) is C(<kind>) or C(<kind>-<name>).
  - A color has a process when its drop-in was laid with the release
    (C(/etc/systemd/system/<service>-<process>@<color>.service.d/turnout.conf)); a kind that the color does
    not have is passed over. Signals and time limits come from that drop-in too, so that a rollback uses those
    of the release it returns to and needs no service file.
  - Every state carries O(run) and O(fence). A run that was overtaken by a newer one changes nothing here any more
    (error code C(fence)), and stops waiting for what it began. The role C(service_host) lays the program that keeps
    the record.
  - It does without Ansible's module library, which takes longer to load than a unit takes to start, since a release
    and a rollback ask it again and again.
extends_documentation_fragment:
  - turnout.ops.run
options:
  service: {description: Name of the service., type: str, required: true}
  fence: {description: "The run's number, which the edges gave with the lock.", type: int, required: true}
  color:
    description: Which place; required but for C(fenced) and C(homed).
    type: str
    choices: [blue, green]
  processes:
    description:
      - Which kinds of process to act on, under whatever name; required but for C(fenced) and C(homed).
      - C(api) is all that answers users - the API, and the web processes C(<service>-web-<name>@<color>.service).
      - C(scheduler) is what runs in one color on one host - the scheduler, and the timers
        C(<service>-timer-<name>@<color>.timer). A job that a stopped timer has begun is let end within its drain time.
    type: list
    elements: str
    choices: [api, worker, scheduler]
  state:
    description:
      - C(started) starts what is not running and, for a worker told to take no new jobs, resumes it (by its
        resume signal, else by a restart).
      - C(quiesced) sends the quiesce signal of the unit; a unit without one is left as it is. A web process is told to
        end its long connections by it, and goes on answering.
      - C(stopped) stops the unit, waits until it is seen stopped, and clears its failures. A unit that was stopped does
        not start with the host any more.
      - C(steady) is C(started), and waits until each unit has run for O(steady_s) seconds without a restart. A
        worker first says that it is ready, where its release tells how it does (C(workers.NAME.ready)); the code is
        C(unit-unready) where it does not.
      - C(running) starts and changes nothing. It waits until each unit has run for O(steady_s) seconds on end, counted
        from its own start, and fails as soon as one ends; also where a worker or a scheduler was restarted since it was
        started, however long ago. Failures have the code C(unit-ended), and the unit's last lines without secrets.
      - C(fenced) only records the run, so that older ones are refused from now on.
      - C(homed) records O(home) as the one host that may run the scheduler, on worker hosts and on edges, and O(color)
        as that which it runs there. Where another host takes over by itself (C(service.takeover_s)), a host that is not
        the home stops what it runs of it, and gives its lease back.
    type: str
    choices: [started, quiesced, stopped, steady, running, fenced, homed]
    required: true
  home: {description: "For C(homed): the inventory's name of the host that may run the scheduler.", type: str}
  by_word:
    description: For C(homed), a person said that the last home is gone; the new one then needs fewer edges' leases.
    type: bool
    default: false
  at_boot:
    description:
      - For C(started) and C(steady), lets the units start with the host from now on.
      - What is in service, or warm for a rollback, does; a candidate that was not confirmed does not.
    type: bool
    default: false
  steady_s:
    description: Seconds of running without a restart, for C(steady) and C(running).
    type: float
    default: 2.0
  start_timeout_s: {description: Seconds that a start may take., type: int, default: 30}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: full, description: Reports what would change.}
  diff_mode: {support: full, description: Shows the states of the units before and after.}
"""

EXAMPLES = r"""
- name: Bring the old workers back
  turnout.ops.units:
    service: sample
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    color: blue
    processes: [worker]
    state: started
    at_boot: true
"""

RETURN = r"""
units:
  description: State of each unit that the color has, after the action.
  returned: always
  type: dict
  sample: {"sample-worker-jobs@blue.service": {"active": "active", "sub": "running", "main_pid": 812, "restarts": 0,
    "at_boot": true}}
youngest_s:
  description: Seconds that the unit has run which was started last.
  returned: O(state=running), where the color has a unit
  type: float
home:
  description: The newest record of the scheduler's home on this host - C(host), C(fence) and C(run); null for none.
  returned: success
  type: dict
takeover_s:
  description: Seconds after which another host takes over by itself, as this host was told; 0 for never.
  returned: success
  type: int
fenced_by:
  description: The newest run that changed this host, as C(run) and C(fence); null where none is known.
  returned: success, and where an older run is refused
  type: dict
code:
  description: A short word for the failure, where another program may want to know it.
  returned: failure of the fence, and of a process that does not keep running
  type: str
"""

import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
import time

GIVEN = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""  # Ansible puts the options here before it sends this file

COLORS = ("blue", "green")
KINDS = ("api", "worker", "scheduler")
# No word of a name is a kind (turnout.service.values.PROCESS_NAME): `shop-worker-api@blue` is another service's API.
NAME = r"(?:-(?!(?:api|web|worker|scheduler|timer)\b)[a-z0-9]+)*"
STATES = ("started", "quiesced", "stopped", "steady", "running", "fenced", "homed")
RECORDS = ("fenced", "homed")  # states that are about no unit
ROOT = "/"
LIBRARY = "usr/local/lib/turnout-host"  # laid by the role service_host
SYSTEM_DIR = "/etc/systemd/system"
WANTED_DIR = "multi-user.target.wants"  # below SYSTEM_DIR: what starts with the host
# Gone after a reboot, like the processes it speaks of. The worker's unit does not restart one that was told to take no
# new jobs and ended (ExecCondition=).
QUIESCED_DIR = "/run/turnout"
PROPERTIES = (
    "ActiveState", "SubState", "MainPID", "NRestarts", "Result", "ExecMainStatus", "Job",
    "ActiveEnterTimestampMonotonic",
)  # fmt: skip
NEVER_RAN = range(200, 243)  # exit codes of systemd's own, for a process that it could not execute (systemd.exec(5))
POLL_S = 0.1
LOOK_S = 0.5  # between two looks at units that only have to go on running
READY_S = 1.0  # between two questions whether a worker is ready
ASKED_S = 10.0  # that one of them may take
CLOCK_GRAIN_S = 1.0  # by which a file's time may seem older than the process that wrote it
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
UNREADY = "unit-unready"  # code of a worker that does not say in time that it is ready
ENDED = "unit-ended"  # code of a process that does not keep running


class UnitError(Exception):
    """A unit did not do what it was told; carries the message for a person."""

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


def library_of_host():
    """Return the modules fence, home and wanted of the package that the role service_host lays."""
    folder = os.path.join(ROOT, LIBRARY)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return [importlib.import_module(f"turnout_host.{name}") for name in ("fence", "home", "wanted")]
    except ImportError as fault:
        raise UnitError(
            f"there is no such turnout_host in {folder} ({fault}); expected: the program that keeps older runs away; "
            "to mend: ansible-playbook turnout.ops.site --tags service_host",
            "host-unprepared",
        ) from None


def run(*argv, timeout_s=60):
    """Run a program; return (exit code, output). Waits for `timeout_s` seconds at most."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"{' '.join(argv)} did not end within {timeout_s} s"
    return done.returncode, (done.stdout + done.stderr).strip()


def units_of(service, kind, color, system_dir=SYSTEM_DIR):
    """Return the units of a kind in this color.

    With the API come the web processes, and with the scheduler the timers, which run where it does.
    """
    if kind == "api":
        return [one for each in ("api", "web") for one in units_of_kind(service, each, color, system_dir)]
    if kind != "scheduler":
        return units_of_kind(service, kind, color, system_dir)
    jobs = units_of_kind(service, "timer", color, system_dir)
    timers = [Unit(f"{job.name.removesuffix('.service')}.timer", job.dropin) for job in jobs]
    return [*units_of_kind(service, kind, color, system_dir), *timers]


def units_of_kind(service, kind, color, system_dir=SYSTEM_DIR):
    """Return the units that the release laid in this color has of a kind: of each name `@blue`, `@blue-2` and so on."""
    name = re.compile(rf"{re.escape(service)}-{kind}{NAME}@{color}(-\d+)?\.service")
    found = []
    for folder in sorted(os.listdir(system_dir)):
        unit = folder.removesuffix(".d")
        dropin = os.path.join(system_dir, folder, "turnout.conf")
        if name.fullmatch(unit) and os.path.exists(dropin):
            found.append(Unit(unit, dropin))
    return found


class Unit:
    """One unit of one color, as systemd and its drop-in know it."""

    def __init__(self, name, dropin):
        self.name = name
        self.dropin = dropin
        self._mark = os.path.join(QUIESCED_DIR, f"{name}.quiesced")

    def key(self):
        """Return where the service file has this process."""
        named = re.search(r"-worker-(.+)$", self.name.partition("@")[0])
        return f"service.workers.{named[1]}" if named else "service.worker"

    def is_single(self):
        """Tell whether this is a unit of which only one may run, on one host."""
        return "-scheduler@" in self.name or self.is_timer()

    def answers_users(self):
        """Tell whether this is the API, or a web process beside it."""
        return re.search(rf"-(api|web{NAME})@", self.name) is not None

    def is_timer(self):
        """Tell whether this is a timer, whose unit is there only where it runs."""
        return self.name.endswith(".timer")

    def job(self):
        """Return the unit that a timer starts."""
        return Unit(f"{self.name.removesuffix('.timer')}.service", self.dropin)

    def setting(self, key):
        """Return an `X-Turnout-…` setting of the drop-in, or None. systemd ignores keys that start with X-."""
        with open(self.dropin, encoding="utf-8") as lines:
            for line in lines:
                name, found, value = line.partition("=")
                if found and name.strip() == key:
                    return value.strip() or None
        return None

    def show(self):
        """Return what systemd says of the unit."""
        code, text = run("systemctl", "show", self.name, f"--property={','.join(PROPERTIES)}")
        if code:
            raise UnitError(f"systemctl show {self.name} said: {text}")
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {
            "active": values.get("ActiveState", "unknown"),
            "sub": values.get("SubState", "unknown"),
            "main_pid": int(values.get("MainPID") or 0),
            "restarts": int(values.get("NRestarts") or 0),
            "result": values.get("Result", ""),
            "status": int(values.get("ExecMainStatus") or 0),
            "busy": values.get("Job", "") not in ("", "0"),
            "since_s": int(values.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
            "quiesced": self.quiesced(),
            "at_boot": self.at_boot(),
        }

    def at_boot(self):
        """Tell whether the unit starts with the host."""
        return os.path.lexists(os.path.join(os.path.dirname(os.path.dirname(self.dropin)), WANTED_DIR, self.name))

    def set_at_boot(self, wanted):
        """Let the unit start with the host, or not; return True when that changed."""
        if self.at_boot() == wanted:
            return False
        verb = "enable" if wanted else "disable"
        code, text = run("systemctl", "--no-reload", verb, self.name)
        if code:
            raise UnitError(
                f"{self.name}: systemctl {verb} said: {text}; expected exit code 0; to mend: "
                "ansible-playbook turnout.ops.site --tags service_host"
            )
        folder = os.open(os.path.join(os.path.dirname(os.path.dirname(self.dropin)), WANTED_DIR), os.O_RDONLY)
        try:
            os.fsync(folder)  # a host that loses power in the next seconds comes back with it
        finally:
            os.close(folder)
        return True

    def order(self, verb):
        """Tell systemd to start, restart or stop the unit; returns before it has."""
        code, text = run("systemctl", "--no-block", verb, self.name)
        if code:
            raise UnitError(
                f"{self.name}: systemctl {verb} said: {text}; expected it to begin; see: {self.last_words()}"
            )

    def ready(self):
        """Return how its release says that it is ready - `argv`, `file` or `notify`, `timeout_s` - or nothing."""
        return json.loads(self.setting("X-Turnout-Ready") or "{}")

    def is_ready(self, now):
        """Tell whether a running worker says that it is ready, seen with its own files and environment."""
        how, process = self.ready(), f"/proc/{now['main_pid']}"
        if now["active"] != "active" or not now["main_pid"]:
            return False
        try:
            if how.get("file"):
                began = time.time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - now["since_s"])
                return os.stat(f"{process}/root{how['file']}").st_mtime >= began - CLOCK_GRAIN_S
            if not how.get("argv"):
                return True
            with open(f"{process}/environ", encoding="utf-8", errors="surrogateescape") as environ:
                values = dict(one.partition("=")[::2] for one in environ.read().split("\0") if one)
            owner = os.stat(process)
        except OSError:
            return False
        words = [VARIABLE.sub(lambda found: values.get(found[1], ""), word) for word in how["argv"]]
        enter = ["--target", str(now["main_pid"]), "--mount", "--root", "--wd"]
        who = ["--setgid", str(owner.st_gid), "--setuid", str(owner.st_uid)]
        try:
            done = subprocess.run(
                ["/usr/bin/nsenter", *enter, *who, "--", *words], env=values, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=ASKED_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def settled(self, fence, timeout_s, apart=False):
        """Wait until systemd has no job for the unit any more; return what it says then, or when time is up.

        With `apart` a process that runs and has not said yet that it is ready is no reason to wait.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            fence.still()
            now = self.show()
            if not now["busy"] or (apart and now["sub"] == "start") or time.monotonic() >= deadline:
                return now
            time.sleep(POLL_S)

    def quiesced(self):
        """Tell whether the running process was told to take no new jobs."""
        try:
            with open(self._mark, encoding="utf-8") as mark:
                told = int(mark.read() or 0)
        except (OSError, ValueError):
            return False
        return told > 0 and os.path.exists(f"/proc/{told}")

    def signal(self, name):
        """Send a signal to the main process only: a worker's children are its own business."""
        code, text = run("systemctl", "kill", "--kill-whom=main", f"--signal={name}", self.name)
        if code:
            raise UnitError(f"{self.name} could not be sent {name}: {text}")

    def remember_quiesced(self, pid):
        """Note that process `pid` was told to take no new jobs; 0 forgets it."""
        if not pid:
            if os.path.exists(self._mark):
                os.unlink(self._mark)
            return
        os.makedirs(QUIESCED_DIR, exist_ok=True)
        with open(self._mark, "w", encoding="utf-8") as mark:
            mark.write(str(pid))

    def last_words(self):
        """Return the unit's last lines, without the values of its environment, and where to read the rest."""
        try:
            lines = importlib.import_module("turnout_host.said").last_lines(self.name, ROOT)
        except ImportError:  # laid by an older Turnout
            lines = []
        told = f"; its last lines: {' | '.join(lines)}" if lines else ""
        return f"journalctl -u {self.name} -n 50{told}"


def agent_of_host():
    """Return the module of the host's part of the lease; None on a host of an older Turnout, which knows none."""
    try:
        return importlib.import_module("turnout_host.agent")
    except ImportError:
        return None


def takeover_s(home, service):
    """Return after how many seconds another host takes over by itself, as this host was told."""
    try:
        return int((home.config_of(service, ROOT) or {}).get("takeover_s") or 0)
    except (home.ConfigError, ValueError, TypeError):
        return 0


def start(unit, fence, home, options):
    """Start the unit, or make a quiesced one take jobs again; return True when something was done."""
    agent = agent_of_host() if unit.is_single() else None
    why = agent.begin(options["service"], ROOT) if agent else ""
    if why:
        raise UnitError(f"{unit.name} was not started: {why}")
    ready = unit.ready()
    timeout_s = options["start_timeout_s"]
    apart = bool(ready.get("notify")) and options["state"] != "steady"  # a rollback waits for nobody's word
    if ready.get("notify") and not apart:
        timeout_s = max(timeout_s, ready["timeout_s"] + 5)
    with fence.held():
        before = unit.show()
        there = not unit.is_timer() or before["active"] == "active"
        enabled = there and options["at_boot"] and unit.set_at_boot(True)
        if before["active"] == "active" and not before["busy"]:
            if not before["quiesced"]:
                return enabled
            resume = unit.setting("X-Turnout-Resume")
            if resume:
                unit.signal(resume)
                unit.remember_quiesced(0)
                return True
        verb = "restart" if before["active"] == "active" and before["quiesced"] else "start"
        unit.remember_quiesced(0)
        if unit.is_timer() and before["active"] != "active":
            lay_timer(unit, options["service"])
            enabled = options["at_boot"] and unit.set_at_boot(True)
        if unit.is_single():
            # The run has seen to it that none runs elsewhere: the unit need not ask.
            home.mark_seen(unit.job().name if unit.is_timer() else unit.name, ROOT)
        run("systemctl", "reset-failed", unit.name)
        unit.order(verb)
    # A process that still finishes what it holds, which may take its whole drain time, is waited for first.
    stops_first = verb == "restart" or before["active"] == "deactivating"
    drain_s = int(unit.setting("X-Turnout-Drain") or 0) if stops_first else 0
    after = unit.settled(fence, timeout_s + drain_s, apart)
    # One that ran and has crashed already is started again by systemd: `steady` and the looks at its health judge that.
    ran = after["sub"] == "auto-restart" and after["status"] not in NEVER_RAN
    if after["active"] != "active" and not ran and not (apart and after["sub"] == "start"):
        raise UnitError(
            f"{unit.name} did not {verb}: it is {after['active']} ({after['sub']}, {after['result'] or 'no result'}) "
            f"after at most {timeout_s + drain_s} s; expected it to run; see: {unit.last_words()}"
        )
    return True


def quiesce(unit, fence):
    """Tell the unit to take no new jobs, or to end its long connections; return True when it was told now."""
    quiet = unit.setting("X-Turnout-Quiesce")
    with fence.held():
        before = unit.show()
        if not quiet or before["active"] != "active" or before["quiesced"]:
            return False
        if unit.answers_users():  # it goes on as it was: there is nothing to resume
            unit.signal(quiet)
            return True
        # Before the signal: one that ends at once must not be restarted.
        unit.remember_quiesced(before["main_pid"])
        try:
            unit.signal(quiet)
        except UnitError:
            unit.remember_quiesced(0)
            raise
    return True


def begin_stop(unit, fence, home):
    """Tell the unit to stop; return True when there was something to do, and None when it has to be seen stopped."""
    with fence.held():
        before = unit.show()
        home.forget_seen(unit.name, ROOT)
        disabled = unit.set_at_boot(False)
        if before["active"] == "inactive" and not before["busy"]:
            unit.remember_quiesced(0)
            job_runs = unit.is_timer() and unit.job().show()["active"] not in ("inactive", "failed")
            return None if job_runs else disabled
        unit.order("stop")
    return None


def see_stopped(unit, fence, home):
    """Wait until a unit that was told to stop has, and a job of a timer; return True when something ran."""
    limit_s = int(unit.setting("X-Turnout-Drain") or 30) + 30
    after = unit.settled(fence, limit_s)
    with fence.held():
        unit.remember_quiesced(0)
        run("systemctl", "reset-failed", unit.name)
    if after["busy"] or after["active"] not in ("inactive", "failed"):
        raise UnitError(
            f"{unit.name} is {after['active']} after systemctl stop; "
            f"expected it stopped within {limit_s} s; see: {unit.last_words()}"
        )
    if unit.is_timer():
        end_timer(unit, fence, home)
    return True


def lay_timer(unit, service):
    """Lay a timer's unit, which makes up for what was due since a run ended the timers of the other color."""
    timers = importlib.import_module("turnout_host.timers")
    try:
        timers.lay(unit.name, timers.since(service, ROOT), ROOT)
    except (ValueError, KeyError, TypeError) as error:
        raise UnitError(
            f"{unit.dropin} declares no timer that can be read ({error}); expected: X-Turnout-Timer=, as a release "
            "writes it; to mend: ansible-playbook turnout.ops.deploy of a release, which lays it anew"
        ) from None
    code, text = run("systemctl", "daemon-reload")
    if code:
        raise UnitError(f"systemctl daemon-reload said: {text}; expected exit code 0; see: journalctl -b -u init.scope")


def end_timer(timer, fence, home):
    """Remove a stopped timer; let the job that it has begun end within its time, or have it stopped and say so."""
    job = timer.job()
    home.forget_seen(job.name, ROOT)
    if importlib.import_module("turnout_host.timers").remove(timer.name, ROOT):
        run("systemctl", "daemon-reload")
    drain_s = int(job.setting("X-Turnout-Drain") or 0)
    deadline = time.monotonic() + drain_s
    while job.show()["active"] not in ("inactive", "failed"):
        fence.still()
        if time.monotonic() >= deadline:
            fence.notes.append(
                f"{job.name} still ran {drain_s} s after its timer was stopped (drain_s of service.timers), and was "
                "told to end"
            )
            with fence.held():
                job.order("stop")
            job.settled(fence, 30)
            return
        time.sleep(POLL_S)


def wait_ready(units, fence):
    """Wait until each worker says that it is ready; raise UnitError for one that ends, or does not say so in time."""
    began = time.monotonic()
    waiting = [unit for unit in units if unit.ready()]
    while waiting:
        fence.still()
        for unit in list(waiting):
            now, how = unit.show(), unit.ready()
            if unit.is_ready(now):
                waiting.remove(unit)
                continue
            fault = ended(unit, now, 0) if now["restarts"] or now["active"] in ("failed", "inactive") else None
            if fault:
                raise UnitError(fault, ENDED)
            if time.monotonic() - began >= how["timeout_s"]:
                way = how.get("file") or (" ".join(how["argv"]) if how.get("argv") else "READY=1")
                raise UnitError(
                    f"{unit.name} has not said within {how['timeout_s']} s that it is ready "
                    f"({unit.key()}.ready: {way}); expected: its word before it goes on; to mend: a version that "
                    f"says so, or more time: {unit.key()}.ready.timeout_s; see: {unit.last_words()}",
                    UNREADY,
                )
        time.sleep(READY_S if waiting else 0)


def wait_steady(units, fence, steady_s):
    """Wait until every unit has run `steady_s` seconds on end; raise UnitError for those that did not.

    A process that crashes at once is restarted by systemd, so that a single look can find it running.
    """
    first = {unit.name: unit.show() for unit in units}
    deadline = time.monotonic() + steady_s
    while time.monotonic() < deadline:
        time.sleep(min(0.25, steady_s))
        fence.still()
    faults = []
    for unit in units:
        now, then = unit.show(), first[unit.name]
        if now["active"] != "active" or now["main_pid"] != then["main_pid"]:
            faults.append(
                f"{unit.name} is {now['active']} ({now['result']}, {now['restarts']} restarts) within "
                f"{steady_s:g} s of its start; expected it to keep running; see: {unit.last_words()}"
            )
    if faults:
        raise UnitError("; ".join(faults), ENDED)


def ended(unit, now, steady_s):
    """Return the fault of a unit that does not run, or was started again by systemd; None where there is none."""
    # What answers users may have waited for what it needs; its health, and its time since then, are looked at.
    again = now["restarts"] > 0 and not unit.answers_users()
    if now["active"] == "active" and not now["busy"] and not again:
        return None
    times = "1 time" if now["restarts"] == 1 else f"{now['restarts']} times"
    return (
        f"{unit.name} is {now['active']} ({now['sub']}, {now['result'] or 'no result'}, exit code {now['status']}) and "
        f"was started again {times} since this release started it; expected: that it runs for "
        f"{steady_s:g} s on end and does not end by itself (service.steady_s); to mend: a version of which it keeps "
        f"running; see: {unit.last_words()}"
    )


def wait_running(units, fence, steady_s):
    """Wait until every unit has run `steady_s` seconds since its own start; return the seconds of the youngest.

    Raises UnitError as soon as one ends, or was restarted. Changes nothing.
    """
    first = {unit.name: unit.show() for unit in units}
    seen = first
    while True:
        fence.still()
        faults = [ended(unit, seen[unit.name], steady_s) for unit in units]
        faults += [
            f"{unit.name} was started anew while it was looked at; expected: that it runs for {steady_s:g} s on end "
            f"(service.steady_s); see: {unit.last_words()}"
            for unit in units
            if seen[unit.name]["active"] == "active"
            and seen[unit.name]["main_pid"] != first[unit.name]["main_pid"]
            and not ended(unit, seen[unit.name], steady_s)
        ]
        if any(faults):
            raise UnitError("; ".join(fault for fault in faults if fault), ENDED)
        youngest_s = time.clock_gettime(time.CLOCK_MONOTONIC) - max(now["since_s"] for now in seen.values())
        if youngest_s >= steady_s:
            return round(youngest_s, 1)
        time.sleep(min(LOOK_S, steady_s - youngest_s))
        seen = {unit.name: unit.show() for unit in units}


def would_change(options, unit, before):
    """Tell what check mode reports for one unit."""
    state = options["state"]
    if state in ("started", "steady"):
        return before["active"] != "active" or before["quiesced"] or (options["at_boot"] and not before["at_boot"])
    if state == "quiesced":
        return bool(unit.setting("X-Turnout-Quiesce")) and before["active"] == "active" and not before["quiesced"]
    return state == "stopped" and (before["active"] != "inactive" or before["at_boot"])


def act(units, fence, home, options):
    """Do what the state asks of the units of one kind; return whether something was done, and the faults of all.

    Each is brought there by itself: what one does not do keeps no other from it. All finish at the same time.
    """
    state, done, faults = options["state"], {}, []
    steps = {
        "started": [lambda unit: start(unit, fence, home, options)],
        "stopped": [
            lambda unit: begin_stop(unit, fence, home),
            lambda unit: see_stopped(unit, fence, home) if done[unit.name] is None else done[unit.name],
        ],
        "quiesced": [lambda unit: quiesce(unit, fence)],
        "running": [],
    }
    for step in steps["started" if state == "steady" else state]:
        for unit in list(units):
            try:
                done[unit.name] = step(unit)
            except UnitError as error:
                faults.append(error)
                units = [one for one in units if one is not unit]
    return any(done.values()), faults


def settle_home(fence, home, options):
    """Record the scheduler's home; return True when it was another one, or a newer run says it."""
    record = {"host": options["home"], "fence": options["fence"], "run": options["run"]}
    record |= {"color": options["color"]} if options.get("color") else {}
    record |= {"by_word": True} if options["by_word"] else {}
    with fence.held():
        changed = home.write(options["service"], record, ROOT)
    agent = agent_of_host()
    left = agent.leave(options["service"], options["start_timeout_s"], ROOT) if agent else ""
    if left:
        raise UnitError(left)
    return changed


def note_timers_end(service):
    """Note that no timer runs from now on."""
    with contextlib.suppress(ImportError, OSError):  # of an older Turnout; without a note nothing is made up for
        importlib.import_module("turnout_host.timers").note_end(service, ROOT)


def tell_figures(wanted, fence, service):
    """Tell the node exporter what ought to run. Figures that cannot be written keep no process from running."""
    try:
        wanted.tell(service, ROOT)
    except OSError as error:
        fence.notes.append(
            f"{error.filename or wanted.FIGURES_DIR}: {error.strerror}; expected: a file that root can write, which "
            f"tells the alerts what ought to run; to mend: df -h /{wanted.FIGURES_DIR}; ls -ld /{wanted.FIGURES_DIR}"
        )


def options_of(given):
    """Return the task's options with their defaults; raises UnitError for one that makes no sense."""
    options = {name: value for name, value in given.items() if not name.startswith("_ansible_")}
    names = ["service", "run", "state"]
    names += {"fenced": [], "homed": ["home"]}.get(options.get("state"), ["color", "processes"])
    known = {
        "service", "run", "fence", "state", "color", "processes", "home", "by_word", "at_boot", "steady_s",
        "start_timeout_s",
    }  # fmt: skip
    if set(options) - known or not all(options.get(name) for name in names) or options.get("fence") is None:
        raise UnitError(f"options {', '.join(sorted(options))}; expected: those of ansible-doc turnout.ops.units")
    processes = options.get("processes") or []
    processes = processes.split(",") if isinstance(processes, str) else list(processes)
    for name, value, known in (
        ("color", [options["color"]] if options.get("color") else [], COLORS),
        ("processes", processes, KINDS),
        ("state", [options["state"]], STATES),
    ):
        if not set(value) <= set(known):
            raise UnitError(f"{name} is {', '.join(map(str, value))}; expected: {', '.join(known)}")
    try:
        numbers = {
            "fence": int(options["fence"]),
            "steady_s": float(options.get("steady_s", 2.0)),
            "start_timeout_s": int(options.get("start_timeout_s", 30)),
        }
    except (TypeError, ValueError) as fault:
        raise UnitError(f"{fault}; expected: fence, steady_s and start_timeout_s as numbers") from None
    truths = {
        name: str(options.get(name, False)).lower() in ("true", "yes", "1", "on") for name in ("at_boot", "by_word")
    }
    return {**options, "processes": processes, **truths, **numbers}


def perform(options, check_mode):
    """Act, and return the task's result."""
    before, changed, more = {}, False, {}
    state = options["state"]
    try:
        library, home, wanted = library_of_host()
    except UnitError as error:
        return {"failed": True, "msg": str(error), "changed": False, "code": error.code}
    try:
        fence = library.Fence(options["service"], options["run"], options["fence"], ROOT)
    except library.FenceError as refused:
        return {"failed": True, "msg": refused.message(), "changed": False, **refused.fields}
    try:
        # Also where there is nothing to do: from now on an older run is refused.
        fence.still() if check_mode else fence.check()
        kinds = [units_of(options["service"], kind, options["color"]) for kind in options["processes"]]
        units, faults = [unit for of_kind in kinds for unit in of_kind], []
        before |= {unit.name: unit.show() for unit in units}
        if check_mode:
            changed = any(would_change(options, unit, before[unit.name]) for unit in units)
        for of_kind in [] if check_mode else kinds:
            done, failed = act(of_kind, fence, home, options)
            changed, faults = changed or done, faults + failed
        if state == "stopped" and "scheduler" in options["processes"] and not check_mode:
            note_timers_end(options["service"])
        if state == "homed" and not check_mode:
            changed = settle_home(fence, home, options)
        if not check_mode and state in ("started", "steady", "stopped"):
            tell_figures(wanted, fence, options["service"])
        if faults:
            raise UnitError("; ".join(map(str, faults)), faults[0].code)
        if state == "steady" and not check_mode:
            wait_ready(units, fence)
            wait_steady(units, fence, options["steady_s"])
        if state == "running" and units and not check_mode:
            more["youngest_s"] = wait_running(units, fence, options["steady_s"])
        after = {unit.name: unit.show() for unit in units}
    except library.FenceError as refused:
        return {
            "failed": True, "msg": refused.message(), **refused.fields, "changed": changed, "warnings": fence.notes,
            "fenced_by": library.recorded(options["service"], ROOT),
        }  # fmt: skip
    except (UnitError, OSError, home.ConfigError) as error:
        code = {"code": error.code} if getattr(error, "code", None) else {}
        return {"failed": True, "msg": str(error), **code, "changed": changed, "warnings": fence.notes}
    return {
        "changed": changed, "units": after, "home": home.read(options["service"], ROOT),
        "takeover_s": takeover_s(home, options["service"]),
        "fenced_by": library.recorded(options["service"], ROOT),
        "diff": {"before": before, "after": after}, "warnings": fence.notes, **more,
    }  # fmt: skip


def main():
    """Read the options, act, answer."""
    given = json.loads(GIVEN)
    try:
        result = perform(options_of(given), given.get("_ansible_check_mode"))
    except UnitError as error:
        result = {"failed": True, "changed": False, "msg": str(error)}
    if not result.get("warnings"):
        result.pop("warnings", None)
    print(json.dumps(result))
    sys.exit(1 if result.get("failed") else 0)


if __name__ == "__main__":
    main()
