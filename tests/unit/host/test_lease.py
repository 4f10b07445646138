"""The lease: a model of hosts, edges, clocks and a network in which everything happens that can. Never two runners."""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turnout_host import home, lease

FOR_S = 45.0
BY_RUN = {"host": "app1", "fence": 1, "run": "r1", "color": "blue"}


class Edge:
    """One edge: its state, and the record that runs left."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.state: dict[str, Any] | None = None
        self.record: home.Record | None = None
        self.boot, self.booted_s = "b0", 0.0

    def told(self, host: str, request: dict[str, Any]) -> dict[str, Any]:
        now = lease.Now(
            self.world.clock(self.name) - self.booted_s, self.boot, self.record, FOR_S, self.world.edge_names
        )
        self.state, reply = lease.answer(self.state, host, request, now)
        return dict(reply)

    def reboot(self) -> None:
        self.boot, self.booted_s = f"b{self.world.now_s}", self.world.clock(self.name)


class World:
    """Hosts and edges; `running` are the hosts on which it runs (a frozen one runs nothing)."""

    def __init__(self, hosts: int, edges: int) -> None:
        self.now_s = 1000.0
        self.edge_names = tuple(f"edge{n}" for n in range(1, edges + 1))
        self.rate = dict.fromkeys(self.edge_names, 1.0)
        self.edges = {name: Edge(self, name) for name in self.edge_names}
        self.names = tuple(f"app{n}" for n in range(1, hosts + 1))
        self.rate |= dict.fromkeys(self.names, 1.0)
        self.hosts = {name: self.made(name) for name in self.names}
        self.frozen: set[str] = set()
        self.dead: set[str] = set()
        self.running: set[str] = set()
        self.turns: dict[str, Any] = {}
        self.cut: set[tuple[str, str]] = set()
        self.late: list[tuple[str, str, dict[str, Any]]] = []

    def made(self, name: str) -> lease.Host:
        return lease.Host(name, self.edge_names, self.names, lambda: self.clock(name))

    def clock(self, name: str) -> float:
        return 1000 + (self.now_s - 1000) * self.rate[name]

    def alive(self, name: str) -> bool:
        return name not in self.frozen and name not in self.dead

    def look(self) -> None:
        """Let every host that lives do what its watch does at once; then there may be one runner."""
        for name, host in self.hosts.items():
            if self.alive(name) and host.until_s() <= host.clock():
                self.running.discard(name)
        runners = [name for name in self.running if self.alive(name)]
        assert len(runners) <= 1, runners

    def step(self, name: str, lost: set[str], late: set[str]) -> None:
        """Take one round of a host's turn: some edges' replies are lost, some requests come late or never."""
        if not self.alive(name):
            return
        host = self.hosts[name]
        if name not in self.turns:
            turn = host.turn(running=name in self.running, can_take=True)
            self.turns[name] = (turn, next(turn), host.clock())
            return
        turn, requests, asked_s = self.turns.pop(name)
        replies = {}
        for edge, request in requests.items():
            if (name, edge) in self.cut:
                continue
            if edge in late:
                self.late.append((name, edge, request))
                continue
            reply = self.edges[edge].told(name, request)
            if edge not in lost:
                replies[edge] = (asked_s, reply)
        with contextlib.suppress(StopIteration):
            self.turns[name] = (turn, turn.send(replies), host.clock())
        self.look()
        if host.until_s() > host.clock() and host.at_home():
            self.running.add(name)
        self.look()

    def whole(self, name: str) -> None:
        self.turns.pop(name, None)
        self.step(name, set(), set())
        while name in self.turns:
            self.step(name, set(), set())

    def freeze(self, name: str) -> None:
        self.frozen.add(name)

    def thaw(self, name: str) -> None:
        self.frozen.discard(name)
        self.look()

    def kill(self, name: str) -> None:
        self.dead.add(name)
        self.running.discard(name)
        self.turns.pop(name, None)
        before = self.hosts[name]
        self.hosts[name] = self.made(name)
        self.hosts[name].record, self.hosts[name].held = before.record, before.held

    def run(self, fence: int, to: str, heard: set[str], edges: set[str]) -> None:
        """A release or rollback: stops it on every host, which all answer or are no home, and records the home."""
        answers = {n: self.hosts[n].record for n in heard}
        told = [home.newest([self.edges[e].record, (self.edges[e].state or {}).get("record")]) for e in edges]
        last = home.newest([*answers.values(), *told])
        if last is not None and last["host"] not in heard:
            to = str(last["host"])
        record: home.Record = {"host": to, "fence": fence, "run": f"r{fence}", "color": "green"}
        for name in heard:
            self.running.discard(name)
        for name in heard:
            self.hosts[name].learn([record])
        for edge in edges:
            self.edges[edge].record = home.newest([self.edges[edge].record, record])


@pytest.mark.parametrize("edges", range(1, 9))
def test_who_goes_on_and_who_begins_always_share_an_edge(edges: int) -> None:
    take, keep = lease.quorums(edges)
    assert take + keep > edges and 2 * take > edges


def settled(hosts: int = 2, edges: int = 2) -> World:
    world = World(hosts, edges)
    world.run(1, "app1", set(world.names), set(world.edge_names))
    world.whole("app1")
    assert world.running == {"app1"}
    return world


def until_taken(world: World, limit_s: float) -> float:
    began_s = world.now_s
    while not {name for name in world.running if world.alive(name)}:
        assert world.now_s - began_s <= limit_s, "nobody took over"
        world.now_s += lease.POLL_S
        for name in world.names:
            world.whole(name) if world.alive(name) else None
    return world.now_s - began_s


@pytest.mark.parametrize(("hosts", "edges"), [(2, 1), (2, 2), (3, 3), (4, 5)])
@pytest.mark.parametrize("how", ["kill", "freeze", "cut"])
def test_another_host_takes_over_within_the_time(hosts: int, edges: int, how: str) -> None:
    world = settled(hosts, edges)
    if how == "cut":
        world.cut = {("app1", edge) for edge in world.edge_names}
        while "app1" in world.running:
            world.now_s += 1
            world.look()
            assert world.now_s < 1000 + FOR_S
    else:
        world.kill("app1") if how == "kill" else world.freeze("app1")
    taken_s = until_taken(world, FOR_S + lease.POLL_S)
    assert taken_s <= FOR_S + lease.POLL_S
    runner = next(name for name in world.running if world.alive(name))
    assert world.hosts[runner].record == {**BY_RUN, "host": runner, "color": "green", "term": 1}
    world.dead.discard("app1")
    world.cut.clear()
    world.thaw("app1")
    for _ in range(5):
        world.now_s += lease.POLL_S
        for name in world.names:
            world.whole(name)
    assert world.running == {runner}


def test_a_home_goes_on_while_so_many_edges_hear_it_that_no_other_can_have_most() -> None:
    world = settled(2, 2)
    world.cut = {("app1", "edge1")}
    for _ in range(60):
        world.now_s += lease.POLL_S
        for name in world.names:
            world.whole(name)
        assert world.running == {"app1"}


def test_a_home_that_was_never_heard_is_not_taken_over() -> None:
    world = World(2, 2)
    world.run(1, "app1", set(world.names), set(world.edge_names))
    for _ in range(60):
        world.now_s += lease.POLL_S
        world.whole("app2")
    assert not world.running


def test_an_edge_that_knows_nothing_leases_to_nobody_for_that_time() -> None:
    world = World(2, 1)
    world.hosts["app1"].record = dict(BY_RUN)
    world.whole("app1")
    assert not world.running
    world.now_s += FOR_S
    world.whole("app1")
    assert world.running == {"app1"}


def test_after_a_reboot_an_edge_waits_as_long_as_it_leased() -> None:
    world = settled(2, 1)
    world.kill("app1")
    world.now_s += FOR_S - 1
    world.edges["edge1"].reboot()
    world.now_s += FOR_S - 1
    world.whole("app2")
    assert not world.running
    world.now_s += 2
    world.whole("app2")
    assert world.running == {"app2"}


def test_a_release_takes_it_back_and_the_taker_gives_its_lease_back() -> None:
    world = settled(2, 2)
    world.kill("app1")
    until_taken(world, 60)
    assert world.running == {"app2"}
    world.dead.clear()
    world.run(2, "app1", set(world.names), set(world.edge_names))
    world.whole("app1")
    assert not world.running  # the taker has not said that it has stopped
    world.whole("app2")
    world.whole("app1")
    assert world.running == {"app1"}


def test_a_lease_that_is_given_back_by_an_old_request_stays() -> None:
    world = settled(2, 1)
    edge = world.edges["edge1"]
    old = edge.told("app1", {"do": "look"})["serial"]
    world.whole("app1")
    assert edge.told("app1", {"do": "leave", "serial": old})["granted"] is False
    assert edge.told("app1", {"do": "look"})["holder"] == "app1"


@pytest.mark.parametrize("request_", [{"do": "renew"}, {"do": "renew", "record": "x"}, {"do": "take", "record": []}])
def test_rubbish_is_granted_nothing(request_: dict[str, Any]) -> None:
    assert settled().edges["edge1"].told("app2", request_)["granted"] is False


def test_where_it_is_off_nothing_is_leased() -> None:
    now = lease.Now(0.0, "b", None, 0.0, ("edge1",))
    assert lease.answer(None, "app1", {"do": "renew", "record": BY_RUN}, now)[1]["granted"] is False


RARE = ("long", "freeze", "thaw", "kill", "boot", "edge", "cut", "mend", "run", "late")
OFTEN = ("step",) * 8 + ("whole",) * 3 + ("wait",) * 5


def play(world: World, seed: int, steps: int, acts: list[str] | None = None) -> None:  # noqa: PLR0912
    """Do what chance says."""
    chance = random.Random(seed)  # noqa: S311
    fence = 1
    for name in world.rate:
        world.rate[name] = chance.choice([0.992, 1.0, 1.008])
    for number in range(steps):
        act = acts[number] if acts else chance.choice(OFTEN + RARE)
        name, edge = chance.choice(world.names), chance.choice(world.edge_names)
        if act == "step":
            some = {e for e in world.edge_names if chance.random() < 0.2}
            world.step(name, some, {e for e in world.edge_names if chance.random() < 0.1})
        elif act == "whole" and world.alive(name):
            world.whole(name)
        elif act in ("wait", "long"):
            end = world.now_s + (chance.uniform(0, 6) if act == "wait" else FOR_S + 3)
            while world.now_s < end:
                world.now_s += 0.5
                world.look()
        elif act == "freeze":
            world.freeze(name)
        elif act == "thaw":
            world.thaw(name)
        elif act == "kill":
            world.kill(name)
        elif act == "boot":
            world.dead.discard(name)
        elif act == "edge":
            world.edges[edge].reboot()
        elif act == "cut":
            world.cut.add((name, edge))
        elif act == "mend":
            world.cut.clear()
        elif act == "run":
            heard = {n for n in world.names if world.alive(n) and chance.random() < 0.9}
            edges = {e for e in world.edge_names if chance.random() < 0.8}
            if heard and edges:
                fence += 1
                world.run(fence, chance.choice(sorted(heard)), heard, edges)
        elif act == "late" and world.late:
            host, to, request = world.late.pop(chance.randrange(len(world.late)))
            world.edges[to].told(host, request)
        world.look()


@pytest.mark.parametrize(("hosts", "edges"), [*itertools.product([2, 3], [1, 2, 3])])
def test_there_are_never_two_whatever_happens(hosts: int, edges: int) -> None:
    for seed in range(150):
        play(settled(hosts, edges), seed, 250)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(2, 3),
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.lists(st.sampled_from([*OFTEN[::2], *RARE]), min_size=5, max_size=120),
)
def test_there_are_never_two_in_any_order_of_acts(hosts: int, edges: int, seed: int, acts: list[str]) -> None:
    play(settled(hosts, edges), seed, len(acts), acts)


@pytest.mark.parametrize("seed", range(40))
def test_after_whatever_happened_one_runs_again_once_all_answer(seed: int) -> None:
    world = settled(3, 3)
    play(world, seed, 150)
    world.cut.clear()
    world.frozen.clear()
    world.dead.clear()
    world.late.clear()
    until_taken(world, 3 * FOR_S)
    world.look()


@pytest.mark.parametrize("for_s", [25.0, 40.0, 300.0, 86_400.0])
def test_a_host_stops_before_an_edge_leases_again_though_their_clocks_differ(for_s: float) -> None:
    slow, fast = 0.99, 1.0099
    assert lease.hold_s(for_s) / slow < for_s / fast
