"""Which cases the matrix has, and in which order: pure, so that one seed always gives the same.

A case is an action (deploy, rollback), a moment of it and a fault. Moments are the beginnings of all tasks, as an
undisturbed run showed them, and random ones drawn over the same run. The order is made of rounds: in each round every
moment gets one fault, the next round gives it the next one. Every beginning of this order is therefore a spread sample
over moments and faults alike, and after as many rounds as there are faults it holds every combination once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACTIONS = ("deploy", "rollback")
RANDOM_MOMENTS = 100
EDGES = ("edge1", "edge2")
APPS = ("app1", "app2")
LEASE_S = 10.0  # traffic_lease_s
SLACK_S = 15.0  # beyond the lease, until every edge is on one color by itself
ASLEEP_S = 60.0
_COLOR = re.compile(r"\b(blue|green)\b")  # as plugins/turnout_moments.py writes moments down
_AFTER = re.compile(r"(?P<key>.*) \+(?P<s>\d+\.\d+)s")


@dataclass(frozen=True)
class Fault:
    """A kind of fault; `hosts` are those of which one is hit."""

    name: str
    what: str
    hosts: tuple[str, ...] = ()
    hold_s: float = 0.0
    """How long it lasts at least, or about."""
    from_run_end: bool = False
    """Whether the run goes on under it: the edges' time then begins with the run's end."""


FAULTS = (
    Fault("playbook-killed", "SIGKILL of the playbook's process group; the keeper lives on"),
    Fault("controller-killed", "SIGKILL of playbook, keeper and all that they started", hold_s=12),
    Fault("ctrl-c", "SIGINT to the playbook's process group"),
    Fault(
        "ctrl-z-continued", "SIGSTOP of the playbook's process group for longer than a lease, then SIGCONT", hold_s=18
    ),
    Fault("ctrl-z-ended", "SIGSTOP of the playbook's process group for longer than a lease, then SIGKILL", hold_s=18),
    Fault("asleep", "SIGSTOP of playbook, keeper and ssh for 60 s, then SIGCONT", hold_s=ASLEEP_S),
    Fault("cut-to-edge", "what the controller sends to the SSH port of an edge is lost", EDGES, 18),
    Fault("cut-from-edge", "what the SSH port of an edge sends to the controller is lost", EDGES, 18),
    Fault("cut-both", "both are lost", EDGES, 18),
    Fault("edge-frozen", "an edge stands still", EDGES, 18),
    Fault("edge-rebooted", "an edge loses its power, or restarts in order", EDGES, 4),
    Fault("app-frozen", "an application host stands still", APPS, 18, from_run_end=True),
    Fault("app-rebooted", "an application host loses its power, or restarts in order", APPS, 4, from_run_end=True),
    Fault("disk-full", "the disk with an edge's state and map has no byte left", EDGES, 12, from_run_end=True),
    Fault("clock-forward", "the wall clock of an edge is an hour ahead", EDGES, 0, from_run_end=True),
    Fault("clock-back", "the wall clock of an edge is an hour behind", EDGES, 0, from_run_end=True),
    Fault("second-deploy", "somebody else deploys another version", (), 15, from_run_end=True),
    Fault("second-rollback", "somebody else rolls back", (), 5, from_run_end=True),
)
FAULT = {fault.name: fault for fault in FAULTS}


@dataclass(frozen=True)
class Moment:
    """A moment of a run: at the beginning of a task, or some time after it."""

    key: str
    after_s: float = 0.0
    drawn: bool = False

    def __str__(self) -> str:
        return f"{self.key} +{self.after_s:.3f}s" if self.drawn else self.key


@dataclass(frozen=True)
class Case:
    """One case. Its name tells all of it, and stays the same for one seed and one timeline."""

    action: str
    fault: str
    host: str
    orderly: bool
    """For a reboot: whether in order, not by a power cut."""
    moment: Moment

    @property
    def name(self) -> str:
        """Return what a person picks it by."""
        way = (" in order" if self.orderly else " power cut") if self.fault.endswith("rebooted") else ""
        return f"{self.action} / {self.fault}{f' {self.host}' if self.host else ''}{way} / {self.moment}"


def parsed(name: str) -> Case:
    """Return the case of a name, whether or not this machine draws it; ValueError tells what is wrong with it."""
    parts = name.strip().split(" / ", 2)
    if len(parts) != 3:
        raise ValueError(f"{name!r} is not ACTION / FAULT [HOST] / MOMENT")
    action, words, key = parts[0], parts[1], _COLOR.sub("COLOR", parts[2])
    fault, _, where = words.partition(" ")
    host, _, way = where.partition(" ")
    after = _AFTER.fullmatch(key)
    moment = Moment(after["key"], float(after["s"]), drawn=True) if after else Moment(key)
    if action not in ACTIONS or fault not in FAULT or (host not in FAULT[fault].hosts if FAULT[fault].hosts else host):
        raise ValueError(f"{name!r} is no action ({', '.join(ACTIONS)}) with a fault ({', '.join(FAULT)}) of its hosts")
    return Case(action, fault, host, way == "in order", moment)


@dataclass(frozen=True)
class Timeline:
    """When the tasks of an undisturbed run began, in seconds from the first, and when it ended."""

    moments: tuple[tuple[str, float], ...]
    end_s: float

    def drawn(self, at_s: float) -> Moment:
        """Return the moment at a time of that run, as a task and the time after it: machines differ in pace."""
        key, since = max((moment for moment in self.moments if moment[1] <= at_s), key=lambda moment: moment[1])
        return Moment(key, round(at_s - since, 3), drawn=True)

    def at_s(self, moment: Moment) -> float:
        """Return when a moment was in that run."""
        return dict(self.moments)[moment.key] + moment.after_s


def moments(timelines: dict[str, Timeline], seed: int, drawn: int = RANDOM_MOMENTS) -> list[tuple[str, Moment]]:
    """Return every moment to cut off at: all tasks of both actions, and `drawn` random ones, in a seeded order.

    Random ones are shared by the actions as their tasks are: where one is long, more of them fall into it.
    """
    chance = random.Random(f"moments {seed}")  # noqa: S311 - a draw, not a secret
    found = [(action, Moment(key)) for action, line in sorted(timelines.items()) for key, _ in line.moments]
    actions = sorted(timelines)
    for number in range(drawn):
        action = actions[number % len(actions)]
        found.append((action, timelines[action].drawn(chance.uniform(0, timelines[action].end_s))))
    chance.shuffle(found)
    return found


def cases(timelines: dict[str, Timeline], seed: int, rounds: int = 1, drawn: int = RANDOM_MOMENTS) -> list[Case]:
    """Return the cases of so many rounds, in the order in which they are run."""
    chance = random.Random(f"cases {seed}")  # noqa: S311
    faults = list(FAULTS)
    chance.shuffle(faults)
    found = []
    for turn in range(min(rounds, len(faults))):
        for number, (action, moment) in enumerate(moments(timelines, seed, drawn)):
            fault = faults[(number + turn) % len(faults)]
            host = chance.choice(fault.hosts) if fault.hosts else ""
            found.append(Case(action, fault.name, host, chance.random() < 0.5, moment))
    return found


def chosen(of: Iterable[Case], words: str) -> list[Case]:
    """Return the cases whose name has every part of a filter; parts stand between semicolons."""
    wanted = [part.strip() for part in words.split(";") if part.strip()]
    return [case for case in of if all(part.lower() in case.name.lower() for part in wanted)]


def estimate_s(case: Case, timelines: dict[str, Timeline]) -> float:
    """Return about how long a case takes: the run up to its moment, or all of it, the fault, and what is around."""
    fault, line = FAULT[case.fault], timelines[case.action]
    run = line.end_s if fault.from_run_end else line.at_s(case.moment)
    reset, load, mend, proof = (12.0 if case.action == "rollback" else 2.0), 3.0, 8.0, 6.0
    return reset + load + run + fault.hold_s + mend + proof


def within(of: Sequence[Case], budget_s: float, timelines: dict[str, Timeline]) -> list[Case]:
    """Return as many cases from the beginning as fit into a time."""
    found, used = [], 0.0
    for case in of:
        used += estimate_s(case, timelines)
        if used > budget_s and found:
            break
        found.append(case)
    return found
