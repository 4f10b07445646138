"""The watchdog: takes traffic back when a lease runs out, and mends a share that got lost."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time

from .change import carry_out, checked_backend, note
from .checks import check_move_up
from .commands import command_apply, end_handover
from .edge import Edge
from .errors import EXIT_DONE, Trouble, refusal
from .haproxy import Unreachable
from .holding import disarm_lease
from .lock import lease_has_run_out, lock_is_fresh
from .request import Who
from .resolve import BACK, COMMITTED, CONFIRMED, PATIENCE_S, READY, Word, in_doubt, resolve
from .rollback import command_rollback
from .store import no_state_folder
from .transitions import commit, confirm, forward

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from .errors import Json
    from .state import State


WATCH_POLL_S = 0.25
WATCH_DRIFT_EVERY = 2  # polls between two looks at HAProxy
WATCH_SAID = 100  # different things that are remembered as told
WATCH_TELL_EVERY = 4  # polls between two words to the peers
WATCH_MEASURE_EVERY = 20  # polls between two writings of the metrics
WATCH_PRUNE_EVERY = 14_400  # polls between two looks at the journal's length


class Watch:
    """Takes traffic back when a lease runs out, and mends a share that HAProxy or the map file lost."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        edge.reads_newer = True  # whoever is protected does not wait for a newer program
        self.polls = 0
        self.drift: Json | None = None
        self.said: set[str] = set()
        self.over_since: tuple[str, float] | None = None

    def tick(self) -> None:
        """Look once."""
        self.polls += 1
        self.attempt(self.look)
        if self.polls % WATCH_TELL_EVERY == 0:
            self.attempt(self.tell)  # also while something keeps the rest from being done
        if self.polls % WATCH_MEASURE_EVERY == 1:
            self.attempt(self.measure)
        if self.polls % WATCH_PRUNE_EVERY == 1:
            self.attempt(self.prune)

    def attempt(self, work: Callable[[], None]) -> None:
        """Do a part of the work; tell what keeps it from being done."""
        try:
            work()
        except Trouble as fault:
            self.say(fault.as_text())
        except (OSError, Unreachable) as fault:
            self.say(f"turnout-edge: {fault}")
        except Exception as fault:  # a watchdog that ends guards nobody
            self.say(unforeseen(fault))

    def look(self) -> None:
        """End a lease that ran out, or mend a share that is wrong."""
        over = lease_has_run_out(self.edge.load_lease(), self.edge.clock.mark())
        if over or (self.polls % WATCH_DRIFT_EVERY and self.is_in_doubt()):
            self.decide()
        elif self.polls % WATCH_DRIFT_EVERY == 0:
            self.look_for_drift()

    def tell(self) -> None:
        """Tell the peers where this edge is."""
        self.edge.tell_peers(self.edge.load_state())

    def measure(self) -> None:
        """Tell Prometheus where this edge is."""
        self.edge.tell_metrics(self.edge.load_state())

    def prune(self) -> None:
        """Keep the journal from growing for ever."""
        with self.edge.locked():
            self.edge.journal.prune()

    def say(self, text: str) -> None:
        """Tell the system's journal, once for each thing there is to tell."""
        if not text or text in self.said:
            return
        if len(self.said) >= WATCH_SAID:
            self.said.clear()
        self.said.add(text)
        print(text, file=sys.stderr, flush=True)

    def is_in_doubt(self) -> bool:
        """Tell whether this edge is left between the words of a run, or worked out the last one by itself."""
        word = self.edge.load_state().word()
        if word.stage in (READY, CONFIRMED):
            return not self.edge.load_lease().get("armed")
        return in_doubt(word)

    def decide(self) -> None:
        """Do what follows from a lease that ran out, and from what the peers say."""
        edge = self.edge
        with edge.locked():
            lease = edge.load_lease()
            state, _ = edge.load_state_for_rollback()
            over = lease_has_run_out(lease, edge.clock.mark())
            word = state.word()
            if word.stage not in (READY, CONFIRMED) and over:
                self.end_lease(lease, state)
                return
            over = over or not lease.get("armed")
            run = str((state.handover or {}).get("run"))
            peers = edge.peers_on(run)
            target = resolve(word, peers, over=over, waited=self.has_waited(run, over))
            if isinstance(target, Word):
                self.follow(state, target, run, peers)

    def has_waited(self, run: str, over: bool) -> bool:
        """Tell whether the lease of a run has been over for longer than an edge waits for its peers."""
        now = self.edge.clock.mark()["boot"]
        if not over:
            self.over_since = None
        elif self.over_since is None or self.over_since[0] != run:
            self.over_since = (run, now)
        return self.over_since is not None and now - self.over_since[1] > PATIENCE_S

    def follow(self, state: State, target: Word, run: str, peers: list[Word | None]) -> None:
        """Take the word that this edge worked out for a run."""
        edge, word = self.edge, state.word()
        who = Who(run, "peers")
        stamp = {"run": run, "at": edge.clock.stamp()}
        # Where there is nothing to go back to, what was confirmed stands.
        stuck = target.stage == BACK and word.stage in (CONFIRMED, COMMITTED) and state.previous is None
        result: Json | None
        if target.stage == BACK and not stuck:
            result = self.follow_back(who, state, target, peers)
        elif target.stage == CONFIRMED:
            result = carry_out(edge, who, "confirm", state, confirm(state, None, stamp), message="confirmed, as a peer")
        elif word.stage == BACK:
            result = self.go_forward(who, state, stamp)
        else:
            result = end_handover(edge, who, state, commit(state, stamp, sure=target.sure or stuck))
        if result is None:
            return
        self.put_on_record(who, state, edge.load_state(), peers)
        self.say(f"turnout-edge: run {run} is gone (peers: {words(peers)}): {result['message']}")

    def put_on_record(self, who: Who, before: State, after: State, peers: list[Word | None]) -> None:
        """Enter into journal and ledger what this edge worked out by itself."""
        was, now = before.word(), after.word()
        facts = {"was": was.stage, "stage": now.stage, "sure": now.sure, "heard": words(peers)}
        note(self.edge, who, "note", "resolved", **facts)
        if now.stage == COMMITTED and was.stage != COMMITTED:
            head = {"ts": self.edge.clock.stamp(), "kind": "resolved", "run": who.run, "actor": who.actor}
            place = {**after.identity(after.stable), "color": after.stable}
            self.edge.ledger.append({**head, **place, **facts})

    def follow_back(self, who: Who, state: State, target: Word, peers: list[Word | None]) -> Json:
        """Go back, because the run is gone and the peers say nothing better."""
        word = state.word()
        if word.stage == BACK or state.stable is None:
            after = state.but(handover={**(state.handover or {}), "stage": BACK, "sure": target.sure})
            result = carry_out(self.edge, who, "back", state, after, message="it has gone back, and stays there")
            disarm_lease(self.edge, who)
            return result
        reason = f"the lease of run {who.run} ran out, {word.stage}; peers: {words(peers)}"
        return self.go_back({"run": who.run}, rollback_options(unsure=not target.sure, reason=reason))

    def go_forward(self, who: Who, state: State, stamp: Json) -> Json | None:
        """Serve again what this edge went back from: the run had committed it elsewhere. None where that must wait."""
        edge = self.edge
        after = forward(state, stamp)
        if after is None:
            self.say(f"turnout-edge: a peer committed the release of run {who.run}, and it is not here any more")
            return None
        holder = edge.load_lock()["holder"]
        if holder is not None and holder["run"] != who.run and lock_is_fresh(holder, edge.clock.mark()):
            return None  # somebody is at work; asked again
        color = str(after.stable)
        check_move_up(state.but(candidate=color, previous=None), checked_backend(edge, color), [])
        message = f"all traffic is on {color} ({after.named(color)}), as the run committed it elsewhere"
        return carry_out(edge, who, "forward", state, after, message=message)

    def end_lease(self, lease: Json, state: State) -> None:
        """The run that was to renew the lease is gone: go back to the stable color."""
        edge = self.edge
        who = Who(None, "lease")
        if state.candidate is None or state.share_bp == 0 or state.stable is None:
            where = "no user is on a candidate" if state.stable else "there is no stable release to go back to"
            edge.write_lease({"armed": False})
            note(edge, who, "note", "lease-ran-out", lease_run=lease.get("run"), result=where)
            self.say(f"turnout-edge: the lease of run {lease.get('run')} ran out; {where}")
            return
        result = self.go_back(lease, rollback_options(unsure=True))
        self.say(f"turnout-edge: the lease of run {lease.get('run')} ran out: {result['message']}")

    def go_back(self, lease: Json, options: argparse.Namespace) -> Json:
        """Go back to the stable color, and put on record what keeps it from being done."""
        try:
            return command_rollback(self.edge, Who(None, "lease"), options)
        except Trouble as fault:
            if fault.as_text() not in self.said:
                who = Who(None, "lease")
                note(self.edge, who, "note", "lease-ran-out", lease_run=lease.get("run"), failed=fault.as_json())
            raise

    def look_for_drift(self) -> None:
        """Mend a share that is wrong for two looks: a reload that raced with a move, a crash, a hand."""
        edge = self.edge
        if not edge.has_state():
            return
        seen = self.see()
        if seen is None:
            self.said.clear()  # all is well: what goes wrong from here on is told anew
        if seen is None or seen != self.drift:
            self.drift = seen
            return
        self.drift = None
        with edge.locked():
            if self.see() == seen:
                result = command_apply(edge, Who(None, "watch"), rollback_options())
                self.say(f"turnout-edge: found {json.dumps(seen)}; mended: {result['message']}")

    def see(self) -> Json | None:
        """Return where HAProxy or the map file differ from the state; None where they agree."""
        edge = self.edge
        state = edge.load_state()
        live = edge.live()
        disk_bp = edge.disk_bp()
        if live["error"]:
            live["green_bp"] = state.green_bp  # it cannot be mended now; the disk can
        if live["green_bp"] == disk_bp == state.green_bp:
            return None
        return {"wanted": state.green_bp, "disk": disk_bp, "live": live["green_bp"]}


def unforeseen(fault: Exception) -> str:
    """Return the words for an error that nobody foresaw: what and where, and nothing that differs from look to look."""
    import traceback

    where = traceback.extract_tb(fault.__traceback__)[-1]
    return (
        f"turnout-edge: internal: {type(fault).__name__} in {where.name}, line {where.lineno} of "
        f"{os.path.basename(where.filename)}; expected: no such thing; the watchdog goes on; remedy: report this line"
    )


def rollback_options(*, unsure: bool = False, reason: str | None = None) -> argparse.Namespace:
    """Return the options of a rollback that nobody typed; `unsure` where nobody said it either (see resolve)."""
    import argparse

    flags = {"further": False, "force": False, "put_back": False, "keep_confirmed": False}
    return argparse.Namespace(**flags, reason=reason, quarantine=None, by_itself=True, unsure=unsure)


def words(peers: list[Word | None]) -> str:
    """Return what the peers said, for a person."""
    return ", ".join("not heard" if peer is None else str(peer.stage) for peer in peers) or "none"


def notify(text: str) -> None:
    """Tell systemd (READY=1, WATCHDOG=1); nothing where it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)  # a systemd that does not listen must not hold the watchdog up
            connection.sendto(text.encode(), address)
    except BlockingIOError:
        return
    except OSError as fault:
        print(f"turnout-edge: systemd does not hear: {fault}", file=sys.stderr)


def run_watch(edge: Edge) -> int:
    """Watch until told to stop."""
    import signal

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGINT, lambda *_: stopping.append(1))
    try:
        descriptor = os.open(edge.watch_path(), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:  # a disk that went read-only, or a folder in its place
        try:
            descriptor = os.open(edge.watch_path(), os.O_RDONLY)
        except OSError:
            raise no_state_folder(edge.watch_path(), fault) from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        trouble = refusal("watch-runs", "a watchdog runs already", "one", "systemctl status turnout-edge-watch")
        print(trouble.as_text(), file=sys.stderr)
        return trouble.exit_code
    watch = Watch(edge)
    notify("READY=1")
    while not stopping:
        watch.tick()
        notify("WATCHDOG=1")
        time.sleep(WATCH_POLL_S)
    os.close(descriptor)
    return EXIT_DONE
