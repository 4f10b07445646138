"""What the keeper decides: a state machine that knows no process, no edge and no clock.

`Keeping.step` is told what is seen at a moment, and answers what is to be done. All times are seconds of one clock that
goes on while the machine sleeps (CLOCK_BOOTTIME), so that a laptop that wakes up knows how old its knowledge is.

The promise: a run is either heard on every edge, or it is ended and put back. A run is ended at once when an edge says
that the lock is lost; after one lease when an edge was not heard while a lease is armed, or when the playbook was
stopped (Ctrl-Z: nobody would execute a verdict); after the lock's time to live when an edge was not heard otherwise.
What cannot be read counts as not heard, and a beat counts from when it was sent: the edge cannot have renewed anything
earlier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

ASKED_AGAIN_S = 1.0  # a run that was cut off just now may have a request for the lock under way: it is asked twice
TIMES_ASKED = 2


class Playbook(Enum):
    """What the system says of the playbook's main process."""

    RUNS = "runs"
    STOPPED = "stopped"
    GONE = "gone"


class Stage(Enum):
    """How far the keeper is."""

    WATCHING = "watching"
    ENDING = "ending the playbook"
    ASKING = "asking whether the run held the lock"
    PUTTING_BACK = "putting back"
    DONE = "done"


@dataclass(frozen=True)
class Limits:
    """The times that the keeper goes by, in seconds."""

    beat_s: float
    """Between two beats to one edge."""
    lease_s: float
    """After so long without a beat an edge goes back by itself."""
    ttl_s: float
    """After so long without a beat another run may take the lock."""
    kill_s: float = 5.0
    """How long an interrupted playbook has to end by itself."""

    @property
    def deadline_s(self) -> float:
        """How long one beat may take. Two fit into a lease."""
        return max(min(self.lease_s / 2, 5.0), self.beat_s)


@dataclass(frozen=True)
class Answer:
    """What an edge said to a beat: `held`, `lost` (the lock is not this run's), or `unheard` for anything else."""

    edge: str
    state: Literal["held", "lost", "unheard"]
    lease: bool = False
    words: str = ""


@dataclass(frozen=True)
class Seen:
    """What is to be seen at a moment."""

    now_s: float
    playbook: Playbook
    said: str = ""
    """How the playbook says that it ended: `ok`, `failed`, or nothing yet."""
    taken_s: float | None = None
    """When the run took the lock on the last edge; None before it has told so."""
    releasing: bool = False
    """The run has told that it is about to give the lock back."""
    answers: tuple[Answer, ...] = ()
    """Of beats that have ended since the last look. Looked at before the files that give `taken_s` and `releasing`."""


@dataclass(frozen=True)
class StartBeat:
    """Send a beat to an edge."""

    edge: str


@dataclass(frozen=True)
class EndBeat:
    """End a beat that has taken too long, or whose answer nobody needs."""

    edge: str


@dataclass(frozen=True)
class Tell:
    """Write down what is known of the edges, for the callback plugin's gate."""


@dataclass(frozen=True)
class Interrupt:
    """Have the playbook end, by SIGINT."""

    why: str


@dataclass(frozen=True)
class Kill:
    """End a playbook that did not end by itself."""


@dataclass(frozen=True)
class PutBack:
    """Run `rollback.yml` for this run."""

    why: str


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do."""

    outcome: str
    code: int = 0


Action = StartBeat | EndBeat | Tell | Interrupt | Kill | PutBack | Finish


@dataclass
class Edge:
    """What is known of one edge."""

    state: Literal["held", "lost", "unheard"] = "unheard"
    lease: bool = False
    heard_s: float | None = None
    """When the last beat that it answered was sent; None before the run held its lock."""
    sent_s: float | None = None
    """When the beat under way was sent."""
    sent_after_taken: bool = False
    next_s: float = 0.0
    refused: bool = False
    """Its last answer: this run does not hold the lock here."""
    lost_words: str = ""


@dataclass
class Keeping:
    """One run's keeper, from its start to its end."""

    limits: Limits
    edges: dict[str, Edge]
    stage: Stage = Stage.WATCHING
    why: str = ""
    held_once: bool = False
    stopped_since_s: float | None = None
    looked_s: float | None = None
    """When it looked last: what a keeper finds that was stopped itself may be as old as that."""
    since_s: float = 0.0
    killed_s: float | None = None
    asked: int = 0
    ask_at_s: float = 0.0
    waiting: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, limits: Limits, edges: list[str]) -> Keeping:
        """Return a keeper's state at its start."""
        return cls(limits, {name: Edge() for name in edges})

    @property
    def armed(self) -> bool:
        """Tell whether any edge said last that a lease is armed."""
        return any(edge.lease for edge in self.edges.values())

    # One look ------------------------------------------------------------------------------------------------------

    def step(self, seen: Seen) -> list[Action]:
        """Take in what is seen; return what is to be done, in this order."""
        actions = self._hear(seen)
        self._note_stop(seen)
        if self.stage is Stage.WATCHING:
            actions += self._watch(seen)
        elif self.stage is Stage.ENDING:
            actions += self._end(seen)
        if self.stage is Stage.ASKING:
            actions += self._ask(seen)
        return actions

    def put_back_ended(self, code: int) -> list[Action]:
        """Take in how `rollback.yml` ended."""
        self.stage = Stage.DONE
        return [Finish("put back" if code == 0 else "put back, not everywhere", code)]

    def _hear(self, seen: Seen) -> list[Action]:
        """Take in answers, and end the beats that took too long."""
        if seen.taken_s is not None:
            self.held_once = True
            for edge in self.edges.values():
                edge.heard_s = seen.taken_s if edge.heard_s is None else edge.heard_s
        news = False
        for answer in seen.answers:
            self._take(answer, seen)
            news = True
        actions: list[Action] = []
        for name, edge in self.edges.items():
            if edge.sent_s is not None and seen.now_s - edge.sent_s >= self.limits.deadline_s:
                actions.append(EndBeat(name))
                self._take(Answer(name, "unheard", words="no answer in time"), seen)
                news = True
        return [*actions, Tell()] if news else actions

    def _take(self, answer: Answer, seen: Seen) -> None:
        edge = self.edges[answer.edge]
        if edge.sent_s is None:
            return  # of a beat that was given up
        sent_s, edge.sent_s = edge.sent_s, None
        self.waiting.discard(answer.edge)
        edge.refused = answer.state == "lost"
        if answer.state == "held":
            edge.state, edge.lease = "held", answer.lease
            edge.heard_s = sent_s
            self.held_once = True
        elif answer.state == "lost" and not seen.releasing and (edge.state == "held" or edge.sent_after_taken):
            edge.state, edge.lease, edge.lost_words = "lost", False, answer.words
        elif edge.state == "held":
            edge.state = "unheard"

    def _note_stop(self, seen: Seen) -> None:
        if seen.playbook is not Playbook.STOPPED:
            self.stopped_since_s = None
        elif self.stopped_since_s is None:
            known_s = seen.taken_s if self.looked_s is None else self.looked_s
            self.stopped_since_s = seen.now_s if known_s is None else min(known_s, seen.now_s)
        self.looked_s = seen.now_s

    # While the playbook runs -----------------------------------------------------------------------------------------

    def _watch(self, seen: Seen) -> list[Action]:
        if seen.said == "ok":
            return self._finish("nothing to do")
        if seen.said or seen.playbook is Playbook.GONE:
            return self._ended(seen)
        self.why = self._reason_to_end(seen)
        if self.why:
            self.stage, self.since_s = Stage.ENDING, seen.now_s
            return [*self._end_beats(), Interrupt(self.why)]
        return self._due_beats(seen)

    def _reason_to_end(self, seen: Seen) -> str:
        for name, edge in self.edges.items():
            if edge.state == "lost":
                return f"{name} says that this run lost its lock ({edge.lost_words or 'without a reason'})"
        if self.stopped_since_s is not None and seen.now_s - self.stopped_since_s >= self.limits.lease_s:
            return (
                f"the playbook was stopped (Ctrl-Z) for {seen.now_s - self.stopped_since_s:.0f} s, "
                f"longer than one lease ({self.limits.lease_s:g} s)"
            )
        if not self.held_once or seen.releasing:
            return ""
        limit_s, name_of = (self.limits.lease_s, "lease") if self.armed else (self.limits.ttl_s, "lock's time to live")
        for name, edge in self.edges.items():
            if edge.heard_s is not None and seen.now_s - edge.heard_s >= limit_s:
                return f"{name} was not heard for {seen.now_s - edge.heard_s:.0f} s ({name_of}: {limit_s:g} s)"
        return ""

    def _due_beats(self, seen: Seen) -> list[Action]:
        actions: list[Action] = []
        for name, edge in self.edges.items():
            if edge.sent_s is None and seen.now_s >= edge.next_s:
                edge.next_s = seen.now_s + self.limits.beat_s
                actions.append(self._send(name, seen))
        return actions

    def _send(self, name: str, seen: Seen) -> StartBeat:
        edge = self.edges[name]
        edge.sent_s, edge.sent_after_taken = seen.now_s, seen.taken_s is not None
        return StartBeat(name)

    def _end_beats(self) -> list[Action]:
        """End the beats under way: from here on the leases may run out, and lost time is the users'."""
        under_way = [name for name, edge in self.edges.items() if edge.sent_s is not None]
        for name in under_way:
            self.edges[name].sent_s = None
        return [EndBeat(name) for name in under_way]

    # At its end ------------------------------------------------------------------------------------------------------

    def _end(self, seen: Seen) -> list[Action]:
        """See an interrupted playbook end."""
        if seen.said == "ok":
            return self._finish("nothing to do")
        if seen.said or seen.playbook is Playbook.GONE:
            return self._ended(seen)
        if self.killed_s is None:
            if seen.now_s - self.since_s < self.limits.kill_s:
                return []
            self.killed_s = seen.now_s
            return [Kill()]
        if seen.now_s - self.killed_s < self.limits.kill_s:
            return []
        return self._ended(seen)  # it cannot even be killed: nobody waits for it

    def _ended(self, seen: Seen) -> list[Action]:
        if not self.why:
            failed = seen.said == "failed"
            self.why = "the run failed" if failed else "the run's process ended before its work was done"
        actions = self._end_beats()
        if self.held_once:
            return [*actions, self._put_back()]
        self.stage, self.asked, self.waiting, self.ask_at_s = Stage.ASKING, 0, set(), seen.now_s
        return actions

    def _put_back(self) -> PutBack:
        self.stage = Stage.PUTTING_BACK
        return PutBack(self.why)

    def _ask(self, seen: Seen) -> list[Action]:
        """Ask every edge whether this run holds its lock: one that cannot be asked may hold it."""
        if self.held_once:
            return [*self._end_beats(), self._put_back()]
        if self.waiting or seen.now_s < self.ask_at_s:
            return []
        if self.asked and not all(edge.refused for edge in self.edges.values()):
            return [self._put_back()]
        if self.asked == TIMES_ASKED:
            return self._finish("nothing to do")
        self.asked += 1
        self.ask_at_s = seen.now_s + ASKED_AGAIN_S
        self.waiting = set(self.edges)
        return [self._send(name, seen) for name in self.edges]

    def _finish(self, outcome: str) -> list[Action]:
        actions = self._end_beats()
        self.stage = Stage.DONE
        return [*actions, Finish(outcome)]
