"""make fault-matrix: deploys and rollbacks cut off at every task and at 100 random moments, by every fault, under load.

    make fault-matrix                    every moment once, each with one fault; every fault meets every phase
    make fault-matrix ROUNDS=all         every moment with every fault: days
    make fault-matrix MINUTES=30         a spread sample of that size
    make fault-matrix FILTER='edge-frozen ; 6/7'   only cases whose name has all of these parts
    make fault-matrix CASE='rollback / ctrl-c / …'   this one case, as its line names it
    make fault-matrix SEED=7             other random moments, and other faults at the same ones (default 1)
    make fault-matrix RESUME=1           go on where the last run of this seed was cut off
    make fault-matrix LIST=1             only print the cases and the time that they would take
    make fault-matrix SITE=0             do not apply playbooks/site.yml to the lab before

It prints the time that it will take first, a line for each case as it ends, then a table, and one JSON object last.
Exit code 0 only where cases were run and every one of them passed. See docs/faults.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "lab")]

from harness import ROOT, Turnout, provisioned, sample_digest

from faults import cases as plan
from faults.inflict import SECOND_VERSION, undo_everything
from faults.table import result_line, summary, table
from faults.trial import NEW, OLD, Trial, record_timeline
from faults.verdict import Seen


@dataclass(frozen=True)
class Options:
    """What the caller set in the environment."""

    seed: int = 1
    rounds: int = 1
    minutes: float = 0.0
    words: str = ""
    case: str = ""
    resume: bool = False
    only_list: bool = False
    site: bool = True

    @classmethod
    def read(cls, environment: dict[str, str]) -> Options:
        """Read them; SystemExit names the one that is wrong."""

        def number(name: str, default: float) -> float:
            text = environment.get(name, "") or str(default)
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if value < 0:
                raise SystemExit(f"fault-matrix: {name}={text}: expected a number; to mend: make fault-matrix {name}=1")
            return value

        rounds = environment.get("ROUNDS", "") or "1"
        every = len(plan.FAULTS)
        return cls(
            seed=int(number("SEED", 1)),
            rounds=every if rounds == "all" else int(number("ROUNDS", 1)),
            minutes=number("MINUTES", 0),
            words=environment.get("FILTER", ""),
            case=environment.get("CASE", ""),
            resume=environment.get("RESUME", "") not in ("", "0"),
            only_list=environment.get("LIST", "") not in ("", "0"),
            site=environment.get("SITE", "") != "0",
        )


class State:
    """What was run so far, a JSON line for each case, so that a cut-off matrix can go on."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"seed-{seed}.jsonl"
        self.lines_path = folder / f"timelines-{seed}.json"

    def begin(self) -> None:
        """Forget what an earlier run of this seed found."""
        self.path.unlink(missing_ok=True)
        self.lines_path.unlink(missing_ok=True)

    def timelines(self) -> dict[str, plan.Timeline]:
        """Return the timelines that this seed's cases were drawn over; none before they are recorded."""
        if not self.lines_path.exists():
            return {}
        raw = json.loads(self.lines_path.read_text())
        return {
            action: plan.Timeline(tuple((str(key), float(at)) for key, at in line["moments"]), float(line["end_s"]))
            for action, line in raw.items()
        }

    def keep(self, timelines: dict[str, plan.Timeline]) -> None:
        """Write the timelines down."""
        text = {action: {"moments": line.moments, "end_s": line.end_s} for action, line in timelines.items()}
        self.lines_path.write_text(json.dumps(text))

    def add(self, seen: Seen) -> None:
        """Write down what came of a case."""
        with self.path.open("a") as lines:
            # A line of its own, also after one that was cut off in its middle.
            lines.write("\n" + json.dumps(seen.as_json()) + "\n")

    def done(self) -> list[dict[str, Any]]:
        """Return what was run; half a line, where the run was killed, was not."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found


def commit() -> str:
    """Return the commit that is tested, with a mark where files differ from it."""
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def recorded(turnout: Turnout) -> dict[str, plan.Timeline]:
    """Run a deploy and its rollback undisturbed, and return their timelines."""
    print("recording an undisturbed deploy and rollback", flush=True)
    turnout.ensure(OLD)
    return {action: record_timeline(turnout, action) for action in plan.ACTIONS}


def run_cases(turnout: Turnout, of: list[plan.Case], state: State, budget_s: float) -> list[dict[str, Any]]:
    """Run cases until they or the time are over."""
    found: list[dict[str, Any]] = []
    began = time.monotonic()
    for number, case in enumerate(of, 1):
        if budget_s and time.monotonic() - began > budget_s:
            print(f"the time is over: {len(of) - number + 1} cases of the sample were not run", flush=True)
            break
        seen = Trial(turnout, case, number).run()
        state.add(seen)
        found.append(seen.as_json())
        print(result_line(seen.as_json(), number, len(of)), flush=True)
    return found


def prepared(options: Options) -> Turnout:
    """Return the lab as this tree has it, without faults of an earlier run, with the releases that cases need."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    undo_everything(turnout)
    if options.site:
        print("applying playbooks/site.yml (SITE=0 leaves the lab as it is)", flush=True)
        site = turnout.playbook("site")
        if site.rc:
            raise SystemExit(f"fault-matrix: site.yml failed on the lab:\n{site.tail}")
    for version in (OLD, NEW, SECOND_VERSION):
        turnout.publish(version)
    lay_anew(turnout)
    return turnout


def lay_anew(turnout: Turnout) -> None:
    """Lay the old version once more where hosts or settings are others than it was laid with.

    A release keeps the environment of its day. With one that no longer opens Redis, say, its workers would start in
    every rollback and do nothing.
    """
    digest = hashlib.sha256((turnout.lab.state_dir / "s3.json").read_bytes())
    for path in sorted((ROOT / "inventories" / "lab").rglob("*")):
        digest.update(path.read_bytes() if path.is_file() else b"")
    mark = turnout.work / "faults-laid"
    if mark.exists() and mark.read_text() == digest.hexdigest():
        return
    print("laying both versions with the settings of today", flush=True)
    turnout.ensure(SECOND_VERSION)
    for version in (OLD, NEW):
        run = turnout.deploy(version)
        if run.rc:
            raise SystemExit(f"fault-matrix: {version} could not be released:\n{run.tail}")
    mark.write_text(digest.hexdigest())


def main() -> int:
    """Run the matrix; return the exit code."""
    options = Options.read(dict(os.environ))
    try:
        one = plan.parsed(options.case) if options.case else None
    except ValueError as fault:
        raise SystemExit(f"fault-matrix: CASE: {fault}; to mend: make fault-matrix LIST=1") from None
    turnout = prepared(options)
    if one is not None:
        seen = Trial(turnout, one, 1).run()
        print(result_line(seen.as_json(), 1, 1))
        print(json.dumps(summary([seen.as_json()], commit=commit(), figures=seen.figures)))
        return 0 if seen.passed else 1
    state = State(turnout.work / "faults", options.seed)
    if not options.resume:
        state.begin()
    timelines = state.timelines()
    if not timelines:
        timelines = recorded(turnout)
        state.keep(timelines)
    before = state.done() if options.resume else []
    ran = {seen["case"] for seen in before}
    wanted = plan.chosen(plan.cases(timelines, options.seed, options.rounds), options.words)
    left = [case for case in wanted if case.name not in ran]
    if options.minutes:
        left = plan.within(left, options.minutes * 60, timelines)
    estimate_s = sum(plan.estimate_s(case, timelines) for case in left)
    counts = ", ".join(f"{len(line.moments)} tasks of a {action}" for action, line in timelines.items())
    print(
        f"{counts}, {plan.RANDOM_MOMENTS} random moments, {len(plan.FAULTS)} faults: {len(wanted)} cases chosen, "
        f"{len(wanted) - len(left)} left out or run before; {len(left)} to run, about {estimate_s / 60:.0f} minutes",
        flush=True,
    )
    if options.only_list:
        for case in left:
            print(f"  {case.name}")
        return 0 if left else 1
    print(f"what is found is kept in {state.path}", flush=True)
    found = before + run_cases(turnout, left, state, options.minutes * 60)
    turnout.ensure(OLD)
    print("\n" + table(found))
    for seen in found:
        if not seen["passed"]:
            print(f"FAILED {seen['case']}\n  " + "\n  ".join(seen["problems"]))
    again = next((seen["case"] for seen in found if not seen["passed"]), None)
    if again is not None:
        print(f"the first of them again: make fault-matrix CASE={shlex.quote(again)}")
    told = summary(found, seed=options.seed, commit=commit(), rounds=options.rounds, chosen=len(wanted))
    print(json.dumps(told))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # The case that was cut off may have left its fault: the next run takes every fault away first.
        print("\ninterrupted; make fault-matrix RESUME=1 goes on", file=sys.stderr)
        sys.exit(130)
