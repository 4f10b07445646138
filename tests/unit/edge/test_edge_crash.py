"""A crash or a power cut between any two steps of any command leaves what can be read and brought to an end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from edge_model import (
    Crash,
    ModelEdge,
    edge_between,
    edge_confirmed,
    edge_in_flight,
    edge_with_stable,
    release,
    state_of,
)
from turnout_edge.watch import Watch

Command = Callable[[ModelEdge], object]


def fresh_with_lock() -> ModelEdge:
    edge = ModelEdge()
    edge.run("lock take --run A")
    return edge


def first_release_ready() -> ModelEdge:
    edge = fresh_with_lock()
    edge.run("prepare --run A --color blue", release=release("1.0.0"))
    return edge


def rolled_back() -> ModelEdge:
    edge = edge_in_flight(2500)
    edge.run("rollback --run A")
    return edge


SCENARIOS: dict[str, tuple[Callable[[], ModelEdge], Command]] = {
    "first prepare": (fresh_with_lock, lambda e: e.run("prepare --run A --color blue", release=release("1.0.0"))),
    "first move": (first_release_ready, lambda e: e.run("move --run A --share-bp 10000")),
    "prepare": (edge_with_stable, lambda e: e.run("prepare --run A --color green", release=release("1.1.0"))),
    "move from nothing": (lambda: edge_in_flight(0), lambda e: e.run("move --run A --share-bp 500 --lease-s 5")),
    "move on": (edge_in_flight, lambda e: e.run("move --run A --share-bp 5000")),
    "move down": (edge_in_flight, lambda e: e.run("move --run A --share-bp 100")),
    "ready": (lambda: edge_in_flight(10_000), lambda e: e.run("ready --run A --color green")),
    "confirm": (lambda: edge_between("ready"), lambda e: e.run("confirm --run A")),
    "commit": (edge_between, lambda e: e.run("commit --run A")),
    "put back between the words": (edge_between, lambda e: e.run("rollback --run A --put-back")),
    "rollback of a candidate": (edge_in_flight, lambda e: e.run("rollback")),
    "rollback by its run": (edge_in_flight, lambda e: e.run("rollback --run R")),
    "rollback after confirm": (edge_confirmed, lambda e: e.run("rollback")),
    "settle": (rolled_back, lambda e: e.run("settle --run A")),
    "forget": (edge_confirmed, lambda e: e.run("forget --run A --color blue --reason closed")),
    "schema": (edge_with_stable, lambda e: e.run("schema --run A --version 3 --last-contract 0")),
    "lock taken from another": (edge_in_flight, lambda e: e.run("lock take --run B --break")),
    "lock released": (edge_in_flight, lambda e: e.run("lock release --run A")),
    "journal": (edge_in_flight, lambda e: e.run("journal --run A --event intent --action lay")),
}


def steps_of(make: Callable[[], ModelEdge], command: Command) -> int:
    """Return how many times a command touches the world."""
    edge = make()
    edge.fuse.set(None)
    command(edge)
    return edge.fuse.steps


CRASHES = [
    (name, step, when, cut)
    for name, (make, command) in SCENARIOS.items()
    for step in range(1, steps_of(make, command) + 1)
    for when in ("before", "after", "torn")
    for cut in (False, True)
]


def crashed(name: str, step: int, when: str, power_cut: bool) -> ModelEdge:
    """Return the edge after its command has crashed."""
    make, command = SCENARIOS[name]
    edge = make()
    edge.fuse.set(step, when)
    with pytest.raises(Crash):
        command(edge)
    edge.fuse.set(None)
    if power_cut:
        edge.power_cut()
    return edge


@pytest.mark.parametrize(("name", "step", "when", "power_cut"), CRASHES)
def test_after_a_crash_show_works_and_rollback_converges(name: str, step: int, when: str, power_cut: bool) -> None:
    edge = crashed(name, step, when, power_cut)
    shown = edge.run("show")
    assert shown["stable"] == state_of(edge).stable
    assert state_of(edge).faults() == []

    edge.run("rollback")
    state = state_of(edge)
    if state.stable is not None:
        assert edge.agrees()
        assert edge.shares()[state.stable] == 10_000
    once = dict(edge.disk.data), edge.proxy.green
    again = edge.run("rollback")
    assert again["changed"] is False
    assert (dict(edge.disk.data), edge.proxy.green) == once


@pytest.mark.parametrize(("name", "step", "when", "power_cut"), CRASHES)
def test_after_a_crash_the_watchdog_makes_all_agree(name: str, step: int, when: str, power_cut: bool) -> None:
    edge = crashed(name, step, when, power_cut)
    watch = Watch(edge)
    for _ in range(6):
        watch.tick()
    if edge.has_state():
        assert edge.agrees()
    state = state_of(edge)
    if power_cut and edge.load_lease().get("armed"):
        raise AssertionError("a lease from before the power cut must be over")
    assert state.faults() == []


@pytest.mark.parametrize(("name", "step", "when", "power_cut"), CRASHES)
def test_after_a_crash_a_lost_state_can_be_recovered(name: str, step: int, when: str, power_cut: bool) -> None:
    edge = crashed(name, step, when, power_cut)
    if b'"state":{' not in edge.disk.data.get("/state/journal.jsonl", b""):
        return
    live = edge.shares()
    edge.disk.data["/state/state.json"] = b"\x00" * 64
    edge.run("recover")
    assert edge.shares() == live, "recover reads; it moves nobody"
    edge.run("rollback")
    stable = state_of(edge).stable
    assert stable is None or edge.shares()[stable] == 10_000


def test_enough_crashes_were_tried() -> None:
    assert len(CRASHES) > 300
