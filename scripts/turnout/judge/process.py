"""The judge of one run: a process beside the playbook that reads, judges and records at every scrape.

The playbook's tasks come and go; the judge goes on from before the first share moves to the end of the watch, so that
no scrape between two tasks is lost and its evidence lasts over the steps. It moves nothing itself: the tasks that
wait for its decision do, on every edge at once, over the connections that they hold. It ends with the playbook.

`python -m turnout.judge.process FOLDER` is started by the action plugin `turnout.ops.judge`; `meeting` lists the files
in the run's folder by which the two speak.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from turnout.errors import TurnoutError
from turnout.judge import meeting, records
from turnout.judge.core import Judge
from turnout.judge.dispersion import ENOUGH_S, WANTED_S, Dispersion
from turnout.judge.meeting import Told
from turnout.judge.model import Judgement, Scrape, Verdict
from turnout.judge.plan import SharePlan
from turnout.judge.prometheus import CounterReader, Problem, Reading
from turnout.judge.replay import history_dispersion, last_readings
from turnout.judge.report import NO_SHARE, judgement_json, reason, status_line
from turnout.judge.steps import Action, Decision, decide, percent
from turnout.keeper import process_started
from turnout.slo import parse

READY_WAIT_S = 10.0
"""How long the first whole reading is waited for, beside three scrape intervals: a color that has just been started
is scraped a little later."""
POLL_S = 0.2
LEAST_HISTORY = 2
"""Readings of stable that there must be before the release: fewer say nothing of it."""


def utc_now() -> str:
    """Return the present moment as files carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def lasts(problem: Problem, stable: str) -> bool:
    """Tell whether waiting cannot mend a problem: a query that means several things, or nothing of what serves."""
    return problem.code == "query-several" or (problem.code == "query-nothing" and problem.color == stable)


class Session:
    """One release under judgement."""

    def __init__(self, folder: Path, told: Told) -> None:
        self.folder = folder
        self.told = told
        self.plan = SharePlan(told.shares_bp, told.patience_s, told.bake_s)
        self.slos = parse.load(Path(told.slos))
        parse.check(self.slos)
        self.reader = CounterReader(told.prometheus, self.slos, stable=told.stable, candidate=told.candidate)
        self.recording = self._open(meeting.RECORDING)
        self.judgements = self._open(meeting.JUDGEMENTS)
        self.lines = self._open(meeting.LINES)
        self.verdict: Verdict | None = None
        self.decided: Decision | None = None
        self.started_s: float | None = None
        self.step_started_s = 0.0
        self.share_bp = 0
        self.moving = False
        self.last_t_s = 0.0

    def _open(self, name: str) -> IO[str]:
        path = self.folder / name
        path.touch(mode=0o600)
        return path.open("a", encoding="utf-8", buffering=1)

    # Before any share moves ----------------------------------------------------------------------------------------

    def first_reading(self) -> Reading:
        """Return the first reading in which everything is there; raises the reader's problems where none comes."""
        deadline = time.monotonic() + READY_WAIT_S + 3.0 * self.reader.interval_s
        while True:
            reading = self.reader.read()
            if not reading.problems:
                return reading
            if time.monotonic() >= deadline or any(lasts(problem, self.told.stable) for problem in reading.problems):
                reading.require(self.reader.colors)
            time.sleep(min(1.0, self.reader.interval_s))

    def history(self, now_s: float) -> list[Scrape]:
        """Return stable's history, as the recording will give it back; raises `TurnoutError` without any."""
        wanted_s = min(WANTED_S, max(0.0, now_s - self.told.since_s))
        scrapes = [self.record(scrape) for scrape in self.reader.history(max(wanted_s, 2.0))]
        short = [
            name
            for name in self.slos
            if sum(1 for scrape in scrapes if scrape.slos[name].stable is not None) < LEAST_HISTORY
        ]
        if short:
            raise TurnoutError(
                "history-missing",
                observed=f"Prometheus holds no history of {self.told.stable}, which is in service, for "
                f"{', '.join(short)} (the last {wanted_s:.0f} s were looked at)",
                expected=f"at least {LEAST_HISTORY} scrapes of stable before the release",
                remedy=f"look at {self.told.prometheus}/targets; when it was just started, wait a few scrapes",
            )
        return scrapes

    def begin(self) -> None:
        """See everything once, learn phi, and get ready; raises `TurnoutError` for what cannot be seen."""
        reading = self.first_reading()
        history = self.history(reading.at_s)
        objectives = [slo.for_judge() for slo in self.slos.values()]
        dispersion = history_dispersion(history, objectives)
        self.judge = Judge(objectives, dispersion)
        self.state = self.judge.begin(last_readings(history, list(self.slos)))
        self.observe(reading)
        meeting.write(self.folder, meeting.READY, {"notes": self._notes(dispersion)})

    def _notes(self, dispersion: dict[str, Dispersion]) -> list[str]:
        span_s = min(found.span_s for found in dispersion.values())
        notes = [
            f"judged by {', '.join(self.slos)}, read from {self.told.prometheus} every {self.reader.interval_s:g} s",
        ]
        if self.told.probes_per_s:
            notes.append(
                f"synthetic probes are on: {self.told.probes_per_s:g} requests/s through every edge to each color "
                "count among the events"
            )
        if not any(objective.largest_user for objective in self.judge.objectives):
            notes.append(f"share of the requests: {NO_SHARE}")
        if span_s < ENOUGH_S * 0.99:
            notes.append(
                f"stable's history holds {span_s:.0f} s; the stated rate of false rollbacks assumes {ENOUGH_S:.0f} s"
            )
        return notes

    # At every scrape -----------------------------------------------------------------------------------------------

    def record(self, scrape: Scrape) -> Scrape:
        """Write a scrape down and return what was written: what is judged is what a replay will judge."""
        text = records.line(replace(scrape, probes_per_s=self.told.probes_per_s))
        self.recording.write(text + "\n")
        return records.parse(text)

    def step(self) -> None:
        """Learn which share is in force: from the moment on in which an edge may have it, since faults are met there.

        A step begins once every edge has it.
        """
        said = meeting.read(self.folder, meeting.STEP) or {"share_bp": 0}
        share_bp, moving = int(said["share_bp"]), bool(said.get("moving"))
        if share_bp != self.share_bp or self.moving:
            self.step_started_s = self.last_t_s
        self.share_bp, self.moving = share_bp, moving

    def observe(self, reading: Reading) -> Judgement:
        """Record and judge one reading, tell what it means, and decide."""
        if self.started_s is None:
            self.started_s = reading.at_s
        self.step()
        scrape = reading.scrape(
            started_s=self.started_s, share_bp=self.share_bp, next_share_bp=self.plan.next_share_bp(self.share_bp)
        )
        # While Prometheus is silent its clock is ours, which may run ahead of it.
        scrape = self.record(Scrape(max(self.last_t_s, scrape.t_s), scrape.share_bp, scrape.next_share_bp, scrape.slos))
        self.last_t_s = scrape.t_s
        self.state, judgement = self.judge.observe(self.state, scrape)
        problems = list(dict.fromkeys(problem.seen for problem in reading.problems))
        line = judgement_json(judgement, meeting.RECORDING)
        more = {"at": utc_now(), "problems": problems, "probes_per_s": self.told.probes_per_s}
        self.judgements.write(json.dumps({**line, **more}) + "\n")
        self.tell(judgement, problems)
        self.decide(judgement, problems)
        return judgement

    def tell(self, judgement: Judgement, problems: Sequence[str]) -> None:
        """Write the line that a person sees, and an event where the verdict has changed."""
        text = status_line(judgement)
        changed = judgement.verdict is not self.verdict
        why = "; ".join(problems) if problems else reason(judgement)
        if changed or problems:
            text += f"  {why}"
        self.lines.write(text + "\n")
        if changed:
            self.event("verdict", verdict=judgement.verdict.value, share_bp=judgement.share_bp, why=why)
        self.verdict = judgement.verdict

    def event(self, kind: str, **more: object) -> None:
        """Append one event to the run's own."""
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as events:
            events.write(json.dumps({"ts": utc_now(), "event": kind, **more}) + "\n")

    def decide(self, judgement: Judgement, problems: Sequence[str]) -> None:
        """Write down what the release does next, where something is to be done."""
        found = decide(judgement, self.plan, step_s=self.last_t_s - self.step_started_s, problems=problems)
        forward = found is not None and found.action in (Action.PROMOTE, Action.PASS)
        if found is not None and not (forward and (self.share_bp == 0 or self.moving)):
            self.settle_on(found)

    def settle_on(self, found: Decision) -> None:
        """Write a decision: one at each share, and the way back, once decided, stays."""
        before = self.decided
        if before is not None:
            back = before.action in (Action.ROLLBACK, Action.UNDECIDED)
            if back or (before.share_bp == found.share_bp and found.action in (Action.PROMOTE, Action.PASS)):
                return
        self.decided = found
        meeting.write(self.folder, meeting.DECISION, {**asdict(found), "action": found.action.value})
        self.lines.write(f"{found.action.value} at {percent(found.share_bp)}: {found.why}\n")
        self.event("decision", action=found.action.value, share_bp=found.share_bp, why=found.why)

    def heed_guard(self) -> None:
        """Take note where an edge went back by itself."""
        said = meeting.read(self.folder, meeting.GUARD)
        if said is not None:
            self.step()
            self.settle_on(Decision(self.share_bp, Action(said["action"]), f"{said['edge']}: {said['why']}"))

    # Until the playbook ends ---------------------------------------------------------------------------------------

    def over(self) -> bool:
        """Tell whether there is nothing left to judge: the playbook says so, has ended, or is gone."""
        if any((self.folder / name).exists() for name in (meeting.END, "ended")):
            return True
        return process_started(self.told.parent_pid) != self.told.parent_started

    def run(self) -> None:
        """Judge until it is over."""
        next_s = time.monotonic()
        while not self.over():
            if time.monotonic() >= next_s:
                next_s = max(next_s + self.reader.interval_s, time.monotonic())
                self.observe(self.reader.read())
            self.heed_guard()
            time.sleep(max(0.0, min(POLL_S, next_s - time.monotonic())))


def main() -> None:
    """Judge the run whose folder is the only argument."""
    folder = Path(sys.argv[1])
    try:
        session = Session(folder, meeting.told(folder))
        session.begin()
    except TurnoutError as error:
        meeting.write(folder, meeting.READY, {"error": str(error), **error.as_dict()})
        raise SystemExit(1) from None
    session.run()


if __name__ == "__main__":
    main()
