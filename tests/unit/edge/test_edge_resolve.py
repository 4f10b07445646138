"""Edges that are left between a run's words end on one color: every order of words, deaths and messages, enumerated.

The model: the run says `confirm` to every edge (all are ready by then), then `commit` to every edge, in any order
within a word. It may die between any two words, and its keeper may then say put-back to any of the edges, or to none.
The lease of an edge may run out at any moment, also while the run lives (an edge that is cut off). Whenever an edge
decides, it may hear of each peer anything that the peer has ever said, or not hear it at all: messages are late, lost
or overtaken. A link that is cut carries nothing. An end is where nothing can happen any more: every message has arrived
where a link works, every lease is over, and no edge changes its word.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from turnout_edge.resolve import BACK, COMMITTED, CONFIRMED, READY, WAIT, Word, in_doubt, resolve

# One letter for each word: ready, confirmed, committed unsure and Sure, back having never confirmed and Back after it.
WORDS = {
    "r": Word(READY),
    "c": Word(CONFIRMED),
    "u": Word(COMMITTED),
    "S": Word(COMMITTED, True),
    "b": Word(BACK),
    "B": Word(BACK, False, True),
}
LETTERS = {word: letter for letter, word in WORDS.items()}
UNHEARD = "-"
OLD, NEW = set("rbB"), set("cuS")
# What may follow on what, at once: an edge never comes back to a word, so all of this ends.
NEXT = {"r": "cb", "c": "uSB", "u": "SB", "B": "S", "b": "", "S": ""}
RUN_SAYS = ({"r": "c", "c": "c"}, {"c": "S", "u": "S", "S": "S"})  # confirm, commit: word before, word after
GONE = 2  # the run is dead or done


@cache
def decide(own: str, peers: tuple[str, ...], waited: bool) -> str:
    """Return the word of an edge whose lease ran out, after it has decided once."""
    heard = [None if peer == UNHEARD else WORDS[peer] for peer in peers]
    word = resolve(WORDS[own], heard, over=True, waited=waited)
    return LETTERS[word] if isinstance(word, Word) else own


State = tuple[int, int, tuple[str, ...]]  # phase of the run, the edges that it told in it, what each edge said so far


class Group:
    """All that may happen to a group of edges."""

    def __init__(self, size: int, cut: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.edges = range(size)
        self.everybody = (1 << size) - 1
        self.peers = [[(other, (edge, other) in cut) for other in self.edges if other != edge] for edge in self.edges]
        self.ends: set[tuple[str, ...]] = set()
        self.explore()

    def told(self, state: State, edge: int) -> list[State]:
        """Return what follows when the run says its word to an edge; one that refuses ends the run."""
        phase, told, said = state
        word = RUN_SAYS[phase].get(said[edge][-1])
        if word is None:
            return [(GONE, 0, said)]
        now = told | 1 << edge
        after = self.says(said, edge, word)
        return [(phase + 1, 0, after) if now == self.everybody else (phase, now, after)]

    @staticmethod
    def says(said: tuple[str, ...], edge: int, word: str) -> tuple[str, ...]:
        """Return what was said after an edge has taken a word."""
        mine = said[edge] if said[edge][-1] == word else said[edge] + word
        return (*said[:edge], mine, *said[edge + 1 :])

    def moves(self, state: State) -> list[State]:
        """Return every state that may follow."""
        phase, told, said = state
        found: list[State] = [(GONE, 0, said)]
        for edge in self.edges:
            own = said[edge][-1]
            sees = [UNHEARD + ("" if is_cut else said[peer]) for peer, is_cut in self.peers[edge]]
            if phase < GONE and not told >> edge & 1:
                found += self.told(state, edge)
            words = put_back(own, sees) if phase == GONE else set()
            for heard in itertools.product(*sees):
                words |= {decide(own, heard, waited=waited) for waited in (False, True)}
            for word in words - {own}:
                assert word in NEXT[own], f"{own} -> {word} goes round in circles"
                found.append((phase, told, self.says(said, edge, word)))
        return found

    def is_end(self, said: tuple[str, ...]) -> bool:
        """Tell whether no edge changes its word any more, once every message has arrived."""
        for edge in self.edges:
            heard = tuple(UNHEARD if is_cut else said[peer][-1] for peer, is_cut in self.peers[edge])
            if decide(said[edge][-1], heard, waited=True) != said[edge][-1]:
                return False
        return True

    def explore(self) -> None:
        """Walk every order of events; keep the ends."""
        start: State = (0, 0, ("r",) * len(self.edges))
        seen, todo = {start}, [start]
        while todo:
            state = todo.pop()
            if state[0] == GONE and self.is_end(state[2]):
                self.ends.add(tuple(said[-1] for said in state[2]))
            new = set(self.moves(state)) - seen
            seen |= new
            todo += new


def put_back(own: str, sees: list[str]) -> set[str]:
    """Return what the keeper's put-back may make of an edge's word: it commits where a peer says that the run did."""
    if own == "r":
        return {"b"}
    if own in "cu":
        return {"B", "S"} if any("S" in peer for peer in sees) else {"B"}
    return set()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_with_the_links_up_all_edges_end_on_one_color_and_none_stays_armed(size: int) -> None:
    ends = Group(size).ends
    assert ("S",) * size in ends, "a run that lives commits"
    assert ("B",) * size in ends, "one that dies may be put back"
    assert_one_color(ends)


def assert_one_color(ends: set[tuple[str, ...]]) -> None:
    """No edge of a group is left armed, and all of it serves one color, at every end."""
    for end in ends:
        assert set(end) <= OLD - {"r"} or set(end) <= NEW - {"c"}, end


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_edges_that_hear_of_each_other_through_a_third_end_on_one_color(pair: tuple[int, int]) -> None:
    assert_one_color(Group(3, frozenset({pair, pair[::-1]})).ends)


LINKS = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
CUTS = [frozenset(cut) for n in range(1, len(LINKS) + 1) for cut in itertools.combinations(LINKS, n)]


@pytest.mark.parametrize("cut", [*[cut for cut in CUTS if cut <= {(0, 1), (1, 0)}]])
def test_of_two_edges_with_a_cut_link_none_stays_armed(cut: frozenset[tuple[int, int]]) -> None:
    for end in Group(2, cut).ends:
        assert not set(end) & {"r", "c"}, end


@pytest.mark.parametrize("cut", CUTS)
def test_of_three_edges_with_cut_links_none_stays_armed(cut: frozenset[tuple[int, int]]) -> None:
    for end in Group(3, cut).ends:
        assert not set(end) & {"r", "c"}, end


HEARD = [None, Word(None), *WORDS.values(), Word(BACK, True, True)]


@pytest.mark.parametrize("peers", [list(peers) for n in (0, 1, 2) for peers in itertools.product(HEARD, repeat=n)])
def test_whatever_is_heard_a_wait_has_an_end(peers: list[Word | None]) -> None:
    for own in (Word(READY), Word(CONFIRMED)):
        assert resolve(own, peers, over=False, waited=False) is None, "a lease that is renewed leaves it to the run"
        word = resolve(own, peers, over=True, waited=True)
        assert isinstance(word, Word)
        assert word.stage in (CONFIRMED, COMMITTED, BACK)


@pytest.mark.parametrize("peers", [list(peers) for peers in itertools.product(HEARD, repeat=2)])
def test_a_word_that_somebody_said_is_never_unsaid(peers: list[Word | None]) -> None:
    for own in (Word(COMMITTED, True), Word(BACK, True), Word(BACK, True, True), Word(None)):
        assert not in_doubt(own)
        assert resolve(own, peers, over=True, waited=True) is None


def test_a_person_who_goes_back_on_one_edge_takes_along_those_in_doubt() -> None:
    said = Word(BACK, True, True)
    for own in (Word(READY), Word(CONFIRMED), Word(COMMITTED), Word(BACK, False, True)):
        word = resolve(own, [Word(COMMITTED, True), said], over=True, waited=False)
        assert isinstance(word, Word)
        assert (word.stage, word.sure) == (BACK, True)


@pytest.mark.parametrize(
    ("own", "peers", "word"),
    [
        (Word(READY), [Word(CONFIRMED), Word(READY)], Word(CONFIRMED)),
        (Word(READY), [Word(COMMITTED), None], Word(CONFIRMED)),
        (Word(READY), [Word(COMMITTED, True)], Word(CONFIRMED)),
        (Word(READY), [Word(BACK)], Word(BACK)),
        (Word(CONFIRMED), [Word(CONFIRMED), Word(CONFIRMED)], Word(COMMITTED)),
        (Word(CONFIRMED), [Word(COMMITTED), None], Word(COMMITTED)),
        (Word(CONFIRMED), [Word(COMMITTED, True), None], Word(COMMITTED, True)),
        (Word(CONFIRMED), [Word(CONFIRMED), Word(BACK)], Word(BACK, False, True)),
        (Word(CONFIRMED), [], Word(COMMITTED, True)),
        (Word(READY), [], Word(BACK)),
        (Word(COMMITTED), [Word(BACK, False, True)], Word(BACK, False, True)),
        (Word(COMMITTED), [Word(COMMITTED, True), Word(BACK, False, True)], Word(COMMITTED, True)),
        (Word(COMMITTED), [None, None], None),
        (Word(BACK, False, True), [Word(COMMITTED)], None),
        (Word(BACK, False, True), [Word(COMMITTED, True)], Word(COMMITTED, True)),
    ],
)
def test_what_an_edge_makes_of_its_peers(own: Word, peers: list[Word | None], word: Word | None) -> None:
    assert resolve(own, peers, over=True, waited=False) == word


def test_who_never_confirmed_cannot_go_forward() -> None:
    assert resolve(Word(BACK), [Word(COMMITTED, True)], over=True, waited=True) is None


def test_an_edge_waits_for_one_that_is_not_heard_before_it_goes_back() -> None:
    for own in (Word(READY), Word(CONFIRMED)):
        assert resolve(own, [None], over=True, waited=False) == WAIT
    assert resolve(Word(CONFIRMED), [Word(READY)], over=True, waited=False) == WAIT
    assert resolve(Word(READY), [Word(READY)], over=True, waited=False) == Word(BACK), "nobody had confirmed"
