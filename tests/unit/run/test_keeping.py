"""The keeper by a model: whatever happens in whatever order, a run goes on or is put back, within a lease and a beat.

Edges, playbook and clock are simulated; the keeper's decisions (`turnout.keeping`) are the real ones. Hypothesis looks
for an order of events in which a run is left to itself, or ended although nothing was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from turnout.keeping import (
    Action,
    Answer,
    EndBeat,
    Finish,
    Interrupt,
    Keeping,
    Kill,
    Limits,
    Playbook,
    PutBack,
    Seen,
    StartBeat,
    Tell,
)

LIMITS = Limits(beat_s=2.5, lease_s=10.0, ttl_s=30.0, kill_s=5.0)
EDGES = ("edge1", "edge2")
POLL_S = 0.1
LATENCY_S = 0.4
NEVER = 1e9


@dataclass
class SimulatedEdge:
    """An edge of the world: who holds its lock, whether its lease is armed, and how its answers come."""

    holds: bool = False
    armed: bool = False
    frozen: bool = False
    garbled: bool = False
    latency_s: float = LATENCY_S
    renewed_s: float = 0.0
    taken_over: bool = False
    told_armed: bool = False
    """What its last answer said of the lease: more nobody can know of an edge that is not heard."""


@dataclass
class World:
    """A run of a playbook, its edges, and the keeper that looks at them ten times a second."""

    keeping: Keeping = field(default_factory=lambda: Keeping.of(LIMITS, list(EDGES)))
    edges: dict[str, SimulatedEdge] = field(default_factory=lambda: {name: SimulatedEdge() for name in EDGES})
    now_s: float = 0.0
    playbook: Playbook = Playbook.RUNS
    said: str = ""
    taken_s: float | None = None
    releasing: bool = False
    deaf: bool = False
    """The playbook does not end by SIGINT."""
    keeper_sleeps_until_s: float = 0.0
    under_way: dict[str, tuple[float, bool, SimulatedEdge]] = field(default_factory=dict)
    """Beats: when they will be answered, and whether the lock was taken when they were sent."""
    done: list[tuple[float, Action]] = field(default_factory=list)
    hears_s: float = NEVER
    stopped_s: float = NEVER
    bad_s: float = NEVER
    """When it first was sure that this run must not go on by itself."""

    # What happens ----------------------------------------------------------------------------------------------------

    def take(self) -> None:
        for edge in self.edges.values():
            edge.holds, edge.renewed_s = True, self.now_s
        self.taken_s = self.now_s

    def arm(self) -> None:
        for edge in self.edges.values():
            edge.armed, edge.renewed_s = edge.holds, self.now_s

    def release(self) -> None:
        self.releasing = True
        for edge in self.edges.values():
            edge.holds = edge.armed = False

    def end(self, how: str) -> None:
        if self.playbook is Playbook.RUNS and not self.said:
            self.said = how
            if how == "failed" and self.taken_s is not None:
                self.bad_s = min(self.bad_s, self.now_s)

    def die(self) -> None:
        if not self.said:
            self.bad_s = min(self.bad_s, self.now_s)
        self.playbook = Playbook.GONE

    def stop(self) -> None:
        if self.playbook is Playbook.RUNS and not self.said:
            self.playbook, self.stopped_s = Playbook.STOPPED, self.now_s
            self.deaf = self.deaf or bool(self.when(Interrupt))  # once more, before it had ended

    def go_on(self) -> None:
        if self.playbook is Playbook.STOPPED:
            self.playbook, self.stopped_s = Playbook.RUNS, NEVER

    def lose(self, name: str) -> None:
        edge = self.edges[name]
        if edge.holds:
            edge.holds = edge.armed = False
            edge.taken_over = True

    # What the keeper does --------------------------------------------------------------------------------------------

    def carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.done.append((self.now_s, action))
            match action:
                case StartBeat(name):
                    assert name not in self.under_way, "two beats to one edge at once"
                    edge = self.edges[name]
                    due = NEVER if edge.frozen else self.now_s + edge.latency_s
                    self.under_way[name] = (due, self.taken_s is not None, edge)
                case EndBeat(name):
                    assert self.under_way.pop(name)
                case Interrupt():
                    self.playbook = Playbook.RUNS if self.playbook is Playbook.STOPPED else self.playbook
                    self.stopped_s = NEVER
                    self.hears_s = NEVER if self.deaf else self.now_s + 0.5
                case Kill():
                    self.playbook = Playbook.GONE
                case PutBack():
                    assert self.playbook is Playbook.GONE or self.said == "failed", "put back beside a living playbook"
                    self.carry_out(self.keeping.put_back_ended(0))
                case Tell() | Finish():
                    pass

    def answers(self) -> list[Answer]:
        ready = []
        for name, (due, after_taken, edge) in list(self.under_way.items()):
            if edge.frozen or self.now_s < due:
                continue
            del self.under_way[name]
            if edge.garbled:
                ready.append(Answer(name, "unheard"))
            elif edge.holds:
                edge.renewed_s, edge.told_armed = self.now_s, edge.armed
                ready.append(Answer(name, "held", lease=edge.armed))
            else:
                ready.append(Answer(name, "lost", words="another's"))
                # Nobody can tell "not yet" from "no more" by a beat that was sent before the lock was taken.
                sure = after_taken or self.keeping.edges[name].state == "held"
                if edge.taken_over and sure and not self.said and not self.releasing:
                    self.bad_s = min(self.bad_s, self.now_s)
        return ready

    def tick(self) -> None:
        """Let a tenth of a second pass."""
        self.now_s = round(self.now_s + POLL_S, 3)
        if self.now_s >= self.hears_s and not self.said and self.playbook is Playbook.RUNS:
            self.said = "failed"
        self.note_what_is_bad()
        if self.now_s < self.keeper_sleeps_until_s or self.finished:
            return
        seen = Seen(
            now_s=self.now_s,
            answers=tuple(self.answers()),
            playbook=self.playbook,
            said=self.said,
            taken_s=self.taken_s,
            releasing=self.releasing,
        )
        self.carry_out(self.keeping.step(seen))

    def note_what_is_bad(self) -> None:
        if self.said or self.releasing:
            return
        # A playbook that was stopped and goes on again while the keeper is stopped too is told by its edges alone.
        awake = self.now_s >= self.keeper_sleeps_until_s
        stopped = awake and self.now_s - self.stopped_s >= LIMITS.lease_s
        limit_s = LIMITS.lease_s if any(edge.told_armed for edge in self.edges.values()) else LIMITS.ttl_s
        silent = self.taken_s is not None and any(
            self.now_s - edge.renewed_s >= limit_s for edge in self.edges.values()
        )
        if stopped or silent:
            self.bad_s = min(self.bad_s, self.now_s)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL_S)):
            self.tick()

    # What is asked of it ---------------------------------------------------------------------------------------------

    def when(self, kind: type) -> list[float]:
        return [at for at, action in self.done if isinstance(action, kind)]

    @property
    def finished(self) -> bool:
        return bool(self.when(Finish))

    @property
    def outcome(self) -> str:
        return next((action.outcome for _, action in self.done if isinstance(action, Finish)), "")


def begun(**given_: bool) -> World:
    """A run that holds the lock, with traffic shifted, and some beats behind it."""
    world = World(**given_)
    world.pass_time(1)
    world.take()
    world.arm()
    world.pass_time(6)
    return world


# The four that were found ------------------------------------------------------------------------------------------


def test_a_beat_that_never_returns_is_given_up_and_delays_no_other_edge() -> None:
    world = begun()
    world.edges["edge2"].frozen = True
    frozen_s = world.now_s
    world.pass_time(9)
    sent = [at for at, action in world.done if action == StartBeat("edge1") and at > frozen_s]
    assert all(later - earlier <= LIMITS.beat_s + 2 * POLL_S for earlier, later in pairwise(sent))
    assert EndBeat("edge2") in [action for _, action in world.done]
    world.pass_time(LIMITS.lease_s)
    assert world.outcome == "put back"


def test_an_answer_that_cannot_be_read_counts_as_not_heard() -> None:
    world = begun()
    world.edges["edge1"].garbled = True
    garbled_s = world.now_s
    world.pass_time(LIMITS.lease_s + LIMITS.beat_s)
    assert world.outcome == "put back"
    assert world.when(PutBack)[0] - garbled_s <= LIMITS.lease_s + LIMITS.beat_s


def test_a_stopped_playbook_is_ended_after_one_lease() -> None:
    world = begun()
    world.stop()
    stopped_s = world.now_s
    world.pass_time(LIMITS.lease_s - 1)
    assert not world.when(Interrupt)
    world.pass_time(1 + LIMITS.beat_s)
    assert world.when(PutBack)
    assert world.when(PutBack)[0] - stopped_s <= LIMITS.lease_s + LIMITS.beat_s
    assert "Ctrl-Z" in world.keeping.why


def test_a_playbook_that_goes_on_within_a_lease_goes_on() -> None:
    world = begun()
    for _ in range(5):
        world.stop()
        world.pass_time(LIMITS.lease_s - 1)
        world.go_on()
        world.pass_time(1)
    world.end("ok")
    world.pass_time(1)
    assert world.outcome == "nothing to do"


def test_a_lost_lock_ends_the_playbook_at_once() -> None:
    world = begun()
    world.lose("edge2")
    lost_s = world.now_s
    world.pass_time(LIMITS.beat_s + 1)
    assert world.when(Interrupt)
    assert world.when(Interrupt)[0] - lost_s <= LIMITS.beat_s + LATENCY_S + 2 * POLL_S
    assert "edge2" in world.keeping.why
    world.pass_time(1)
    assert world.outcome == "put back"


def test_a_lock_that_was_lost_before_the_first_beat_heard_it_is_seen() -> None:
    world = World()
    world.pass_time(0.1)
    world.take()
    world.lose("edge1")
    world.pass_time(2 * LIMITS.beat_s + 1)
    assert world.when(Interrupt)


# What else there is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("awake_first", ["keeper", "playbook"])
def test_a_laptop_that_slept_ends_the_run_on_waking(awake_first: str) -> None:
    world = begun()
    world.stop()
    world.keeper_sleeps_until_s = world.now_s + 60
    world.pass_time(59)
    if awake_first == "playbook":
        world.go_on()
    world.pass_time(1)
    world.go_on()
    world.pass_time(POLL_S)
    assert world.when(Interrupt), "what it knew was a minute old"
    world.pass_time(1)
    assert world.outcome == "put back"


def test_a_beat_that_was_answered_before_the_sleep_is_as_old_as_the_sleep() -> None:
    world = begun()
    while not world.under_way:
        world.tick()
    world.keeper_sleeps_until_s = world.now_s + LIMITS.lease_s + 1
    world.pass_time(LIMITS.lease_s + 1.2)
    assert world.when(Interrupt)


def test_a_playbook_that_does_not_hear_is_killed() -> None:
    world = begun(deaf=True)
    world.lose("edge1")
    world.pass_time(LIMITS.beat_s + LIMITS.kill_s + 2)
    assert world.when(Kill)
    assert world.outcome == "put back"


def test_a_beat_under_way_renews_no_lease_of_a_run_that_is_to_end() -> None:
    world = begun()
    world.edges["edge1"].latency_s = 2.0
    world.lose("edge2")
    while not world.when(Interrupt):
        world.tick()
    assert not world.under_way


def test_one_that_cannot_be_killed_is_not_waited_for() -> None:
    keeping = Keeping.of(LIMITS, list(EDGES))
    now_s, actions = 0.0, []
    for _ in range(400):
        now_s += POLL_S
        answers = [Answer(a.edge, "lost") for a in actions if isinstance(a, StartBeat)]
        actions = keeping.step(Seen(now_s, Playbook.RUNS, taken_s=0.0, answers=tuple(answers)))
        if any(isinstance(action, PutBack) for action in actions):
            break
    assert now_s <= 2 * LIMITS.kill_s + LIMITS.beat_s + 1


def test_a_lock_that_was_given_back_is_not_lost() -> None:
    world = begun()
    world.release()
    world.pass_time(2 * LIMITS.ttl_s)
    assert not world.when(Interrupt)
    world.end("ok")
    world.pass_time(1)
    assert world.outcome == "nothing to do"


def test_a_run_that_was_refused_the_lock_is_not_put_back() -> None:
    world = World()
    world.pass_time(3)
    world.end("failed")
    world.pass_time(5)
    assert world.outcome == "nothing to do"


def test_a_run_that_may_hold_the_lock_is_put_back() -> None:
    world = World()
    world.edges["edge2"].frozen = True
    world.pass_time(0.2)
    world.die()
    world.pass_time(LIMITS.deadline_s + 1)
    assert world.outcome == "put back"


def test_a_lock_that_was_taken_while_the_run_was_cut_off_is_found() -> None:
    """The request for the lock was under way when the playbook died; the first question came before it."""
    world = World()
    world.pass_time(0.1)
    world.die()
    world.pass_time(0.9)
    world.edges["edge1"].holds = True
    world.pass_time(4)
    assert world.outcome == "put back"


def test_with_no_lease_an_edge_is_waited_for_until_its_lock_is_stale() -> None:
    world = World()
    world.take()
    world.pass_time(3)
    world.edges["edge1"].frozen = True
    world.pass_time(LIMITS.lease_s + LIMITS.beat_s)
    assert not world.when(Interrupt)
    world.pass_time(LIMITS.ttl_s - LIMITS.lease_s)
    assert world.when(Interrupt)


# Any order of events -----------------------------------------------------------------------------------------------

EVENTS = {
    "take": World.take,
    "arm": World.arm,
    "stop": World.stop,
    "go on": World.go_on,
    "die": World.die,
    "fail": lambda world: world.end("failed"),
    "end": lambda world: (world.release(), world.end("ok")),
    "deafen": lambda world: setattr(world, "deaf", True),
    "sleep": lambda world: setattr(world, "keeper_sleeps_until_s", world.now_s + 20),
    **{
        f"{what} {name}": (lambda world, name=name, act=act: act(world, name))
        for name in EDGES
        for what, act in {
            "lose": World.lose,
            "freeze": lambda world, name: setattr(world.edges[name], "frozen", True),
            "thaw": lambda world, name: setattr(world.edges[name], "frozen", False),
            "garble": lambda world, name: setattr(world.edges[name], "garbled", True),
            "mend": lambda world, name: setattr(world.edges[name], "garbled", False),
            "slow": lambda world, name: setattr(world.edges[name], "latency_s", 4.0),
            "quick": lambda world, name: setattr(world.edges[name], "latency_s", LATENCY_S),
        }.items()
    },
}
HISTORIES = st.lists(
    st.tuples(st.sampled_from(sorted(EVENTS)), st.sampled_from([0.0, 0.1, 0.3, 1.0, 3.0, 9.0, 12.0])), max_size=14
)


def live(history: list[tuple[str, float]], *, begin: bool) -> World:
    world = begun() if begin else World()
    for event, then_s in history:
        if not (
            event == "take"
            and (world.taken_s is not None or world.releasing or world.playbook is not Playbook.RUNS or world.said)
        ):
            EVENTS[event](world)  # type: ignore[operator]
        world.pass_time(then_s)
    return world


@given(HISTORIES, st.booleans())
@example([("stop", 12.0)], True)
@example([("lose edge1", 3.0)], True)
@example([("freeze edge2", 12.0)], True)
@example([("garble edge1", 12.0)], True)
@example([("sleep", 12.0), ("stop", 0.0)], True)
@example([("sleep", 0.0), ("take", 0.0), ("stop", 0.0)], False)
@example([("arm", 0.1), ("take", 0.0), ("lose edge1", 0.0)], False)
@example([("take", 0.3), ("sleep", 0.0), ("stop", 0.0)], False)
@settings(max_examples=400)
def test_within_a_lease_and_a_beat_the_run_goes_on_or_is_put_back(
    history: list[tuple[str, float]], begin: bool
) -> None:
    world = live(history, begin=begin)
    held = world.keeping.held_once
    world.pass_time(max(0.0, world.keeper_sleeps_until_s - world.now_s))
    world.pass_time(LIMITS.ttl_s + LIMITS.beat_s + LIMITS.kill_s + LIMITS.deadline_s)
    if world.bad_s < NEVER and (world.taken_s is not None or held):
        began = [*world.when(Interrupt), *world.when(PutBack), *world.when(Finish)]
        assert began, f"bad since {world.bad_s}, and nothing was done by {world.now_s}"
        awake_s = max(world.bad_s, world.keeper_sleeps_until_s)
        assert min(began) <= awake_s + 3 * POLL_S
        if world.said != "ok":
            assert world.when(PutBack), world.done[-5:]
            assert world.when(PutBack)[0] <= awake_s + (LIMITS.kill_s if world.deaf else LIMITS.beat_s) + 3 * POLL_S
    assert len(world.when(PutBack)) <= 1
    assert len(world.when(Finish)) <= 1


@given(st.lists(st.sampled_from([0.1, 0.7, 2.0, 5.0]), max_size=8), st.sampled_from([0.1, 1.0, 2.4]))
def test_a_run_to_which_nothing_happens_is_left_alone(pauses: list[float], latency_s: float) -> None:
    world = World()
    for edge in world.edges.values():
        edge.latency_s = latency_s
    world.pass_time(1)
    world.take()
    for pause in pauses:
        world.arm()
        world.pass_time(pause)
    world.release()
    world.pass_time(3)
    world.end("ok")
    world.pass_time(1)
    assert world.outcome == "nothing to do"
    assert not world.when(Interrupt)
    assert not world.when(PutBack)
    assert not world.under_way, "a beat was left behind"


@given(HISTORIES)
def test_no_beat_renews_a_lease_once_the_run_is_to_end(history: list[tuple[str, float]]) -> None:
    world = live([*history, ("lose edge1", 3.0)], begin=True)
    world.pass_time(LIMITS.lease_s)
    ended = [*world.when(Interrupt), *world.when(PutBack)]
    if ended:
        assert all(at <= min(ended) for at in world.when(StartBeat))
