"""From a job's name to its end: alone on this host, alone with the edges' lock, in its time; kept and told."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

from . import alert, job
from .edges import HELD, Edges
from .errors import EXIT_REFUSED, EXIT_USAGE, Trouble
from .output import Output, rotate
from .process import Beats, run

HELP = """\
turnout-scheduled: run a scheduled job of this host now, as its timer does

  turnout-scheduled NAME      run it: alone, in its time, its output kept, its failure told to Alertmanager
  turnout-scheduled --list    what is scheduled here, and how each job last ended

Exit codes: the job's own; 75 refused, since it runs already or the edges' lock was held for too long; 124 it took too
long; 2 usage."""

RETRY_S = 5.0  # between two tries to take the lock


class Stop:
    """Remembers that this program was told to end, so that it ends in order."""

    def __init__(self) -> None:
        self.reason = ""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told)

    def _told(self, number: int, _: object) -> None:
        self.reason = f"it was told to end by {signal.Signals(number).name}"

    def __call__(self) -> str:
        """Return why to end, or nothing."""
        return self.reason


def alone(one: job.Job) -> int:
    """Hold this host's lock of the job; raises Trouble where it runs already. The lock ends with this process."""
    os.makedirs(one.state_folder, mode=0o700, exist_ok=True)
    path = os.path.join(one.state_folder, "running")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise Trouble(
            "job-running",
            f"{one.name} runs already (pid {holder or 'unknown'})",
            "one run of a job at a time",
            f"wait for it, or end it: kill {holder or 'PID'}",
            EXIT_REFUSED,
        ) from fault
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def take_lock(one: job.Job, edges: Edges, output: Output, stopped: Stop) -> bool:
    """Wait for the edges' lock; tell whether it is held. Raises Trouble where it could not be had in time."""
    deadline = time.monotonic() + one.wait_s
    said = ""
    while True:
        answers = edges.take()
        held = [answer for answer in answers if answer.code not in (HELD, None)]
        reached = [answer for answer in answers if answer.code is not None]
        absent = "; ".join(f"{answer.host} did not answer: {answer.words}" for answer in answers if answer.code is None)
        if not held and reached:
            if absent:
                output.note(f"lock taken, but {absent}")
            return True
        if not held and one.lock == "preferred":
            output.note(f"no edge answers, so nobody can deploy either: running without the lock ({absent})")
            return False
        why = f"{held[0].host}: {held[0].words}" if held else absent or "the inventory has no edges"
        if why.partition(", last sign of life")[0] != said:
            said = why.partition(", last sign of life")[0]
            output.note(f"waiting for the lock of the edges: {why}")
        if stopped() or time.monotonic() + RETRY_S > deadline:
            raise Trouble(
                "job-locked",
                f"{one.name} was not run: {stopped() or why}",
                f"the lock of the edges within {one.wait_s:g} s",
                f"when the other has ended: turnout-scheduled {one.name}",
                EXIT_REFUSED,
            )
        time.sleep(RETRY_S)


def run_job(one: job.Job, output: Output, stopped: Stop) -> tuple[int, str]:
    """Run a job with its locks; return its exit code and why it did not end well, in words."""
    run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.uname().nodename}-{one.name}-{os.getpid()}"
    edges = None
    if one.lock != "none":
        edges = Edges(one, run_id)
        if not take_lock(one, edges, output, stopped):
            edges = None
    output.note(f"running {json.dumps(one.command)}")
    try:
        # A playbook takes this for its own run's id, and so for the holder of the lock.
        code, reason = run(one, {"TURNOUT_RUN": run_id}, output, Beats(edges, one.beat_s), stopped)
    finally:
        if edges is not None:
            edges.release()
    if code and not reason:
        reason = f"it ended with exit code {code}"
    if reason:
        reason = f"{one.name} failed: {reason}"
    return code or (1 if reason else 0), reason


def tell(one: job.Job, reason: str, output: Output) -> None:
    """Tell Alertmanager that the job failed, or that it is well again."""
    if not one.alertmanager:
        return
    now = time.time()
    host = os.uname().nodename
    labels = {"alertname": "ScheduledJobFailed", "severity": one.severity, "job_name": one.name, "host": host}
    annotations = {
        "summary": reason or f"{one.name} is well again",
        "action": f"On {host} read {output.path}; run it again: turnout-scheduled {one.name}",
    }
    end = now + one.alert_s if reason else now
    wrong = alert.send(one.alertmanager, alert.alert({**one.labels, **labels}, annotations, now - 1, end))
    if wrong:
        output.note(f"Alertmanager was not told: {wrong}")
        print(f"turnout-scheduled: Alertmanager was not told: {wrong}", file=sys.stderr)


def remember(one: job.Job, started: float, code: int, reason: str, log: str) -> None:
    """Write how the job last ended, in one step."""
    path = os.path.join(one.state_folder, "last.json")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
    last = {"started": stamp, "seconds": round(time.time() - started, 1), "code": code, "reason": reason, "log": log}
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(last, stream)
    os.rename(path + ".new", path)


def perform(name: str, folder: str) -> int:
    """Run the job of that name; return the exit code to end with."""
    stopped = Stop()
    one = job.load(name, folder)
    started = time.time()
    logs = os.path.join(one.state_folder, "log")
    output = Output(logs, one.output_limit_bytes)
    held = None
    try:
        held = alone(one)
        code, reason = run_job(one, output, stopped)
    except Trouble as trouble:
        code, reason = trouble.exit_code, trouble.observed
        print(trouble, file=sys.stderr)
        output.note(str(trouble))
    if reason:
        output.note(reason)
        print(f"turnout-scheduled: {reason}; output: {output.path}\n{output.tail()}", file=sys.stderr)
    tell(one, reason, output)
    if held is not None:
        remember(one, started, code, reason, output.path)
    rotate(logs, one.keep)
    return code


def listed(folder: str) -> str:
    """Return this host's jobs and how each last ended."""
    lines = []
    for name in job.names(folder):
        one = job.load(name, folder)
        try:
            with open(os.path.join(one.state_folder, "last.json"), encoding="utf-8") as stream:
                last = json.load(stream)
            ended = f"{last['started']}  {last['seconds']:g} s  exit {last['code']}  {last['reason'] or last['log']}"
        except (OSError, ValueError, KeyError):
            ended = "has not run yet"
        lines.append(f"{name:<20} lock {one.lock:<9} {ended}")
    return "\n".join(lines) or "nothing is scheduled here"


def main(words: list[str]) -> int:
    """Run the command line."""
    folder = os.environ.get("TURNOUT_SCHEDULE") or job.FOLDER
    if len(words) != 1 or words[0] in ("-h", "--help"):
        print(HELP)
        return 0 if words[:1] in (["-h"], ["--help"]) else EXIT_USAGE
    try:
        if words[0] == "--list":
            print(listed(folder))
            return 0
        return perform(words[0], folder)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return trouble.exit_code
    except OSError as fault:
        print(
            f"error[scheduled-io]: {fault}\n  expected: a state folder that {os.getuid()=} may write\n"
            "  to mend:  ansible-playbook turnout.ops.schedule",
            file=sys.stderr,
        )
        return EXIT_USAGE
