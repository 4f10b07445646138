#!/usr/bin/python
"""Start, quiesce, stop and look at the processes of one color of a service on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: turnout_units
short_description: Drive the systemd units of one color of a service
description:
  - Starts, quiesces, resumes, stops or looks at the units C(<service>-<process>@<color>.service) of this host.
  - A color has a process when its drop-in was laid with the release
    (C(/etc/systemd/system/<service>-<process>@<color>.service.d/turnout.conf)); a process that the color does
    not have is passed over. Signals and time limits come from that drop-in too, so that a rollback uses those
    of the release it returns to and needs no service file.
  - It does without Ansible's module library, which takes longer to load than a unit takes to start, since a release
    and a rollback ask it again and again.
options:
  service: {description: Name of the service., type: str, required: true}
  color: {description: Which place., type: str, choices: [blue, green], required: true}
  processes:
    description: Which processes to act on.
    type: list
    elements: str
    choices: [api, worker, scheduler]
    required: true
  state:
    description:
      - C(started) starts what is not running and, for a worker told to take no new jobs, resumes it (by its
        resume signal, else by a restart).
      - C(quiesced) sends the quiesce signal of the unit; a unit without one is left as it is.
      - C(stopped) stops the unit, waits until it is seen stopped, and clears its failures.
      - C(steady) is C(started), and waits until each unit has run for O(steady_s) seconds without a restart.
    type: str
    choices: [started, quiesced, stopped, steady]
    required: true
  steady_s: {description: "Seconds of running without a restart, for C(steady).", type: float, default: 2.0}
  start_timeout_s: {description: Seconds that a start may take., type: int, default: 30}
author: [The Turnout authors]
attributes:
  check_mode: {support: full, description: Reports what would change.}
  diff_mode: {support: full, description: Shows the states of the units before and after.}
"""

EXAMPLES = r"""
- name: Bring the old workers back
  turnout_units:
    service: sample
    color: blue
    processes: [worker]
    state: started
"""

RETURN = r"""
units:
  description: State of each unit that the color has, after the action.
  returned: always
  type: dict
  sample: {"sample-worker@blue.service": {"active": "active", "sub": "running", "main_pid": 812, "restarts": 0}}
"""

import json
import os
import re
import subprocess
import sys
import time

GIVEN = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""  # Ansible puts the options here before it sends this file

COLORS = ("blue", "green")
PROCESSES = ("api", "worker", "scheduler")
STATES = ("started", "quiesced", "stopped", "steady")
SYSTEM_DIR = "/etc/systemd/system"
QUIESCED_DIR = "/run/turnout"  # gone after a reboot, like the processes it speaks of
PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result", "TimeoutStopUSec")


class UnitError(Exception):
    """A unit did not do what it was told; carries the message for a person."""


def run(*argv, timeout_s=60):
    """Run a program; return (exit code, output). Waits for `timeout_s` seconds at most."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"{' '.join(argv)} did not end within {timeout_s} s"
    return done.returncode, (done.stdout + done.stderr).strip()


def units_of(service, process, color, system_dir=SYSTEM_DIR):
    """Return the units that the release laid in this color has for a process: `@blue`, `@blue-2` and so on."""
    name = re.compile(rf"{re.escape(service)}-{process}@{color}(-\d+)?\.service")
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
            "quiesced": self.quiesced(),
        }

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
        """Return where to read why the unit failed. Its log may hold secrets, so it is named, not quoted."""
        return f"journalctl -u {self.name} -n 50"


def start(unit, before, timeout_s):
    """Start the unit, or make a quiesced one take jobs again; return True when something was done."""
    if before["active"] == "active" and not before["quiesced"]:
        return False
    if before["active"] == "active":
        resume = unit.setting("X-Turnout-Resume")
        if resume:
            unit.signal(resume)
            unit.remember_quiesced(0)
            return True
    verb = "restart" if before["active"] == "active" else "start"
    unit.remember_quiesced(0)
    run("systemctl", "reset-failed", unit.name)
    # A restart first lets the worker finish what it holds, which may take its whole drain time.
    drain_s = int(unit.setting("X-Turnout-Drain") or 0) if verb == "restart" else 0
    code, text = run("systemctl", verb, unit.name, timeout_s=timeout_s + drain_s)
    if code:
        raise UnitError(
            f"{unit.name} did not {verb}: {text or 'no reason given'}; expected it to run; see: {unit.last_words()}"
        )
    return True


def quiesce(unit, before):
    """Tell the unit to take no new jobs; return True when it was told now."""
    quiet = unit.setting("X-Turnout-Quiesce")
    if not quiet or before["active"] != "active" or before["quiesced"]:
        return False
    unit.signal(quiet)
    unit.remember_quiesced(before["main_pid"])
    return True


def stop(unit, before):
    """Stop the unit and see it stopped; return True when it was running or had failed."""
    if before["active"] in ("inactive",):
        unit.remember_quiesced(0)
        return False
    drain_s = int(unit.setting("X-Turnout-Drain") or 30)
    code, text = run("systemctl", "stop", unit.name, timeout_s=drain_s + 30)
    unit.remember_quiesced(0)
    run("systemctl", "reset-failed", unit.name)
    after = unit.show()
    if code or after["active"] not in ("inactive", "failed"):
        raise UnitError(
            f"{unit.name} is {after['active']} after systemctl stop ({text or 'no message'}); "
            f"expected it stopped within {drain_s + 30} s; see: {unit.last_words()}"
        )
    return True


def wait_steady(units, steady_s):
    """Wait until every unit has run `steady_s` seconds on end; raise UnitError for those that did not.

    A process that crashes at once is restarted by systemd, so that a single look can find it running.
    """
    first = {unit.name: unit.show() for unit in units}
    deadline = time.monotonic() + steady_s
    while time.monotonic() < deadline:
        time.sleep(min(0.25, steady_s))
    faults = []
    for unit in units:
        now, then = unit.show(), first[unit.name]
        if now["active"] != "active" or now["main_pid"] != then["main_pid"]:
            faults.append(
                f"{unit.name} is {now['active']} ({now['result']}, {now['restarts']} restarts) within "
                f"{steady_s:g} s of its start; expected it to keep running; see: {unit.last_words()}"
            )
    if faults:
        raise UnitError("; ".join(faults))


def would_change(state, unit, before):
    """Tell what check mode reports for one unit."""
    if state in ("started", "steady"):
        return before["active"] != "active" or before["quiesced"]
    if state == "quiesced":
        return bool(unit.setting("X-Turnout-Quiesce")) and before["active"] == "active" and not before["quiesced"]
    return state == "stopped" and before["active"] != "inactive"


def act(state, unit, before, params):
    """Do what `state` asks of one unit; return True when something was done."""
    if state in ("started", "steady"):
        return start(unit, before, params["start_timeout_s"])
    if state == "quiesced":
        return quiesce(unit, before)
    if state == "stopped":
        return stop(unit, before)
    return False


def options_of(given):
    """Return the task's options with their defaults; raises UnitError for one that makes no sense."""
    options = {name: value for name, value in given.items() if not name.startswith("_ansible_")}
    names = ("service", "color", "processes", "state")
    if set(options) - {*names, "steady_s", "start_timeout_s"} or not all(options.get(name) for name in names):
        raise UnitError(f"options {', '.join(sorted(options))}; expected: those of ansible-doc turnout_units")
    processes = options["processes"]
    processes = processes.split(",") if isinstance(processes, str) else list(processes)
    for name, value, known in (
        ("color", [options["color"]], COLORS),
        ("processes", processes, PROCESSES),
        ("state", [options["state"]], STATES),
    ):
        if not set(value) <= set(known):
            raise UnitError(f"{name} is {', '.join(map(str, value))}; expected: {', '.join(known)}")
    try:
        seconds = {
            "steady_s": float(options.get("steady_s", 2.0)),
            "start_timeout_s": int(options.get("start_timeout_s", 30)),
        }
    except (TypeError, ValueError) as fault:
        raise UnitError(f"{fault}; expected: steady_s and start_timeout_s as numbers of seconds") from None
    return {**options, "processes": processes, **seconds}


def perform(options, check_mode):
    """Act, and return the task's result."""
    before, changed = {}, False
    state = options["state"]
    try:
        units = [
            unit for process in options["processes"] for unit in units_of(options["service"], process, options["color"])
        ]
        for unit in units:
            before[unit.name] = unit.show()
            if check_mode:
                changed = would_change(state, unit, before[unit.name]) or changed
            else:
                changed = act(state, unit, before[unit.name], options) or changed
        if state == "steady" and not check_mode:
            wait_steady(units, options["steady_s"])
        after = {unit.name: unit.show() for unit in units}
    except UnitError as error:
        return {"failed": True, "msg": str(error), "units": before, "changed": changed}
    return {"changed": changed, "units": after, "diff": {"before": before, "after": after}}


def main():
    """Read the options, act, answer."""
    given = json.loads(GIVEN)
    try:
        result = perform(options_of(given), given.get("_ansible_check_mode"))
    except UnitError as error:
        result = {"failed": True, "changed": False, "msg": str(error)}
    print(json.dumps(result))
    sys.exit(1 if result.get("failed") else 0)


if __name__ == "__main__":
    main()
