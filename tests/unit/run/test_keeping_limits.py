"""The keeper's limits, to the moment: what it answers just before each of them and at it, and in which words."""

from __future__ import annotations

import pytest
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

LIMITS = Limits(beat_s=2.5, lease_s=10.0, ttl_s=30.0)
BOTH = [StartBeat("edge1"), StartBeat("edge2")]
JUST = 0.001  # before
LATE = pytest.mark.parametrize("late_s", [0.0, 0.3], ids=["at it", "after it"])


class Line:
    """A keeper of two edges that is shown one moment after another."""

    def __init__(self) -> None:
        self.keeping = Keeping.of(LIMITS, ["edge1", "edge2"])

    def see(
        self,
        now_s: float,
        *answers: Answer,
        playbook: Playbook = Playbook.RUNS,
        said: str = "",
        taken_s: float | None = None,
        releasing: bool = False,
    ) -> list[Action]:
        return self.keeping.step(Seen(now_s, playbook, said, taken_s, releasing, answers))


def both(state: str, *, lease: bool = False, words: str = "") -> list[Answer]:
    return [Answer(name, state, lease, words) for name in ("edge1", "edge2")]  # type: ignore[arg-type]


def kept(*, lease: bool = True) -> Line:
    """A run that took its lock at 0 and was heard on both edges at 0.4, by beats that were sent at 0."""
    line = Line()
    assert line.see(0.0, taken_s=0.0) == BOTH
    assert line.see(0.4, *both("held", lease=lease), taken_s=0.0) == [Tell()]
    return line


@pytest.mark.parametrize(
    ("beat_s", "lease_s", "deadline_s"), [(2.5, 10.0, 5.0), (2.5, 60.0, 5.0), (1.0, 6.0, 3.0), (8.0, 10.0, 8.0)]
)
def test_a_beat_has_half_a_lease_five_seconds_at_most_and_never_less_than_its_turn(
    beat_s: float, lease_s: float, deadline_s: float
) -> None:
    assert Limits(beat_s, lease_s, 60.0).deadline_s == deadline_s


@LATE
def test_a_beat_is_sent_when_its_turn_has_come_counted_from_the_one_before(late_s: float) -> None:
    line = kept()
    assert line.see(2.5 - JUST, taken_s=0.0) == []
    assert line.see(3.1, taken_s=0.0) == BOTH
    assert line.see(3.2, *both("held"), taken_s=0.0) == [Tell()]
    assert line.see(5.6 - JUST, taken_s=0.0) == []
    assert line.see(5.6 + late_s, taken_s=0.0) == BOTH


@LATE
def test_a_beat_is_given_up_at_its_deadline_and_the_next_one_sent(late_s: float) -> None:
    line = kept()
    assert line.see(2.5, taken_s=0.0) == BOTH
    assert line.see(2.6, Answer("edge1", "held", lease=True), taken_s=0.0) == [Tell()]
    assert line.see(5.0, taken_s=0.0) == [StartBeat("edge1")]
    assert line.see(7.5 - JUST, Answer("edge1", "held", lease=True), taken_s=0.0) == [Tell()]
    assert line.see(7.5 + late_s, taken_s=0.0) == [EndBeat("edge2"), Tell(), *BOTH]
    assert line.keeping.edges["edge2"].state == "unheard"


def test_an_edge_counts_as_heard_when_the_beat_was_sent_that_it_answered() -> None:
    line = kept()
    assert line.see(2.5, taken_s=0.0) == BOTH
    line.see(3.5, Answer("edge1", "held", lease=True), Answer("edge2", "unheard"), taken_s=0.0)
    assert [edge.heard_s for edge in line.keeping.edges.values()] == [2.5, 0.0]


@pytest.mark.parametrize(
    ("lease", "limit_s", "why"),
    [
        (True, 10.0, "edge1 was not heard for 10 s (lease: 10 s)"),
        (False, 30.0, "edge1 was not heard for 30 s (lock's time to live: 30 s)"),
    ],
)
@pytest.mark.parametrize("taken_s", [0.0, 7.0])
@LATE
def test_an_edge_that_is_not_heard_ends_the_run_at_the_limit(
    lease: bool, limit_s: float, why: str, taken_s: float, late_s: float
) -> None:
    line = Line()
    line.see(taken_s, taken_s=taken_s)
    line.see(taken_s + 0.4, *both("held", lease=lease), taken_s=taken_s)
    line.see(taken_s + 2.5, taken_s=taken_s)
    assert not [a for a in line.see(taken_s + limit_s - JUST, taken_s=taken_s) if isinstance(a, Interrupt)]
    assert line.see(taken_s + limit_s + late_s, taken_s=taken_s)[-1] == Interrupt(why)


def test_an_edge_that_was_never_heard_counts_from_the_lock() -> None:
    line = Line()
    line.see(100.0)
    assert line.see(101.0, *both("unheard")) == [Tell()]
    line.see(103.0, taken_s=102.0)
    assert not [a for a in line.see(132.0 - JUST, taken_s=102.0) if isinstance(a, Interrupt)]
    assert line.see(132.0, taken_s=102.0)[-1] == Interrupt("edge1 was not heard for 30 s (lock's time to live: 30 s)")


def test_before_the_lock_and_while_it_is_given_back_nobody_has_to_be_heard() -> None:
    line = Line()
    line.see(0.0)
    assert not [a for now_s in (40.0, 80.0) for a in line.see(now_s) if isinstance(a, Interrupt)]
    line = kept()
    for now_s in (10.0, 30.0, 60.0):
        assert not [a for a in line.see(now_s, taken_s=0.0, releasing=True) if isinstance(a, Interrupt)]


def test_an_edge_that_has_not_been_reached_yet_does_not_end_a_run_that_another_one_holds() -> None:
    line = Line()
    line.see(0.0)
    line.see(0.4, Answer("edge1", "held", lease=True))
    line.see(9.0)
    assert not [a for a in line.see(10.0 - JUST, Answer("edge1", "held", lease=True)) if isinstance(a, Interrupt)]
    assert not [a for a in line.see(12.0) if isinstance(a, Interrupt)]


@pytest.mark.parametrize(
    ("looks", "since_s"),
    [
        ([(4.0, Playbook.RUNS), (7.0, Playbook.STOPPED)], 4.0),
        ([(7.0, Playbook.STOPPED)], 7.0),
        (
            [
                (4.0, Playbook.STOPPED), (8.0, Playbook.RUNS), (9.0, Playbook.STOPPED),
                (10.0, Playbook.STOPPED),
            ],
            8.0,
        ),
    ],
    ids=["since it was last seen to run", "at the first look", "since it went on"],
)  # fmt: skip
@LATE
def test_a_stop_of_one_lease_ends_the_run(looks: list[tuple[float, Playbook]], since_s: float, late_s: float) -> None:
    line = Line()
    for now_s, playbook in looks:
        assert not [a for a in line.see(now_s, playbook=playbook) if isinstance(a, Interrupt)]
    last = [a for a in line.see(since_s + 10.0 - JUST, playbook=Playbook.STOPPED) if isinstance(a, Interrupt)]
    assert last == []
    assert line.see(since_s + 10.0 + late_s, playbook=Playbook.STOPPED)[-1] == Interrupt(
        "the playbook was stopped (Ctrl-Z) for 10 s, longer than one lease (10 s)"
    )


def test_a_stop_before_the_first_look_is_as_old_as_the_lock() -> None:
    line = Line()
    line.see(103.0, playbook=Playbook.STOPPED, taken_s=101.0)
    assert line.keeping.stopped_since_s == 101.0


def test_a_lost_lock_is_told_in_the_edges_words() -> None:
    for words, told in (("held by run s", "held by run s"), ("", "without a reason")):
        line = kept()
        line.see(2.5, taken_s=0.0)
        answers = Answer("edge1", "held", lease=True), Answer("edge2", "lost", words=words)
        assert line.see(2.6, *answers, taken_s=0.0) == [
            Tell(), Interrupt(f"edge2 says that this run lost its lock ({told})")
        ]  # fmt: skip
        assert line.keeping.edges["edge2"].lease is False


def test_a_lock_is_lost_only_by_a_run_that_had_it_and_did_not_give_it_back() -> None:
    line = Line()
    line.see(0.0)
    assert line.see(0.4, *both("lost"), taken_s=0.3) == [Tell()]  # it was asked before
    line = kept()
    line.see(2.5, taken_s=0.0)
    assert line.see(2.6, *both("lost"), taken_s=0.0, releasing=True) == [Tell()]
    line = Line()
    line.see(0.0, taken_s=0.0)
    assert isinstance(line.see(0.4, *both("lost"), taken_s=0.0)[-1], Interrupt)


@LATE
def test_a_playbook_is_interrupted_killed_and_no_longer_waited_for_five_seconds_apart(late_s: float) -> None:
    line = kept()
    line.see(2.5, taken_s=0.0)
    actions = line.see(10.0, taken_s=0.0)
    assert actions[-1] == Interrupt("edge1 was not heard for 10 s (lease: 10 s)")
    assert line.see(15.0 - JUST, *both("held"), taken_s=0.0) == [Tell()]
    assert line.see(15.0 + late_s, taken_s=0.0) == [Kill()]
    assert line.see(20.0 + late_s - JUST, taken_s=0.0) == []
    assert line.see(20.0 + 2 * late_s, taken_s=0.0) == [PutBack("edge1 was not heard for 10 s (lease: 10 s)")]
    assert line.see(21.0, taken_s=0.0) == []


def test_beats_under_way_are_ended_with_the_run_and_their_answers_count_no_more() -> None:
    line = kept()
    line.see(2.5, taken_s=0.0)
    line.see(2.6, Answer("edge1", "held", lease=True), taken_s=0.0)
    assert line.see(3.0, playbook=Playbook.GONE, taken_s=0.0) == [
        EndBeat("edge2"), PutBack("the run's process ended before its work was done")
    ]  # fmt: skip
    heard_s = line.keeping.edges["edge2"].heard_s
    line.see(3.1, Answer("edge2", "held", lease=True), playbook=Playbook.GONE, taken_s=0.0)
    assert line.keeping.edges["edge2"].heard_s == heard_s


def test_a_run_that_failed_is_put_back_with_its_reason() -> None:
    assert kept().see(1.0, said="failed", taken_s=0.0) == [PutBack("the run failed")]
    assert kept().see(1.0, said="ok", taken_s=0.0) == [Finish("nothing to do", 0)]


def test_an_interrupted_run_that_ends_well_is_let_be() -> None:
    line = kept()
    line.see(2.5, taken_s=0.0)
    line.see(10.0, taken_s=0.0)
    assert line.see(10.2, said="ok", taken_s=0.0) == [Finish("nothing to do", 0)]


def asked_once() -> Line:
    """A run that ended before anybody knew whether it held the lock: every edge was asked, at 100."""
    line = Line()
    line.see(99.0)
    assert line.see(99.5, *both("lost")) == [Tell()]
    assert line.see(100.0, playbook=Playbook.GONE) == BOTH
    return line


@LATE
def test_edges_are_asked_twice_a_second_apart_whether_the_run_held_its_lock(late_s: float) -> None:
    line = asked_once()
    assert line.see(100.2, Answer("edge1", "lost"), playbook=Playbook.GONE) == [Tell()]
    assert line.see(101.5, playbook=Playbook.GONE) == []
    assert line.see(101.6, Answer("edge2", "lost"), playbook=Playbook.GONE) == [Tell(), *BOTH]
    assert line.see(101.8, *both("lost"), playbook=Playbook.GONE) == [Tell()]
    assert line.see(102.6 - JUST, playbook=Playbook.GONE) == []
    assert line.see(102.6 + late_s, playbook=Playbook.GONE) == [Finish("nothing to do", 0)]
    assert line.see(103.0, playbook=Playbook.GONE) == []


def test_an_edge_that_cannot_be_asked_may_hold_the_lock() -> None:
    line = asked_once()
    assert line.see(100.2, Answer("edge1", "lost"), Answer("edge2", "unheard"), playbook=Playbook.GONE) == [Tell()]
    assert line.see(101.0 - JUST, playbook=Playbook.GONE) == []
    assert line.see(101.0, playbook=Playbook.GONE) == [PutBack("the run's process ended before its work was done")]


def test_an_edge_that_says_that_the_run_holds_its_lock_ends_the_questions() -> None:
    line = asked_once()
    assert line.see(100.2, Answer("edge1", "held"), playbook=Playbook.GONE) == [
        Tell(), EndBeat("edge2"), PutBack("the run's process ended before its work was done")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, "put back"), (2, "put back, not everywhere"), (-9, "put back, not everywhere")]
)
def test_only_a_put_back_that_went_well_has_put_back(code: int, outcome: str) -> None:
    line = kept()
    line.see(1.0, playbook=Playbook.GONE, taken_s=0.0)
    assert line.keeping.put_back_ended(code) == [Finish(outcome, code)]
    assert line.see(2.0, playbook=Playbook.GONE, taken_s=0.0) == []


def test_what_is_not_said_of_a_lease_is_no_lease() -> None:
    assert Answer("edge1", "held").lease is False
    assert Line().keeping.armed is False
    assert kept(lease=False).keeping.armed is False
    assert kept(lease=True).keeping.armed is True
