"""What an edge does when its run's second word does not come: a pure function of its own word and its peers'.

A release is confirmed in three words, each said to every edge before the next: `ready`, `confirm`, `commit`. Until the
last one an edge holds its lease. When nobody renews it any more, the edge is left between the words, and decides here:

- A word that somebody said is *sure*: `commit` by the run, `rollback` by a person. All edges that are in doubt follow
  it, and pass it on. What an edge worked out by itself is not sure, and it goes on asking.
- Who is ready follows an edge that has confirmed: the run says `confirm` only once all are ready.
- Who has confirmed commits when all peers have confirmed too: the run was one word from its end.
- Otherwise the old version is right, and an edge that went back takes along those that only worked out the new one.

An edge changes its mind a bounded number of times (ready, confirmed, committed, back, committed on a sure word), so
this ends; tests/unit/edge/test_edge_resolve.py enumerates every order of words, deaths and messages.
"""

from __future__ import annotations

READY, CONFIRMED, COMMITTED, BACK = STAGES = ("ready", "confirmed", "committed", "back")
WAIT = "wait"
PATIENCE_S = 5.0  # for a peer that is not heard or has not confirmed, after the lease has run out


class Word:
    """What an edge said last about a run. `confirmed`: it had confirmed before it went back."""

    __slots__ = ("confirmed", "stage", "sure")

    def __init__(self, stage: str | None, sure: bool = False, confirmed: bool = False) -> None:
        self.stage = stage
        self.sure = sure
        self.confirmed = confirmed

    def key(self) -> tuple[str | None, bool, bool]:
        """Return the values that make two words the same."""
        return self.stage, self.sure, self.confirmed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return f"Word{self.key()}"


def in_doubt(own: Word) -> bool:
    """Tell whether an edge may still change its mind by itself."""
    return own.stage in (READY, CONFIRMED) or (own.stage in (COMMITTED, BACK) and not own.sure)


def resolve(own: Word, peers: list[Word | None], *, over: bool, waited: bool) -> Word | str | None:
    """Return the word that this edge takes next, WAIT to ask again, or None to stay.

    `peers` holds every other edge of the group: None for one that is not heard, a word without a stage for one that
    says nothing of this run. `over`: nobody renews the lease; `waited`: and that for longer than PATIENCE_S.
    """
    if not in_doubt(own) or (own.stage in (READY, CONFIRMED) and not over):
        return None
    heard = [peer for peer in peers if peer is not None]
    sure = {peer.stage for peer in heard if peer.sure}
    if BACK in sure:
        return Word(BACK, True, own.confirmed or own.stage in (CONFIRMED, COMMITTED))
    if COMMITTED in sure:
        return follow_commit(own)
    stages = {peer.stage for peer in heard}
    if own.stage == BACK or (own.stage == COMMITTED and BACK not in stages):
        return None
    back = Word(BACK, False, own.stage != READY)
    if BACK in stages:
        return back
    all_heard = len(heard) == len(peers)
    if own.stage == READY:
        hopeless = waited or (all_heard and not stages & {CONFIRMED, COMMITTED})
        way = Word(CONFIRMED) if stages & {CONFIRMED, COMMITTED} else None
    else:
        hopeless = waited
        way = Word(COMMITTED, not peers) if COMMITTED in stages or (all_heard and stages <= {CONFIRMED}) else None
    return way or (back if hopeless else WAIT)


def follow_commit(own: Word) -> Word | None:
    """Return what follows from a peer's word that the run has committed."""
    if own.stage == READY:
        return Word(CONFIRMED)
    return None if own.stage == BACK and not own.confirmed else Word(COMMITTED, True)
