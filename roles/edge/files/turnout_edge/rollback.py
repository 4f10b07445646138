"""The way back: made true wherever it can be, whatever else is broken."""

from __future__ import annotations

import os
import time

from .change import answer, checked_backend, note, stamped
from .checks import check_rollback_target, web_down
from .commands import end_handover
from .edge import Edge
from .errors import EXIT_DISK_ONLY, EXIT_INTERNAL, EXIT_LIVE_ONLY, EXIT_LOCKED, EXIT_USAGE, Trouble
from .haproxy import Disobeyed, Unreachable
from .holding import disarm_lease, ended_lock, release_lock
from .lock import describe_lock, fence_of, lock_is_fresh
from .request import Who, as_characters
from .resolve import COMMITTED, CONFIRMED
from .show import held_as, quarantined
from .state import COLORS, State, identity_of, named
from .store import utc_text
from .transitions import commit, put_back, roll_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from .errors import Json

LOCK_TTL_S = 60.0  # a rollback that keeps the lock for its playbook and then dies holds it no longer than this


class WayBack:
    """One rollback: what it starts from, what it makes true, and what is to be said of it."""

    def __init__(self, who: Who, before: State, way: tuple[State, str, str]) -> None:
        self.who = who
        self.before = before
        self.after, self.action, self.why_nothing = way
        self.moves = False
        self.forced = False
        self.reason: str | None = None
        self.took_over: Json | None = None
        self.took_ms = 0
        self.fence = 0
        self.recovered: str | None = None
        self.quarantined = False
        self.warnings: list[str] = []
        self.ends_others = False

    def gone(self) -> str | None:
        """Return the color that loses its users."""
        if self.action == "candidate":
            return self.before.candidate
        return self.before.stable if self.action == "previous" else None

    def message(self) -> str:
        """Return what happens, in plain words."""
        to = f"{self.after.stable} ({self.after.named(self.after.stable)})"
        if self.action == "nothing":
            return self.why_nothing
        if self.action == "apply":
            text = f"{to} has all of the traffic again"
        elif self.action == "candidate" and not self.moves:
            text = f"candidate {self.before.candidate} has no traffic; all of it is on {to}, where it was"
        else:
            gone = f"{self.gone()} ({self.before.named(self.gone())})"
            text = f"all traffic is back on {to}; {gone} has none"
        if self.took_over:
            holder = self.took_over
            text += f". The lock was taken over from run {holder['run']} ({holder['purpose']}, {holder['owner']})"
        if self.recovered:
            text += f". {self.recovered}: what was in service was recovered from the journal"
        if self.quarantined:
            text += f". {named(identity_of(self.condemned_record()))} is in quarantine"
        return text

    def condemned_record(self) -> Json:
        """Return the release that a verdict of this run is about: the one that goes; empty where none can be meant."""
        color = self.gone()
        if color is None and self.before.rolled_back and self.before.confirmed_by == self.who.run:
            color = self.before.rolled_back.get("color")  # it went before, by a lease or by a person
        record = self.before.releases.get(color) if color in COLORS else None
        return record or {}

    def facts(self) -> Json:
        """Return what the answer tells besides its message."""
        return {
            "before": self.before.summary(),
            "after": self.after.summary(),
            "displaced": self.before.displaced,
            "releases": self.after.releases,
            "candidate_release": self.before.releases[self.before.candidate] if self.before.candidate else None,
            "moved": self.moves,
            "forced": self.forced,
            "took_over": self.taken_from(),
            "took_ms": self.took_ms,
            "fence": self.fence,
            "quarantined": self.quarantined,
        }

    def taken_from(self) -> Json | None:
        """Return whose lock was taken over, as people read it."""
        if self.took_over is None:
            return None
        keys = ("run", "owner", "pid", "purpose")
        return {**{key: self.took_over[key] for key in keys}, "beat_at": utc_text(self.took_over["beat"]["wall"])}

    def ledger_entry(self, at: str) -> Json:
        """Return the ledger's entry."""
        gone = self.gone()
        return {
            "ts": at,
            "kind": "rollback",
            "run": self.who.run,
            "actor": self.who.actor,
            "action": self.action,
            "from": {"color": gone, **self.before.identity(gone)} if gone else None,
            "to": {"color": self.after.stable, **self.after.identity(self.after.stable)},
            "forced": self.forced,
            "reason": self.reason,
            "took_over": self.taken_from(),
            "took_ms": self.took_ms,
        }


def command_rollback(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Go back: the candidate's users to stable, or the users of stable to previous."""
    check_options(who, options)
    started = time.monotonic()
    keep_lock = who.run is not None  # a playbook goes on with the workers, and releases the lock itself
    # Never the same twice, also after a reboot: a second rollback must know the lock of a first that was cut short
    # for somebody else's.
    who.run = who.run or f"rollback-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"
    state, recovered = edge.load_state_for_rollback()
    stamp = {"run": who.run, "at": edge.clock.stamp()}
    if options.put_back:
        verdict = options.quarantine is not None
        if not verdict:
            state = let_stand(edge, who, state, told=options.keep_confirmed)
        way = WayBack(who, state, put_back(state, stamp, options.keep_confirmed, sure=verdict))
    else:
        # What the watchdog does by itself is not sure: nobody said it.
        way = WayBack(who, state, roll_back(state, stamp, options.further, sure=not getattr(options, "unsure", False)))
    # What a person goes back from is over. A lease that ran out, or a page, leaves it for a person to see.
    way.ends_others = not (options.put_back or getattr(options, "by_itself", False))
    way.forced, way.reason, way.recovered = bool(options.force), options.reason, recovered
    way.warnings += [newer_words(entry) for entry in edge.newer_files()]
    live = edge.live()
    in_place = live["green_bp"] == edge.disk_bp() == way.after.green_bp
    way.moves = way.before.stable is not None and not in_place
    cut_short = way.moves or way.before != way.after or (recovered and way.before.stable is not None)
    if way.action == "nothing" and cut_short:
        way.action = "apply"  # by a crash, before HAProxy or the map file had it; or gone back in doubt: now it is said
    check_way(edge, way, options)
    entered = quarantine(edge, way, options.quarantine)  # before anything moves: whoever dies from here on, it stays
    lock = edge.load_lock()
    holder = lock["holder"]
    if way.action == "nothing" and not keep_lock:
        way.fence = lock["fence"]
        return answer(who, "nothing", entered, way.message(), **way.facts(), warnings=way.warnings)
    way.took_over = holder if holder is not None and holder["run"] != who.run else None
    way.fence = fence_of(lock, who.run)
    takes_lock = way.took_over is not None or (keep_lock and holder is None)
    if way.action == "nothing":
        # Its playbook goes on to the processes of the hosts, so it needs the lock and a number of its own.
        if takes_lock and not who.dry_run:
            way.warnings += take_lock(edge, who, lock, ends_others=way.ends_others)
            tell_no_lock_that_is_not_held(edge, way)
        return answer(who, "nothing", entered, way.message(), **way.facts(), warnings=way.warnings)
    changed = way.moves or way.before != way.after or takes_lock or recovered is not None
    if who.dry_run or not changed:
        return answer(who, way.action, changed or entered, way.message(), **way.facts(), warnings=way.warnings)
    return carry_back(edge, way, lock, keep_lock=keep_lock, started=started)


def newer_words(entry: Json) -> str:
    """Return what is told of a file that a newer program wrote."""
    return (
        f"{entry['path']} is of format {entry['format']}, newer than this turnout-edge: it was read as far as it looks "
        "like an older one; lay the newer program again: ansible-playbook turnout.ops.site --tags edge"
    )


def target_backend(edge: Edge, color: str) -> Json | None:
    """Return the backend that the users go back to, or None when HAProxy does not answer."""
    try:
        return checked_backend(edge, color, alone=True)  # what became of the other one keeps nobody from going back
    except Unreachable:
        return None
    except Trouble as fault:
        fault.remedy += '; or go back all the same: turnout-edge rollback --force --reason "..."'
        raise


def let_stand(edge: Edge, who: Who, state: State, *, told: bool) -> State:
    """Commit what the run confirmed here where its last word was said, to `told` or to another edge."""
    word = state.word(who.run)
    said = told or any(peer is not None and peer.stage == COMMITTED and peer.sure for peer in edge.peers_on(who.run))
    if not said or word.stage not in (CONFIRMED, COMMITTED) or word.sure or is_another_runs(edge, who):
        return state
    after = commit(state, {"run": who.run, "at": edge.clock.stamp()})
    end_handover(edge, who, state, after)
    return state if who.dry_run else edge.load_state()


def is_another_runs(edge: Edge, who: Who) -> bool:
    """Tell whether another run that is alive holds the lock."""
    holder = edge.load_lock()["holder"]
    return holder is not None and holder["run"] != who.run and lock_is_fresh(holder, edge.clock.mark())


def quarantine(edge: Edge, way: WayBack, why: str | None) -> bool:
    """Put the release that goes in quarantine because `why`, on the disk; tells whether that was new.

    An entry that cannot be written keeps nobody from going back: that is told as a warning.
    """
    record = way.condemned_record()
    if why is None or not record or way.who.dry_run:
        return False
    head = {"ts": edge.clock.stamp(), "kind": "quarantine", "run": way.who.run, "actor": way.who.actor}
    names = {**{key: record.get(key) for key in ("release", "release_id", "sha256")}, **identity_of(record)}
    try:
        held = quarantined(edge).get(held_as(record))
        new = held is None or held.get("run") != way.who.run
        if new:
            edge.ledger.append({**head, **names, "why": why, "share_bp": way.before.share_bp})
    except Exception as fault:  # whatever it is, it keeps nobody from going back
        why_not = (fault.strerror if isinstance(fault, OSError) else "") or f"{type(fault).__name__} {fault}"
        way.warnings.append(f"NOT in quarantine, the ledger could not be written: {why_not}")
        return False
    way.quarantined = True
    return new


def check_options(who: Who, options: argparse.Namespace) -> None:
    """Raise Trouble for options that lack what they need."""
    if options.force and not options.reason:
        raise Trouble("reason", EXIT_USAGE, "--force without --reason", "why", '--reason "..."')
    if options.quarantine is not None and not options.quarantine.strip():
        raise Trouble("reason", EXIT_USAGE, "--quarantine without a reason", "why", '--quarantine "..."')
    if options.put_back and who.run is None:
        raise Trouble("usage", EXIT_USAGE, "--put-back without --run", "the run to put back", "--run ID")


def check_way(edge: Edge, way: WayBack, options: argparse.Namespace) -> None:
    """Raise Trouble where this way back may not be gone. A run's verdict about its own release holds all the same."""
    try:
        if options.put_back:
            check_put_back(edge, way.who)
        if way.action != "nothing" and way.moves and not options.force:
            backend = target_backend(edge, str(way.after.stable))
            check_rollback_target(way.after, backend)
            way.warnings += [web_words(way.after, name) for name in web_down(backend)]
    except Trouble as fault:
        if options.put_back:
            quarantine(edge, way, options.quarantine)
            fault.facts = {**fault.facts, "quarantined": way.quarantined}
        raise


def web_words(state: State, name: str) -> str:
    """Return what is told of a web process that is down in the color that the users go back to."""
    unit = f"{state.service}-web-{name}@{state.stable}"
    return f"no server of web process {name} is UP in {state.stable}: its requests get 503 (systemctl start {unit})"


def check_put_back(edge: Edge, who: Who) -> None:
    """Raise Trouble for a put-back while another run that is alive holds the lock.

    Nobody pressed a button for a put-back: whoever took the lock since then knows more.
    """
    lock, now = edge.load_lock(), edge.clock.mark()
    holder = lock["holder"]
    if holder is not None and holder["run"] != who.run and lock_is_fresh(holder, now):
        raise Trouble(
            "lock",
            EXIT_LOCKED,
            f"the lock is {describe_lock(lock, now)}",
            f"run {who.run}'s own, or free",
            "wait for that run to end, then look: ansible-playbook turnout.ops.status",
        )


def end_others(edge: Edge, who: Who) -> None:
    """Write the end of every other run that has none: without the lock it can change nothing any more."""
    for run in edge.journal.unfinished():
        if run["run"] != who.run:
            note(edge, Who(run["run"], who.actor), "end", str(run["action"]), ended_by=who.run)


def take_lock(edge: Edge, who: Who, lock: Json, *, ends_others: bool) -> list[str]:
    """Take the lock for a rollback that moves nobody; returns what could not be written."""
    mine = lock_of_rollback(edge, who, lock)
    try:
        edge.write_lock(mine)
        note(edge, who, "note", "lock-taken", purpose="rollback", took_over=lock["holder"], fence=mine["fence"])
        if ends_others:
            end_others(edge, who)
    except OSError as fault:
        return [f"could not be written: lock ({fault.strerror or fault})"]
    return []


def tell_no_lock_that_is_not_held(edge: Edge, way: WayBack) -> None:
    """Say nothing of a lock that was taken over where its file, for whatever reason, says otherwise."""
    if way.took_over is None:
        return
    try:
        holder = edge.load_lock()["holder"]
    except Exception:
        holder = None
    if holder is None or holder["run"] != way.who.run:
        run, purpose, owner = (way.took_over[key] for key in ("run", "purpose", "owner"))
        way.warnings.append(f"the lock is still run {run}'s ({purpose}, {owner})")
        way.took_over = None


def carry_back(edge: Edge, way: WayBack, lock: Json, *, keep_lock: bool, started: float) -> Json:
    """Make a rollback true wherever it can be: no step that fails keeps the next from being tried."""
    unwritten: list[str] = []

    def attempt(what: str, step: Callable[..., object], *values: Any, **named: Any) -> None:
        try:
            step(*values, **named)
        except OSError as fault:
            unwritten.append(f"{what} ({fault.strerror or fault})")
        except Exception as fault:  # what nobody foresaw keeps nobody from going back either
            unwritten.append(f"{what} (internal: {type(fault).__name__} {fault})")

    who = way.who
    way.after = stamped(edge, way.before, way.after)
    attempt("lock", edge.write_lock, lock_of_rollback(edge, who, lock))  # first: the old holder may not move
    tell_no_lock_that_is_not_held(edge, way)
    target = way.after.as_json()
    attempt(
        "journal", note, edge, who, "intent", "rollback", target=target, took_over=way.taken_from(), fence=way.fence
    )
    attempt("state", edge.write_state, way.after)
    attempt("map", edge.write_map, way.after.green_bp)
    live_fault = apply_live_stubbornly(edge, way.after.green_bp)
    edge.tell_peers(way.after)
    way.took_ms = round((time.monotonic() - started) * 1000)
    attempt("lease", disarm_lease, edge, who)
    outcome = {"moved": way.moves, "forced": way.forced, "reason": way.reason, "took_ms": way.took_ms}
    failed = f"HAProxy: {live_fault}" if live_fault else None
    attempt("journal", note, edge, who, "result", "rollback", state=target, failed=failed, **outcome)
    if way.ends_others:
        attempt("journal", end_others, edge, who)
    if way.moves:
        attempt("ledger", edge.ledger.append, way.ledger_entry(edge.clock.stamp()))
    if not keep_lock:
        attempt("lock", release_lock, edge, who)
    if live_fault or any(fault.startswith(("state", "map")) for fault in unwritten):
        raise half_rollback(way, live_fault, unwritten)
    message = way.message()
    if not keep_lock:
        message += ". Workers and scheduler were left as they are: ansible-playbook turnout.ops.rollback"
    warnings = [f"could not be written: {', '.join(unwritten)}"] if unwritten else []
    return answer(who, way.action, True, message, **way.facts(), warnings=[*way.warnings, *warnings])


def lock_of_rollback(edge: Edge, who: Who, lock: Json) -> Json:
    """Return the lock as a rollback holds it, whoever held it before."""
    now = edge.clock.mark()
    holder = lock["holder"]
    fence = fence_of(lock, str(who.run))
    if holder is not None and holder["run"] == who.run:
        return {**lock, "holder": {**holder, "fence": fence, "beat": now}, "fence": max(fence, lock["fence"])}
    last = lock["last"]
    if holder is not None:
        last = ended_lock(holder, f"taken over by {who.run} ({who.actor})", edge)
    # A playbook says who goes back, and from which process; the one here is over as soon as it has answered.
    pid = os.environ.get("TURNOUT_LOCK_PID", "")
    mine = {
        "run": who.run,
        "owner": as_characters(os.environ.get("TURNOUT_LOCK_OWNER", "")) or who.actor,
        "pid": int(pid) if pid.isdecimal() and len(pid) < 19 else os.getpid(),
        "purpose": "rollback",
        "ttl_s": LOCK_TTL_S,
    }
    return {"holder": {**mine, "fence": fence, "taken": now, "beat": now}, "last": last, "fence": fence}


def apply_live_stubbornly(edge: Edge, green_bp: int) -> str | None:
    """Tell the running HAProxy, three times if need be; returns why it did not take it, or None."""
    fault = ""
    for attempt in range(3):
        if attempt:
            time.sleep(0.05)
        try:
            edge.haproxy.set_green_bp(green_bp)
            return None
        except (Unreachable, Disobeyed) as seen:
            fault = str(seen)
    return fault


def half_rollback(way: WayBack, live_fault: str | None, unwritten: list[str]) -> Trouble:
    """Return the loud error for a rollback that is true in only one place, or in none."""
    facts = {**way.facts(), "changed": True, "action": way.action, "run": way.who.run}
    on_disk = not any(fault.startswith(("state", "map")) for fault in unwritten)
    if live_fault and on_disk:
        return Trouble(
            "haproxy",
            EXIT_DISK_ONLY,
            f"WRITTEN TO DISK, BUT THE RUNNING HAPROXY DID NOT TAKE IT: {live_fault}",
            way.message(),
            "systemctl restart haproxy (it reads the share from the disk when it starts)",
            **facts,
        )
    if not live_fault:
        return Trouble(
            "disk",
            EXIT_LIVE_ONLY,
            f"MOVED IN THE RUNNING HAPROXY, BUT NOT WRITTEN TO DISK: {', '.join(unwritten)}",
            f"{way.message()}; on disk too: a reload of HAProxy would bring the old share back",
            # The watchdog knows only what the disk says, and makes it true as soon as the disk takes a change again.
            "systemctl stop turnout-edge-watch (it would bring the old share back as soon as the disk has room), and "
            "do not reload haproxy; mend the disk (df -h; df -i; mount), then turnout-edge rollback again, and "
            "systemctl start turnout-edge-watch",
            **facts,
        )
    return Trouble(
        "failed",
        EXIT_INTERNAL,
        f"NOTHING MOVED: HAProxy does not answer ({live_fault}), "
        f"and the disk does not take it ({', '.join(unwritten)})",
        way.message(),
        "mend the disk (df -h; mount), start haproxy, then turnout-edge rollback again",
        **{**facts, "changed": False},
    )
