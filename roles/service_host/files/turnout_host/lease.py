"""A lease on the right to run scheduler and timers, so that another host takes over by itself, never two at once.

Pure: no clock, process or network of its own; `agent` (a host) and `witness` (an edge) give it those.

An edge leases to one host at a time, for a stated time by a clock that nobody sets (CLOCK_BOOTTIME). To begin, a host
needs the leases of most edges (`take`); to go on, of so many (`keep`) that no other host can have most of them. A host
counts from the moment when it asked, an edge from when it granted, and a host leaves a part of the time for clocks that
run differently: so it has stopped before any edge leases to another. The record of the home (`home`) goes to the taker
by a `term`, below the fence of the next run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from turnout_host import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from typing import Any

    Replies = Mapping[str, "tuple[float, dict[str, Any]]"]  # by edge: when it was asked, and what it said
    Requests = dict[str, dict[str, Any]]

ROUNDS_S = 20.0  # of the stated time: to see that the lease is over, and to ask thrice
POLL_S = 4.0  # between two requests
STAGGER_S = 3.0  # by which each further host waits longer, so that two do not split the edges
DRIFT = 0.02  # by which clocks may run differently
SLACK_S = 1.0


def quorums(edges: int) -> tuple[int, int]:
    """Return of how many edges a host needs the lease to begin, and to go on."""
    take = edges // 2 + 1
    return take, edges - take + 1


def hold_s(for_s: float) -> float:
    """Return for how long a host may count on a lease, from when it asked."""
    return for_s * (1 - DRIFT) - SLACK_S


# An edge ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Now:
    """What an edge knows when it is asked: its clock, its boot, the record that runs left there, what it is told to do.

    `for_s` is for how long it leases, 0 for never; `edges` are all edges that lease.
    """

    now_s: float
    boot: str
    record: home.Record | None
    for_s: float
    edges: tuple[str, ...]


def _over_s(state: Mapping[str, Any], now: Now) -> float:
    """Return for how many seconds an edge has leased to nobody; negative while it does."""
    since_s = state["heard"] if state["boot"] == now.boot else 0.0  # after a reboot: at least since then
    return now.now_s - since_s - float(state["for_s"])


def answer(state: dict[str, Any] | None, host: str, asked: Mapping[str, Any], now: Now) -> tuple[dict[str, Any], Any]:
    """Return an edge's new state and its reply to a host's request."""
    # Whom an edge without a state has leased to is not known: to nobody else for that time.
    state = state or {"heard": now.now_s, "boot": now.boot, "for_s": now.for_s, "holder": "?", "spoke": [], "serial": 0}
    state = {**state, "record": home.newest([state.get("record"), now.record])}
    if state.get("of_s") != now.for_s:  # who spoke before it was switched off or changed may not know it
        state |= {"of_s": now.for_s, "spoke": []}
    granted = bool(now.for_s) and _GRANTS[str(asked["do"])](state, host, asked, now)
    if granted:
        state["serial"] += 1
    over_s = _over_s(state, now)
    return state, {
        "granted": granted,
        "record": state["record"],
        "holder": state["holder"] if over_s < 0 else "",
        "free_s": max(0.0, over_s),
        "ago_s": now.now_s - (state["heard"] if state["boot"] == now.boot else 0.0),
        "spoke": state["spoke"],
        "serial": state["serial"],
        "for_s": now.for_s,
    }


def _lease(state: dict[str, Any], host: str, now: Now) -> bool:
    state |= {"heard": now.now_s, "boot": now.boot, "for_s": now.for_s, "holder": host}
    state["spoke"] = sorted({*state["spoke"], host})
    return True


def _renew(state: dict[str, Any], host: str, asked: Mapping[str, Any], now: Now) -> bool:
    """A home goes on, or begins: nobody else has the lease, and no newer record names another home."""
    record, known = home.checked(asked.get("record")), state["record"]
    if record is None or record["host"] != host:
        return False
    if known is not None and known["host"] != host and home.rank(known) > home.rank(record):
        return False
    # An edge that knows the home and has forgotten only its lease believes it.
    forgotten = state["holder"] == "?" and known is not None and known["host"] == host
    if _over_s(state, now) < 0 and state["holder"] != host and not forgotten:
        return False
    state["record"] = home.newest([known, record])
    return _lease(state, host, now)


def _take(state: dict[str, Any], host: str, asked: Mapping[str, Any], now: Now) -> bool:
    """Another host takes over: the lease is over, of a home that knew leases. It is no home before it says so."""
    base, known = home.checked(asked.get("record")), state["record"]
    if base is None or asked.get("serial") != state["serial"] or list(now.edges) != asked.get("edges"):
        return False
    if known is not None and home.rank(known) > home.rank(base):
        return False
    if base["host"] not in state["spoke"] or (_over_s(state, now) < 0 and state["holder"] != host):
        return False
    return _lease(state, host, now)


def _leave(state: dict[str, Any], host: str, asked: Mapping[str, Any], now: Now) -> bool:
    """A host on which nothing runs gives the lease back. An old request that comes late says another serial."""
    if state["holder"] != host or asked.get("serial") != state["serial"]:
        return False
    state |= {"heard": now.now_s, "boot": now.boot, "for_s": 0.0, "holder": ""}
    return True


_GRANTS = {"renew": _renew, "take": _take, "leave": _leave, "look": lambda *_: False}


# A host -----------------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """One host, between two turns. `record` and `held` survive a reboot, `ends` and `has` do not.

    `held` is the rank of the record under which it had the lease last, `ends` when each edge's lease ends by its clock.
    `renewed_s` is when the edges were asked that leased to it in this turn, so many that it may go on by them, and, for
    a taker, `heard_s` no earlier than the last word of the home before; both by this host's clock.
    """

    me: str
    edges: tuple[str, ...]
    workers: tuple[str, ...]
    clock: Callable[[], float]
    record: home.Record | None = None
    held: list[Any] | None = None
    ends: dict[str, float] = field(default_factory=dict)
    has: bool = False
    renewed_s: float = 0.0
    heard_s: float = 0.0

    def at_home(self) -> bool:
        """Tell whether the newest record names this host."""
        return self.record is not None and self.record["host"] == self.me

    def until_s(self) -> float:
        """Return until when what is to run on one host may run here; 0 for not at all."""
        keep = quorums(len(self.edges))[1]
        ends = sorted(self.ends.values(), reverse=True)
        return ends[keep - 1] if self.has and self.at_home() and len(ends) >= keep else 0.0

    def turn(self, *, running: bool, can_take: bool) -> Generator[Requests, Replies, None]:
        """Ask the edges once: yields requests, is sent replies.

        `running` is whether anything of it runs here, `can_take` whether this host has what is to run.
        """
        if self.at_home():
            yield from self._renew()
            return
        replies = yield {edge: {"do": "look"} for edge in self.edges}
        self._learn(replies)
        leased = {
            edge: {"do": "leave", "serial": reply["serial"]}
            for edge, (_, reply) in replies.items()
            if reply["holder"] == self.me and not running
        }
        if leased and not self.at_home():
            yield leased
        elif can_take and not running and self.record is not None and not self.at_home():
            yield from self._take(replies, self.record)

    def learn(self, records: Iterable[home.Record | None]) -> None:
        """Take the newest record that somebody told."""
        self.record = home.newest([self.record, *records])
        if not self.at_home():
            self.ends, self.has = {}, False

    def _learn(self, replies: Replies) -> None:
        self.learn(home.checked(reply["record"]) for _, reply in replies.values())

    def _renew(self) -> Generator[Requests, Replies, None]:
        replies = yield {edge: {"do": "renew", "record": self.record} for edge in self.edges}
        self._learn(replies)
        if not self.at_home() or self.record is None:
            return
        now_s = self.clock()
        self.has = self.until_s() > now_s
        for edge, (asked_s, reply) in replies.items():
            if reply["granted"]:
                self.ends[edge] = asked_s + hold_s(reply["for_s"])
        take, keep = quorums(len(self.edges))
        before = self.held == home.rank(self.record) or self.record.get("by_word")
        need = keep if self.has or before else take
        if sum(end > now_s for end in self.ends.values()) >= need:
            self.has, self.held = True, home.rank(self.record)
        asked = sorted((asked_s for asked_s, reply in replies.values() if reply["granted"]), reverse=True)
        self.renewed_s = asked[keep - 1] if self.has and len(asked) >= keep else 0.0

    def _take(self, replies: Replies, base: home.Record) -> Generator[Requests, Replies, None]:
        take = quorums(len(self.edges))[0]
        others = [name for name in self.workers if name != base["host"]]
        wait_s = STAGGER_S * (others.index(self.me) if self.me in others else len(others))
        free = {
            edge: {"do": "take", "record": base, "serial": reply["serial"], "edges": list(self.edges)}
            for edge, (_, reply) in replies.items()
            if reply["for_s"] and not reply["holder"] and reply["free_s"] >= wait_s and base["host"] in reply["spoke"]
        }
        if len(free) < take:
            return
        # One of these edges leased to the home whenever a job of its timers began.
        self.heard_s = self.clock() - min(replies[edge][1]["ago_s"] for edge in free)
        replies = yield free
        self._learn(replies)
        if self.record != base or sum(reply["granted"] for _, reply in replies.values()) < take:
            return
        self.record = {**base, "host": self.me, "term": int(str(base.get("term", 0))) + 1}
        self.record.pop("by_word", None)
        yield from self._renew()
