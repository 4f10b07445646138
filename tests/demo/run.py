"""The main job on the lab: a release, a release under load, a rollback, and a faulty release that is refused.

Exit code 0 only where all of it came out as told; the last table says what each step did and how long it took.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from harness import BIN, ROOT, Load, Run, Turnout, sample_digest

# A name of its own at every run: what was taken back once is quarantined.
FAULTY = f"1.2.{int(time.time())}"
FAULTY_STEP = f"deploy faulty {FAULTY}"
RATE = 100  # requests a second over both edges while versions change


@dataclass
class Step:
    """One row of the summary."""

    what: str
    seconds: float
    outcome: str
    under_load: bool = False
    requests: int | None = None
    failed: int | None = None


def main() -> int:
    """Run the demo; return the exit code."""
    steps: list[Step] = []
    started = time.monotonic()
    say("the lab: seven real hosts")
    lab_up = timed(lambda: subprocess.run([str(BIN / "turnout"), "lab", "up"], check=True, cwd=ROOT))
    steps.append(Step("lab up", lab_up, "seven hosts answer"))
    turnout = Turnout(source=f"s3://releases/demo-{sample_digest()}")

    say("HAProxy, PostgreSQL, Redis, Prometheus: playbooks/site.yml")
    site = turnout.playbook("site", show=True)
    expect(site.rc == 0, "site.yml failed")
    steps.append(Step("site.yml", site.seconds, "hosts are provisioned"))

    say(f"build, sign and publish 1.0.0, 1.1.0 and {FAULTY}")
    took = timed(lambda: publish(turnout))
    steps.append(Step("build and publish", took, f"3 releases in {turnout.source.partition('/demo')[0]}"))

    before_users(turnout, steps)
    say(f"from here on users are served: {RATE} requests/s over both edges")
    with turnout.load(rate=RATE) as load:
        under_load(turnout, load, steps)
    count(load, steps)

    say("how it stands: playbooks/status.yml")
    turnout.playbook("status", show=True)
    show_summary(steps, time.monotonic() - started)
    return 0


def before_users(turnout: Turnout, steps: list[Step]) -> None:
    """Show the first release, after a checklist that is green, and a checklist that stops a release."""
    say("release 1.0.0, once the checklist is all green")
    run = turnout.deploy("1.0.0", show=True)
    expect(re.search(r"\b\d+ passed, \d+ not configured", run.out) is not None, "the checklist is not green")
    steps.append(Step("deploy 1.0.0", run.seconds, served(turnout, run, "1.0.0")))

    say("1.1.0 with a table locked by a forgotten transaction, a push service that is down, and a freeze window")
    run = stopped_by_three(turnout)
    expect(run.rc != 0, "the release was let in")
    expect(all(name in run.out for name in STOPPERS), "not all three failures were shown")
    expect(turnout.in_service() == "1.0.0", "1.0.0 is no longer in service")
    steps.append(Step("deploy 1.1.0, three failures", run.seconds, "stopped before anything was touched"))


def under_load(turnout: Turnout, load: Load, steps: list[Step]) -> None:
    """Show a judged release, a rollback, a release that is taken back, a backup and a drill, while users are served."""

    def step(what: str, action: Callable[[], Run], outcome: Callable[[Run], str]) -> None:
        with load.mark(what):
            run = action()
        steps.append(Step(what, run.seconds, outcome(run), under_load=True))

    say("release 1.1.0 over it, judged")
    step(
        "deploy 1.1.0 under load",
        lambda: turnout.judged("1.1.0", [], show=True),
        lambda run: served(turnout, run, "1.1.0"),
    )

    say("roll back")
    step("rollback under load", lambda: turnout.rollback(show=True), lambda run: served(turnout, run, "1.0.0"))

    say(f"release {FAULTY}, which fails one answer in two once users reach it")
    step(
        FAULTY_STEP,
        lambda: turnout.judged(FAULTY, [("has 5 % of the traffic", lambda: turnout.arm(FAULTY))], show=True),
        lambda run: taken_back(turnout, run),
    )

    say("back up")
    step(
        "backup under load",
        lambda: turnout.playbook("backup", "-e", "type=full", show=True),
        lambda run: succeeded(run, "PostgreSQL and Redis"),
    )

    say("declare a failure, restore, prove it by the release's own API and worker, remove it all")
    step(
        "restore drill under load",
        lambda: turnout.playbook("restore_drill", show=True),
        lambda run: succeeded(run, drilled(turnout)),
    )


def count(load: Load, steps: list[Step]) -> None:
    """Fill in what users saw of each step; only the faulty release may have failed them, and nobody between steps."""
    report = load.report
    for row in steps:
        if row.under_load:
            seen = report["windows"][row.what]
            row.requests, row.failed = seen["count"], seen["failed"]
            expect(row.failed == 0 or row.what == FAULTY_STEP, f"requests were lost: {row.what}")
    in_steps = sum(row.failed or 0 for row in steps)
    expect(report["failed"] == in_steps, "requests were lost between the steps")


def publish(turnout: Turnout) -> None:
    """Build and publish the three releases where the store lacks them."""
    turnout.publish("1.0.0")
    turnout.publish("1.1.0")
    turnout.publish(FAULTY, "5xx=0.5", armed=True)


STOPPERS = ("FAIL postgres-transactions@data1", "FAIL outgoing@push from app1", "FAIL freeze@holidays")


def stopped_by_three(turnout: Turnout) -> Run:
    """Deploy 1.1.0 while three preconditions do not hold; return the run."""
    checklist = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/checklist.yml").read_text())["checklist"]
    checklist["freeze"] = [
        {"name": "holidays", "zone": "Europe/Berlin", "from": "2020-01-01 00:00", "to": "2099-01-01 00:00"}
    ]
    checklist["outgoing"] = [{"name": "push", "url": f"http://{turnout.address('mon1')}:9/health"}]
    file = turnout.work / "demo-checklist.yml"
    file.write_text(yaml.safe_dump({"checklist": checklist}))
    with turnout.forgotten_transaction():
        return turnout.deploy("1.1.0", "-e", f"@{file}", show=True)


def served(turnout: Turnout, run: Run, version: str) -> str:
    """Check that a run succeeded and a version is in service on both edges; return the words for it."""
    expect(run.rc == 0, "the playbook failed")
    expect(turnout.in_service() == version, f"{version} is not in service")
    return f"{version} serves"


def taken_back(turnout: Turnout, run: Run) -> str:
    """Check that a release was refused and the one before is in service."""
    expect(run.rc != 0, "the faulty release was let in")
    expect(turnout.in_service() == "1.0.0", "1.0.0 is no longer in service")
    return "taken back by itself; 1.0.0 serves"


def succeeded(run: Run, outcome: str) -> str:
    """Check that a playbook succeeded; return what came of it."""
    expect(run.rc == 0, "the playbook failed")
    return outcome


def drilled(turnout: Turnout) -> str:
    """Return RPO and RTO of the last drill in the ledger, as words."""
    entries = [entry for entry in turnout.edge("edge1")["ledger"] if entry.get("kind") == "drill"]
    last = entries[-1]
    measured = sum(phase["seconds"] for phase in last["phases"] if phase["source"] == "measured")
    return f"RPO {last['rpo']['seconds']:.1f} s, RTO {last['rto_seconds']:.1f} s, {measured:.1f} s of it measured"


def expect(holds: bool, what: str) -> None:
    """End the demo where something did not come out as told."""
    if not holds:
        raise SystemExit(f"demo: {what}")


def timed(action: Callable[[], object]) -> float:
    """Do something; return the seconds it took."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def say(what: str) -> None:
    """Print what comes next."""
    print(f"\n=== {what}", flush=True)


def show_summary(steps: list[Step], total_s: float) -> None:
    """Print the table."""
    print(f"\n{'STEP':<30}{'SECONDS':>9}  {'REQUESTS':>9}{'FAILED':>8}  OUTCOME")
    for step in steps:
        requests = "-" if step.requests is None else str(step.requests)
        failed = "-" if step.failed is None else str(step.failed)
        print(f"{step.what:<30}{step.seconds:>9.1f}  {requests:>9}{failed:>8}  {step.outcome}")
    print(f"{'all of it':<30}{total_s:>9.1f}")


if __name__ == "__main__":
    sys.exit(main())
