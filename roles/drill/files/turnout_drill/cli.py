"""turnout-drill: restores on this host.

    turnout-drill declare       declare a failure now, on the primary that standard input describes
    turnout-drill start         start the restore whose plan is on standard input, wait for it, print what it measured
    turnout-drill begin         the same, but wait only until its candidate may be asked, and print where
    turnout-drill wait ID       wait for the end of one that was begun, print what it measured
    turnout-drill cutover       put the restore that standard input names into the place of the old data
    turnout-drill run ID        what the unit runs that `start` makes
    turnout-drill remove ID     stop and remove one, whatever state it is in
    turnout-drill reap          remove those whose program is gone or whose time is over (a timer does this)
    turnout-drill list          show what is here

Exit codes: 0 done, 1 it ended without doing what was asked, 2 wrong use.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import failure, redis_restore
from .cutover import cut_over
from .engine import when
from .errors import BrokenOff
from .place import UNIT, Place, reap
from .record import Measured
from .redis_restore import RedisStory
from .shell import ProgramError, transient, unit_active, unit_ended
from .story import Story

PLANS = Path("/run/turnout-drill")
RECORDS = Path("/var/lib/turnout-drill-records")
_BASES = RECORDS / "directories"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\Z")


def main(arguments: list[str]) -> int:
    """Run a command; return the exit code."""
    os.umask(0o022)
    by_name: dict[str, Callable[[str], int]] = {"run": run, "remove": remove, "wait": wait}
    if len(arguments) == 2 and arguments[0] in by_name and _ID.match(arguments[1]):
        return by_name[arguments[0]](arguments[1])
    alone: dict[str, Callable[[], int]] = {
        "declare": lambda: told(lambda: failure.declare(json.load(sys.stdin))),
        "start": start,
        "begin": begin,
        "cutover": lambda: told(lambda: put_in_place(json.load(sys.stdin))),
        "reap": reap_all,
        "list": show,
    }
    if len(arguments) == 1 and arguments[0] in alone:
        return alone[arguments[0]]()
    print(__doc__ or "", file=sys.stderr)
    return 2


def put_in_place(plan: dict[str, Any]) -> dict[str, Any]:
    """Cut over to a restore of the store that the plan names."""
    return redis_restore.cut_over(plan) if plan["store"] == "redis" else cut_over(plan)


def reap_all() -> int:
    """Remove what dead drills left."""
    for base in bases():
        for name in reap(base, time.time()):
            print(f"removed {name}: its program was gone, or its time was over")
    return 0


def bases() -> list[str]:
    """Return the folders that restores lie in."""
    try:
        return _BASES.read_text().split("\n")[:-1]
    except OSError:
        return []


def remember(base: str) -> None:
    """Let the reaper know a folder that restores lie in."""
    if base not in bases():
        RECORDS.mkdir(parents=True, exist_ok=True, mode=0o755)
        with _BASES.open("a") as stream:
            stream.write(base + "\n")


def told(action: Callable[[], dict[str, Any]]) -> int:
    """Print the answer of an action, or why there is none."""
    try:
        print(json.dumps(action()))
    except BrokenOff as end:
        print(end.cause, file=sys.stderr)
        return 1
    except (OSError, ProgramError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def start() -> int:
    """Run a plan as a transient unit with a time limit, and print its record."""
    text = sys.stdin.read()
    name: str = json.loads(text)["id"]
    return launch(name, text) or wait(name)


def begin() -> int:
    """Run a plan as `start`; print where its candidate may be asked once it may, else the record of its end."""
    text = sys.stdin.read()
    plan = json.loads(text)
    name: str = plan["id"]
    failed = launch(name, text)
    if failed:
        return failed
    place = Place(plan["directory"], name)
    while not unit_ended(f"{UNIT}{name}.service"):
        asking = place.state().get("asking")
        if asking:
            print(json.dumps({"asking": asking}))
            return 0
        time.sleep(0.1)
    print(json.dumps({"measured": json.loads((RECORDS / f"{name}.json").read_text())}))
    return 0


def wait(name: str) -> int:
    """Print the record of a restore once its unit is over."""
    while not unit_ended(f"{UNIT}{name}.service"):
        time.sleep(0.1)
    print((RECORDS / f"{name}.json").read_text())
    return 0


def launch(name: str, text: str) -> int:
    """Start the transient unit of a plan; return 0, or the exit code where it cannot be.

    The unit does not depend on this process: it ends, and removes what it made, whoever is still there to see it.
    """
    plan = json.loads(text)
    if not _ID.match(name):
        print(f"{name!r} is no name of a restore: small letters, digits and dashes", file=sys.stderr)
        return 2
    PLANS.mkdir(mode=0o755, exist_ok=True)
    path = PLANS / f"{name}.plan"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    unit, program = f"{UNIT}{name}.service", os.path.realpath(sys.argv[0])
    try:
        transient(
            unit,
            [program, "run", name],
            {"RuntimeMaxSec": plan["limit_s"], "TimeoutStopSec": 60, "ExecStopPost": f"{program} remove {name}"},
        )
    except ProgramError as error:
        path.unlink(missing_ok=True)
        print(error, file=sys.stderr)
        return 1
    return 0


def run(name: str) -> int:
    """Run the plan of this id; remove everything afterwards, unless it is to be kept."""
    plan_file = PLANS / f"{name}.plan"
    plan: dict[str, Any] = json.loads(plan_file.read_text())
    plan_file.unlink()  # it holds secrets, and nobody else needs it
    remember(plan["directory"])
    measured = Measured(RECORDS / f"{name}.json", plan)
    story = (RedisStory if plan["store"] == "redis" else Story)(plan, measured)
    signal.signal(signal.SIGTERM, _stop)
    try:
        story.run()
    except KeyboardInterrupt:
        measured.data["causes"].append("the drill was stopped before its end")
    except Exception as error:
        measured.data["causes"].append(f"{type(error).__name__}: {error}")
    finish(story, measured, plan)
    return 0


def finish(story: Story, measured: Measured, plan: dict[str, Any]) -> None:
    """Remove the place (or keep a restore that succeeded, for `keep_s` seconds at most), and write the record's end."""
    sound = bool(measured.data["checks"]) and not measured.failed and not measured.data["causes"]
    if plan["keep"] and sound:
        state: dict[str, Any] = {"kept": True, "validated": True, "store": plan["store"]}
        if plan.get("keep_s"):
            state["deadline"] = time.time() + float(plan["keep_s"])
        story.place.say(state)
    else:
        story.place.remove()
        left = story.place.left()
        measured.check("removed", f"still there: {', '.join(left)}" if left else None)
    measured.data["ended"] = when(time.time())
    measured.save()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def remove(name: str) -> int:
    """Remove one place; its record says so where its program did not live to its end."""
    places = [Place(base, name) for base in bases()]
    if os.environ.get("INVOCATION_ID") and any(place.state().get("kept") for place in places):
        return 0  # the unit of a restore that succeeded has ended: its place stays, and what runs of it
    for place in places:
        place.remove()
    path = RECORDS / f"{name}.json"
    if path.exists():
        record = json.loads(path.read_text())
        if record.get("ended") is None:
            record["ended"] = when(time.time())
            record.setdefault("causes", []).append("the drill's program was killed before its end")
            path.write_text(json.dumps(record))
    return 0


def show() -> int:
    """Print what is here."""
    for base in bases():
        for folder in sorted(Path(base).glob("*/state.json")):
            name = folder.parent.name
            known = Place(base, name).state()
            state = "kept" if known.get("kept") else "left over"
            if known.get("cutting_over"):
                state = "half cut over, cut over to it again:"
            print(name, "running" if unit_active(f"{UNIT}{name}.service") else state, folder.parent)
    return 0
