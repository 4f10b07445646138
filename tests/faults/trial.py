"""One case on the lab: users and jobs, the run, the fault at its moment, what the edges do then, and the mending."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import APPS, EDGES, PLAYBOOK_LIMIT_S, ROOT, Load, Turnout
from load.report import Record
from turnout.lab.podman import PodmanError
from turnout.lab.topology import host_named

from faults.cases import FAULT, LEASE_S, SLACK_S, Case, Timeline
from faults.inflict import Infliction
from faults.laptop import Laptop
from faults.verdict import (
    Look,
    Seen,
    judge_apart,
    judge_jobs,
    judge_mended,
    judge_requests,
    judge_settled,
    one_color,
)

RATE = 40.0
JOBS_PER_S = 4.0
OLD, NEW = "1.0.0", "1.1.0"
RUN_LIMIT_S = float(PLAYBOOK_LIMIT_S)  # a run, or what is left of it, that takes longer hangs
PUT_BACK_LIMIT_S = 90.0
BOUND_S = LEASE_S + SLACK_S
LEAST_STOPPED_S = LEASE_S + 5.0
# An edge that the controller cannot reach is told of a rollback by the next one.
UNTOLD = ("cut-to-edge", "cut-from-edge", "cut-both", "edge-frozen", "edge-rebooted")


class Watcher:
    """Asks the edges what they serve, past the network, and the application hosts what runs there."""

    def __init__(self, turnout: Turnout) -> None:
        self.hosts = turnout.hosts
        self._pool = ThreadPoolExecutor(max_workers=len(EDGES) + len(APPS))

    def look(self, down: str = "") -> dict[str, Look | None]:
        """Return what every edge says of itself; None for one that does not answer."""

        def ask(name: str) -> Look | None:
            if name == down:
                return None
            try:
                shown = self.hosts.inside(host_named(name), "/usr/local/sbin/turnout-edge", "show", "--tail", "1")
                return Look.of(name, json.loads(shown))
            except (PodmanError, ValueError):
                return None

        return dict(zip(EDGES, self._pool.map(ask, EDGES), strict=True))

    def units(self) -> dict[str, set[str]]:
        """Return the units of the service that run, by host."""
        words = ("systemctl", "list-units", "--no-legend", "--plain", "--state=active", "sample-*@*.service")

        def ask(name: str) -> set[str]:
            out = self.hosts.inside(host_named(name), *words)
            return {
                line.split()[0].removeprefix("sample-").removesuffix(".service") for line in out.splitlines() if line
            }

        return dict(zip(APPS, self._pool.map(ask, APPS), strict=True))

    def run_all(self, turnout: Turnout, limit_s: float = 30) -> None:
        """Start by hand what a failed case left down: that failure was told, and must not become the next one's."""
        looks = self.look()
        colors = {look.stable for look in looks.values() if look}
        if len(colors) != 1 or None in looks.values():
            return  # what brings a version into service mends that
        color = colors.pop()
        before = Seen("", "", "")
        judge_mended(before, looks, self.units(), APPS, {look.release for look in looks.values() if look})
        if before.passed or not color:
            return
        other = "green" if color == "blue" else "blue"
        for number, host in enumerate(APPS):
            stop = [
                f"sample-worker-jobs@{other}",
                f"sample-scheduler@{other}",
                *([f"sample-scheduler@{color}"] * (number > 0)),
            ]
            start = [
                f"sample-api@{color}",
                f"sample-worker-jobs@{color}",
                *([f"sample-scheduler@{color}"] * (number == 0)),
            ]
            turnout.ssh(
                host, f"systemctl stop {' '.join(stop)}; systemctl reset-failed; systemctl start {' '.join(start)}"
            )
        deadline = time.monotonic() + limit_s
        while not all(turnout.edge(name)["backends"][color]["all_up"] for name in EDGES):
            if time.monotonic() > deadline:
                raise AssertionError(f"the lab cannot be brought to rest: {before.problems}")
            time.sleep(0.3)


class Jobs:
    """Jobs that are sent to the service all the while, and looked for in its database afterwards."""

    def __init__(self, turnout: Turnout, seconds: float, batch: str) -> None:
        self.turnout = turnout
        self.out = turnout.work / f"{batch}.json"
        edges = [word for name in EDGES for word in ("--edge", turnout.address(name))]
        self.process = subprocess.Popen(
            [
                sys.executable, str(ROOT / "tests" / "load" / "jobs.py"), "enqueue", *edges, "--rate", str(JOBS_PER_S),
                "--seconds", str(seconds), "--batch", batch, "--out", str(self.out),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def end(self) -> None:
        """Send no more."""
        self.process.terminate()

    def found(self) -> dict[str, Any]:
        """Wait for the last jobs; return what became of all."""
        self.process.wait(timeout=60)
        lab = self.turnout.lab
        reach = (
            f"ssh -i {lab.private_key} -o UserKnownHostsFile={lab.known_hosts} -o IdentitiesOnly=yes -o LogLevel=ERROR "
            f"root@{self.turnout.address('data1')} cd / && sudo -u postgres psql -d sample"
        )
        done = subprocess.run(
            [
                sys.executable, str(ROOT / "tests" / "load" / "jobs.py"), "verify", "--jobs", str(self.out),
                "--psql", reach, "--tick-s", "1", "--wait", "45",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.out.unlink(missing_ok=True)
        self.turnout.forget_jobs()
        if done.returncode == 2:
            raise AssertionError(f"the jobs cannot be verified: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


class Trial:
    """One case, from 1.0.0 (or 1.1.0, for a rollback) in service to 1.0.0 in service."""

    def __init__(self, turnout: Turnout, case: Case, number: int = 0) -> None:
        self.turnout = turnout
        self.case = case
        self.watcher = Watcher(turnout)
        self.seen = Seen(case.name, case.action, case.fault, case.host)
        self.infliction = Infliction(turnout, case)
        self.batch = f"faults-{int(time.time())}-{number}"
        self.began = time.monotonic()
        self.untold = {case.host} if case.action == "rollback" and case.fault in UNTOLD else set()
        self.looks: dict[str, Look | None] = {}

    def run(self) -> Seen:
        """Run the case; what goes wrong in the harness itself is told as such, and counts as a failure."""
        try:
            self._base()
            self._under_load()
        except Exception as fault:
            self.seen.wrong(f"harness: {type(fault).__name__}: {fault}")
        finally:
            with contextlib.suppress(Exception):
                self.infliction.clean()
        self.seen.seconds = round(time.monotonic() - self.began, 1)
        return self.seen

    # The parts -------------------------------------------------------------------------------------------------

    def _base(self) -> None:
        """Bring into service what the action starts from."""
        self.watcher.run_all(self.turnout)
        self.turnout.ensure(OLD)
        if self.case.action == "rollback":
            self.turnout.ensure(NEW)
        self.turnout.until_nothing_pages()
        self.known = {edge: set(look.unfinished) for edge, look in self.watcher.look().items() if look}
        self.seen.figures["reset_s"] = round(time.monotonic() - self.began, 1)
        self.infliction.prepare()

    def _under_load(self) -> None:
        records = self.turnout.work / f"{self.batch}.records.gz"
        options = {"records": str(records), "users": "40", "timeout": "10"}
        load = Load(self.turnout, RATE, 900, options)
        jobs = Jobs(self.turnout, 900, self.batch)
        try:
            settled, until = self._cut_off()
            self._mend()
            jobs.end()
            self._judge_mended()
        finally:
            self._forget_laptops()
            jobs.end()
            load.stop()
        found = read_records(records)
        for path in (records, load.out, load.ready, load.marks):
            path.unlink(missing_ok=True)
        names = {self.turnout.address(name): name for name in EDGES}
        judge_requests(self.seen, found, names, self.infliction.outages, RATE)
        judge_apart(self.seen, found, names, between=(settled, until), exempt=self.untold)
        reruns = self.case.fault.startswith("app-")
        judge_jobs(self.seen, jobs.found(), reruns_allowed=reruns, froze=self.case.fault == "app-frozen")

    def _cut_off(self) -> tuple[float, float]:
        """Run the action, put the fault in and take it out; return from when and until when all was settled."""
        case, infliction = self.case, self.infliction
        options = ("-e", f"release={NEW}") if case.action == "deploy" else ()
        exact = "" if case.moment.drawn else case.moment.key
        laptop = infliction.first = Laptop(self.turnout, "first", case.action, *options, stop_at=exact)
        if not laptop.reach(case.moment.key):
            said = laptop.said.splitlines()[-12:]
            raise AssertionError(f"the run ended before its moment (exit code {laptop.process.poll()}): {said}")
        time.sleep(case.moment.after_s)
        infliction.inflict()
        hit = time.monotonic()
        self.seen.figures["hit_s"] = round(hit - laptop.started, 2)
        laptop.go_on()
        if case.fault.startswith("clock-"):
            self.seen.figures["clock_s"] = round(infliction.shown_clock_offset_s())
        self._hold(hit)
        infliction.undo()
        undone = time.monotonic()
        ended = self._until_over(undone)
        self._settle(max(undone, ended), "after the fault")
        self._until_put_back()
        settled = self._settle(time.monotonic(), "after the put-back")
        self._judge_outcome()
        if not self.untold:
            # Users say it too, for a moment; where an edge is not told, there is nothing to compare.
            time.sleep(1.5)
        return settled, time.monotonic()

    def _hold(self, hit: float) -> None:
        """Leave the fault in for as long as it is meant to last; the edges come to one color meanwhile."""
        fault = FAULT[self.case.fault]
        down = self.infliction.down()
        exempt = self.untold | ({down} if down else set())
        if fault.name.endswith("-rebooted"):
            time.sleep(1.0)
        elif fault.name in ("disk-full", "app-frozen"):
            deadline = hit + RUN_LIMIT_S
            while not self._first_over() and time.monotonic() < deadline:
                time.sleep(0.1)
            self._settle(time.monotonic(), "while the fault lasts", exempt, least_s=2)
        elif not fault.from_run_end:
            lasts = fault.name.startswith(("ctrl-z", "asleep", "cut-", "edge-frozen"))
            self._settle(hit, "from the fault on", exempt, least_s=LEAST_STOPPED_S if lasts else 0.0)

    def _settle(self, since: float, when: str, exempt: set[str] | None = None, least_s: float = 0.0) -> float:
        """Wait until the edges are on one color, two looks in a row; return since when they are."""
        exempt = self.untold if exempt is None else exempt
        first: float | None = None
        while True:
            at = time.monotonic()
            self.looks = self.watcher.look(self.infliction.down())
            good = one_color(self.looks, exempt)
            first = (first or at) if good else None
            if first is not None and at > first and at - since >= least_s:
                break
            if first is None and at - since > BOUND_S:
                break
            time.sleep(0.4)
        judge_settled(self.seen, None if first is None else first - since, BOUND_S, self.looks, when)
        return first or time.monotonic()

    def _until_over(self, since: float) -> float:
        """Wait until every playbook has ended; return when the last one had."""
        ended = since
        for laptop in self.infliction.laptops:
            deadline = time.monotonic() + RUN_LIMIT_S
            while not laptop.over and time.monotonic() < deadline:
                time.sleep(0.05)
            ended = max(ended, time.monotonic())
            if not laptop.over:
                self.seen.wrong(f"the playbook has not ended {RUN_LIMIT_S:.0f} s after the fault")
            if "Traceback" in laptop.said:
                where = laptop.said.index("Traceback")
                self.seen.wrong(f"a traceback: {laptop.said[where : where + 600]!r}")
        return ended

    def _first_over(self) -> bool:
        first = self.infliction.first
        return first is None or first.over

    def _until_put_back(self) -> None:
        """Wait until every keeper has ended, with what it may have had to put back."""
        deadline = time.monotonic() + PUT_BACK_LIMIT_S
        while any(laptop.keepers() for laptop in self.infliction.laptops) and time.monotonic() < deadline:
            time.sleep(0.2)
        if any(laptop.keepers() for laptop in self.infliction.laptops):
            self.seen.wrong(f"the keeper has not ended {PUT_BACK_LIMIT_S:.0f} s after its playbook")

    def _judge_outcome(self) -> None:
        """Hold a run to its word: one that said that it is done must be in service."""
        first = self.infliction.first
        code = first.process.poll() if first else None
        self.seen.figures["rc"] = code
        second = self.infliction.second
        if second is not None:
            self.seen.figures["second_rc"] = second.process.poll()
            if code and second.process.poll() and self.case.fault == "second-rollback":
                self.seen.wrong(f"the rollback of a second person failed: {second.said.splitlines()[-8:]}")
            return
        wanted = NEW if self.case.action == "deploy" else OLD
        serving = {look.release for edge, look in self.looks.items() if look and edge not in self.untold}
        self.seen.figures["after"] = " ".join(sorted(serving))
        if code == 0 and serving != {wanted}:
            self.seen.wrong(f"the {self.case.action} said that it is done, and {sorted(serving)} is in service")

    # The mending -----------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        """Run rollback.yml once, from another controller, as anybody would."""
        mend = Laptop(self.turnout, "mend", "rollback")
        try:
            deadline = time.monotonic() + RUN_LIMIT_S
            while not mend.all_over() and time.monotonic() < deadline:
                time.sleep(0.1)
            code = mend.process.poll()
            if code != 0:
                self.seen.wrong(
                    f"rollback.yml afterwards ended with {code}: {' | '.join(mend.said.splitlines()[-10:])}"
                )
        finally:
            mend.forget()

    def _judge_mended(self) -> None:
        """Look at what is left, for some seconds where servers have still to be found up."""
        expected = {OLD} if self.case.fault != "second-deploy" else {OLD, NEW}
        deadline = time.monotonic() + 5
        while True:
            trial = Seen("", "", "")
            looks = {edge: self._new_unfinished(look) for edge, look in self.watcher.look().items()}
            judge_mended(trial, looks, self.watcher.units(), APPS, expected)
            if trial.passed or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        self.seen.problems += trial.problems

    def _new_unfinished(self, look: Look | None) -> Look | None:
        """Leave out what earlier cases left unfinished: each failure is told once."""
        if look is None:
            return None
        old = self.known.get(look.edge, set())
        return Look(**{**vars(look), "unfinished": tuple(run for run in look.unfinished if run not in old)})

    def _forget_laptops(self) -> None:
        for laptop in self.infliction.laptops:
            laptop.forget()


def read_records(path: Path) -> list[Record]:
    """Return every request of a load."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [Record(**json.loads(line)) for line in file]


def record_timeline(turnout: Turnout, action: str) -> Timeline:
    """Run an action undisturbed; return when its tasks began."""
    options = ("-e", f"release={NEW}") if action == "deploy" else ()
    laptop = Laptop(turnout, "quiet", action, *options)
    laptop.process.wait(timeout=RUN_LIMIT_S)
    ended = time.monotonic()
    seen = laptop.timeline()
    if laptop.process.returncode != 0 or not seen:
        raise AssertionError(f"an undisturbed {action} failed: {laptop.said[-3000:]}")
    start = seen[0][1]
    laptop.forget()
    return Timeline(tuple((key, round(t - start, 3)) for key, t in seen), round(ended - start, 3))
