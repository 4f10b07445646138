"""Several edges in memory: the run dies between any two of its words, and the edges end on one color by themselves."""

from __future__ import annotations

import itertools
import json

import pytest
from edge_model import ModelEdge, edge_between, edge_in_flight, hand_over, release, state_of
from turnout_edge.errors import Trouble
from turnout_edge.show import table
from turnout_edge.watch import Watch

TOLD, HEARD = "/told", "/heard"
LEASE_S = 5
WORDS = ("ready --color green", "confirm", "commit")


class Group:
    """Edges with their watchdogs, and the links between them: what an edge publishes, its peers hear a second later."""

    def __init__(self, *edges: ModelEdge) -> None:
        self.edges = list(edges)
        self.cut: set[tuple[int, int]] = set()
        self.heard: list[dict[str, object]] = [{} for _ in edges]
        for number, edge in enumerate(self.edges):
            edge.config.peers = [f"edge{other}" for other in range(len(edges)) if other != number]
            edge.config.peers_file, edge.config.told_file = HEARD, TOLD
        self.watches = [Watch(edge) for edge in self.edges]

    def carry(self) -> None:
        """Let every peer hear what an edge has published."""
        for number, edge in enumerate(self.edges):
            for other, peer in enumerate(self.edges):
                said = peer.disk.data.get(TOLD)
                if other != number and said and (number, other) not in self.cut:
                    self.heard[number][f"edge{other}"] = {"boot": edge.time.boot, "said": json.loads(said)}
            edge.disk.data[HEARD] = json.dumps({"peers": self.heard[number]}).encode()

    def pass_time(self, seconds: float) -> float:
        """Let time pass and the watchdogs look; return when the last edge changed its word, in seconds from now."""
        before = self.words()
        changed_s = 0.0
        for tick in range(int(seconds * 4)):
            if tick % 4 == 0:
                self.carry()
            for edge, watch in zip(self.edges, self.watches, strict=True):
                edge.time.advance(0.25)
                watch.tick()
            if self.words() != before:
                before, changed_s = self.words(), (tick + 1) / 4
        return changed_s

    def words(self) -> list[tuple[str | None, str | None, bool]]:
        """Return color, stage and whether a lease is armed, of each edge."""
        return [(state_of(e).stable, state_of(e).word().stage, bool(e.load_lease().get("armed"))) for e in self.edges]

    def users(self) -> set[tuple[int, int]]:
        """Return where the users of the edges are."""
        return {tuple(edge.shares().values()) for edge in self.edges}  # type: ignore[misc]


def in_flight() -> ModelEdge:
    edge = edge_in_flight(0)
    edge.run(f"move --run A --share-bp 10000 --lease-s {LEASE_S}")
    return edge


def said_to(size: int, count: int) -> Group:
    """Return a group to which a run has said `count` words, each to all edges before the next, and died."""
    group = Group(*[in_flight() for _ in range(size)])
    group.pass_time(1)
    spoken = [(word, edge) for word in WORDS for edge in group.edges]
    for word, edge in spoken[:count]:
        edge.run(f"{word} --run A")
    return group


DEATHS = [(size, count) for size in (1, 2, 3) for count in range(3 * size + 1)]


@pytest.mark.parametrize(("size", "count"), DEATHS)
def test_a_run_that_dies_between_two_words_leaves_one_color(size: int, count: int) -> None:
    group = said_to(size, count)
    took_s = group.pass_time(30)
    assert len(group.users()) == 1, group.words()
    assert all(not armed for _, _, armed in group.words())
    assert all(edge.agrees() for edge in group.edges)
    assert took_s <= LEASE_S + 8
    new = count > size  # somebody has confirmed: all were ready
    assert group.users() == {(0, 10_000) if new else (10_000, 0)}
    before = group.words()
    group.pass_time(60)
    assert group.words() == before, "nobody changes its mind again"


@pytest.mark.parametrize(("size", "count"), [case for case in DEATHS if case[0] > 1])
def test_with_the_links_down_no_edge_stays_between_the_words(size: int, count: int) -> None:
    group = Group(*[in_flight() for _ in range(size)])
    group.cut = {(a, b) for a in range(size) for b in range(size)}
    for word, edge in [(word, edge) for word in WORDS for edge in group.edges][:count]:
        edge.run(f"{word} --run A")
    took_s = group.pass_time(30)
    assert took_s <= LEASE_S + 8
    for edge, (color, stage, armed) in zip(group.edges, group.words(), strict=True):
        assert not armed
        assert stage in (None, "back", "committed")
        assert color == ("green" if stage == "committed" else "blue")
        assert edge.agrees()
    group.cut.clear()
    group.pass_time(10)
    assert len(group.users()) == 1, "and once the links are up again, one color"


@pytest.mark.parametrize("number", [0, 1])
def test_an_edge_that_went_back_in_doubt_goes_forward_once_its_servers_are_up(number: int) -> None:
    group = said_to(2, 4)
    group.cut = {(0, 1), (1, 0)}
    group.edges[1 - number].run("commit --run A")
    group.edges[number].proxy.statuses["sample-green"]["app1"] = "UP"
    group.pass_time(20)
    doubtful = group.edges[number]
    assert state_of(doubtful).stable == "blue"
    doubtful.proxy.statuses["sample-green"]["app1"] = "DOWN"
    group.cut.clear()
    group.pass_time(10)
    assert state_of(doubtful).stable == "blue", "not to servers that are down"
    doubtful.proxy.statuses["sample-green"]["app1"] = "UP"
    group.pass_time(5)
    state = state_of(doubtful)
    assert (state.stable, state.previous, state.confirmed_by) == ("green", "blue", "A")
    assert (state.rolled_back, state.undone) == (None, None)
    assert doubtful.ledger.tail(1)[0]["kind"] == "resolved"
    assert doubtful.run("rollback")["moved"] is True, "the way back is there as after any release"


def test_it_does_not_go_forward_while_another_run_is_at_work() -> None:
    group = said_to(2, 4)
    group.cut = {(0, 1), (1, 0)}
    group.edges[0].run("commit --run A")
    group.pass_time(20)
    group.edges[1].run("lock take --run B --ttl-s 600")
    group.cut.clear()
    group.pass_time(10)
    assert state_of(group.edges[1]).stable == "blue"
    group.edges[1].run("lock release --run B")
    group.pass_time(5)
    assert state_of(group.edges[1]).stable == "green"


def test_nor_to_another_release_that_stands_there_by_now() -> None:
    group = said_to(2, 4)
    group.cut = {(0, 1), (1, 0)}
    group.edges[0].run("commit --run A")
    group.pass_time(20)
    edge = group.edges[1]
    edge.write_state(state_of(edge).but(releases={**state_of(edge).releases, "green": release("1.2.0")}))
    group.cut.clear()
    group.pass_time(10)
    assert state_of(edge).stable == "blue"


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
@pytest.mark.parametrize("committed", [0, 1])
def test_the_keepers_put_back_meets_edges_of_which_one_was_committed(order: tuple[int, ...], committed: int) -> None:
    group = said_to(2, 4)
    group.edges[committed].run("commit --run A")
    group.carry()
    for number in order:
        group.edges[number].run("rollback --put-back --run A")
        group.edges[number].run("lock release --run A")
    assert group.users() == {(0, 10_000)}, "what was committed stands, and the other edge has heard of it"
    assert group.pass_time(20) == 0


@pytest.mark.parametrize("reached", [[0], [1], [0, 1], [1, 0]])
@pytest.mark.parametrize("count", [3, 4])
def test_a_put_back_that_reaches_some_edges_takes_the_others_along(reached: list[int], count: int) -> None:
    group = said_to(2, count)
    group.pass_time(1)
    for number in reached:
        group.edges[number].run("rollback --put-back --run A")
    group.pass_time(20)
    assert group.users() == {(10_000, 0)}


def test_a_verdict_against_the_release_is_a_word_that_the_others_follow() -> None:
    group = said_to(2, 4)
    group.pass_time(1)
    group.edges[0].run("rollback --put-back --run A", quarantine="the judge says so")
    assert state_of(group.edges[0]).word().sure
    group.pass_time(20)
    assert group.users() == {(10_000, 0)}
    assert [state_of(edge).word().sure for edge in group.edges] == [True, True]


def test_a_put_back_that_has_not_heard_of_the_commit_is_mended() -> None:
    group = said_to(2, 4)
    group.pass_time(1)
    group.edges[0].run("commit --run A")  # and before edge1 hears of it:
    group.edges[1].run("rollback --put-back --run A")
    assert len(group.users()) == 2
    assert group.pass_time(10) < 3
    assert group.users() == {(0, 10_000)}


def test_a_person_who_goes_back_on_an_edge_in_doubt_is_obeyed() -> None:
    group = said_to(2, 4)
    group.cut = {(0, 1), (1, 0)}
    group.edges[0].run("commit --run A")
    group.pass_time(20)
    assert group.edges[1].run("rollback")["changed"] is True
    assert group.edges[1].run("rollback")["changed"] is False
    group.cut.clear()
    group.pass_time(20)
    assert state_of(group.edges[1]).stable == "blue"


def test_an_edge_that_is_cut_off_from_the_run_only_follows_what_the_run_does_elsewhere() -> None:
    group = said_to(2, 3)  # edge0 has confirmed, edge1 is ready and cut off
    for _ in range(4):
        group.pass_time(2)
        group.edges[0].run("beat --run A")
    assert [word[1] for word in group.words()] == ["confirmed", "committed"]
    group.edges[0].run("rollback --put-back --run A")
    group.pass_time(3)
    assert group.users() == {(10_000, 0)}, "edge1 had only worked it out"


def test_a_first_release_stands_wherever_it_was_confirmed() -> None:
    edges = []
    for _ in range(2):
        edge = ModelEdge()
        edge.run("lock take --run A")
        edge.run("prepare --run A --color blue", release=release("1.0.0"))
        edge.run(f"move --run A --share-bp 10000 --lease-s {LEASE_S}")
        edge.run("ready --run A --color blue")
        edges.append(edge)
    edges[0].run("confirm --run A")
    group = Group(*edges)
    group.cut = {(0, 1), (1, 0)}
    group.pass_time(20)
    assert group.users() == {(10_000, 0)}
    assert [word[2] for word in group.words()] == [False, False]
    assert state_of(edges[0]).stable == "blue"


def test_a_rebooted_edge_asks_before_it_goes_back() -> None:
    group = said_to(2, 4)
    group.edges[0].run("commit --run A")
    rebooted = group.edges[1]
    del rebooted.disk.data[TOLD]  # /run is empty
    rebooted.disk.data[HEARD] = b""
    group.heard[1].clear()
    rebooted.power_cut()
    group.watches[1] = Watch(rebooted)
    for _ in range(8):
        group.watches[1].tick()
        rebooted.time.advance(0.25)
    assert state_of(rebooted).stable == "green"
    group.pass_time(5)
    assert group.words() == [("green", "committed", False)] * 2


def test_show_tells_a_person_of_doubt_and_of_peers() -> None:
    group = said_to(2, 4)
    group.cut = {(0, 1)}
    group.pass_time(20)
    shown = table(group.edges[1].run("show"))
    assert "peer edge0: blue (1.0.0)" in shown
    shown = table(group.edges[0].run("show"))
    assert "in doubt: run A did not say its last word here; this edge is back" in shown
    assert "peer edge1: NOT HEARD" in shown


def test_old_words_count_as_silence() -> None:
    group = said_to(2, 4)
    group.pass_time(1)
    group.cut = {(0, 1), (1, 0)}
    group.pass_time(30)
    assert group.users() == {(10_000, 0)}, "a peer that fell silent may have gone back"


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        b"",
        b"[]",
        b"{",
        b'{"peers": []}',
        b'{"peers": {"edge1": 5}}',
        b'{"peers": {"edge1": {"boot": "x", "said": {}}}}',
        b'{"peers": {"edge1": {"boot": 1e9, "said": {"service": "sample"}}}}',
        b'{"peers": {"edge1": {"boot": NaN, "said": {"service": "sample"}}}}',
        b'{"peers": {"edge1": {"boot": 1' + b"0" * 400 + b', "said": {"service": "sample"}}}}',
        b"[" * 100_000,
    ],
)
def test_rubbish_from_a_peer_is_silence(rubbish: bytes | None) -> None:
    group = said_to(2, 4)
    edge = group.edges[0]
    edge.disk.data.pop(HEARD, None)
    if rubbish is not None:
        edge.disk.data[HEARD] = rubbish
    assert edge.peers_on("A") == [None]


@pytest.mark.parametrize(
    "handover", [None, 5, {}, {"run": "A"}, {"run": "A", "stage": "x"}, {"run": "B", "stage": "back"}]
)
def test_a_peer_that_says_nothing_of_the_run_has_no_stage(handover: object) -> None:
    group = said_to(2, 4)
    edge = group.edges[0]
    said = {"service": "sample", "handover": handover}
    edge.disk.data[HEARD] = json.dumps({"peers": {"edge1": {"boot": edge.time.boot, "said": said}}}).encode()
    word = edge.peers_on("A")[0]
    assert word is not None
    assert word.stage is None
    said["service"] = "other"
    edge.disk.data[HEARD] = json.dumps({"peers": {"edge1": {"boot": edge.time.boot, "said": said}}}).encode()
    assert edge.peers_on("A") == [None]


def test_an_edge_of_its_own_ends_by_itself() -> None:
    edge = edge_between("confirmed")
    edge.run("lock release --run A")
    assert edge.load_lease()["armed"], "a run that leaves without its last word leaves the lease to end it"
    edge.time.advance(6)
    Watch(edge).tick()
    assert (state_of(edge).stable, state_of(edge).word().stage) == ("green", "committed")
    assert edge.run("show")["lease"] == {"armed": False}
    entry = edge.ledger.tail(1)[0]
    assert (entry["kind"], entry["release"], entry["actor"]) == ("resolved", "1.1.0", "peers")


def test_a_lease_that_vanished_between_the_words_is_over() -> None:
    edge = edge_between("ready")
    del edge.disk.data["/state/lease.json"]
    watch = Watch(edge)
    watch.tick()
    watch.tick()
    assert edge.shares() == {"blue": 10_000, "green": 0}


def test_a_state_from_before_there_were_words_is_read() -> None:
    edge = edge_in_flight(2500)
    old = json.loads(edge.disk.data["/state/state.json"])
    del old["handover"], old["since"]
    edge.disk.data["/state/state.json"] = json.dumps(old).encode()
    assert state_of(edge).word().stage is None
    edge.run("move --run A --share-bp 10000")
    hand_over(edge, "green")
    with pytest.raises(Trouble):
        edge.run("commit --run B")
