"""The commands of the lock and the lease."""

from __future__ import annotations

from .change import answer, note
from .edge import Edge
from .errors import EXIT_LOCKED, EXIT_USAGE, Trouble, refusal
from .lock import check_lock, describe_lock, fence_of, lock_is_fresh, mark_age_s
from .request import Who, required_run
from .resolve import CONFIRMED, READY
from .shapes import LONGEST_LEASE_S, LONGEST_S, is_count, is_number
from .show import show_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .errors import Json


def ended_lock(holder: Json, ended: str, edge: Edge) -> Json:
    """Return what is remembered of a holder that lost or released the lock."""
    return {
        "run": holder["run"],
        "owner": holder["owner"],
        "purpose": holder["purpose"],
        "ended": ended,
        "ended_at": edge.clock.stamp(),
    }


def release_lock(edge: Edge, who: Who) -> None:
    """Release the lock of this run, but keep in mind whom it was taken from: that run will ask."""
    lock = edge.load_lock()
    if lock["holder"] is None or lock["holder"]["run"] != who.run:
        return  # it could not be written that it was taken
    last = lock["last"]
    if last is None or not last["ended"].startswith("taken over"):
        last = ended_lock(lock["holder"], "released", edge)
    edge.write_lock({**lock, "holder": None, "last": last})
    note(edge, who, "note", "lock-released")


def command_lock_take(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Take the lock; from a holder that shows no life any more, or with --break from anybody."""
    run = required_run(who)
    if not is_count(options.fence):
        expected = "a whole number from 0 to 2^63 - 1"
        raise Trouble("fence", EXIT_USAGE, f"--fence {options.fence}", expected, "mend the number")
    if not is_number(options.ttl_s):
        expected = f"a number of seconds from 0 to {LONGEST_S:g}"
        raise Trouble("ttl", EXIT_USAGE, f"--ttl-s {options.ttl_s:g}", expected, "mend the number")
    now = edge.clock.mark()
    lock = edge.load_lock()
    holder = lock["holder"]
    fence = max(fence_of(lock, run), options.fence)
    if holder is not None and holder["run"] == run:
        raise_fence(edge, who, lock, fence)
        return {**command_lock_beat(edge, who, options), "fence": fence}
    if holder is not None and lock_is_fresh(holder, now) and not options.break_lock:
        wait_s = holder["ttl_s"] - mark_age_s(holder["beat"], now)
        raise Trouble(
            "lock",
            EXIT_LOCKED,
            f"the lock is {describe_lock(lock, now)}",
            "a free lock, or one whose holder has shown no life for its time to live",
            f"wait for it to end; if its holder is dead, wait {wait_s:.0f} s, "
            "or: ansible-playbook turnout.ops.unlock (on this edge: turnout-edge lock break)",
            holder=holder,
        )
    mine = {
        "run": run,
        "owner": options.owner or who.actor,
        "pid": options.pid,
        "purpose": options.purpose,
        "ttl_s": options.ttl_s,
        "fence": fence,
        "taken": now,
        "beat": now,
    }
    message = f"the lock is run {run}'s"
    if holder is not None:
        how = "broken" if options.break_lock else "stale"
        message += f"; it was {how}: {describe_lock(lock, now)}"
    if not who.dry_run:
        last = lock["last"] if holder is None else ended_lock(holder, f"taken over by {run} ({mine['owner']})", edge)
        edge.write_lock({"holder": mine, "last": last, "fence": fence})
        note(edge, who, "note", "lock-taken", purpose=options.purpose, took_over=holder, fence=fence)
        edge.journal.prune()
    shown = show_lock({"holder": mine, "last": None, "fence": fence}, now)
    return answer(who, "lock-take", True, message, lock=shown, took_over=holder, fence=fence)


def raise_fence(edge: Edge, who: Who, lock: Json, fence: int) -> None:
    """Give the lock's holder a greater fencing number: the one that its run has on another edge."""
    if who.dry_run or lock["holder"].get("fence") == fence:
        return
    edge.write_lock({**lock, "holder": {**lock["holder"], "fence": fence}, "fence": max(fence, lock["fence"])})
    note(edge, who, "note", "fence-raised", fence=fence)


def command_lock_beat(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Show life: renew the lock, and the lease with it if this run armed one."""
    del options
    now = edge.clock.mark()
    lock = edge.load_lock()
    holder = check_lock(lock, who.run, now)
    lease = edge.load_lease()
    mine = lease.get("armed") and lease.get("run") == who.run
    if not who.dry_run:
        edge.write_lock({**lock, "holder": {**holder, "beat": now}}, durable=False)
        if mine:
            edge.write_lease({**lease, "renewed": now}, durable=False)
    return answer(who, "lock-beat", False, "renewed", lease_renewed=bool(mine), took_over=None)


def command_lock_keep(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Show life; give this run's lock, and no other, a greater fencing number or a longer time to live.

    A rollback does that once it knows the hosts: how far they count, and how long they may take.
    """
    if options.fence < 0 or not 0 <= options.ttl_s < float("inf"):
        observed = f"--fence {options.fence} --ttl-s {options.ttl_s:g}"
        raise Trouble("usage", EXIT_USAGE, observed, "numbers from 0 on", "mend the number")
    lock = edge.load_lock()
    holder = check_lock(lock, who.run, edge.clock.mark())
    raise_fence(edge, who, lock, max(fence_of(lock, str(who.run)), options.fence))
    lock = lock if who.dry_run else edge.load_lock()
    if options.ttl_s > holder["ttl_s"] and not who.dry_run:
        edge.write_lock({**lock, "holder": {**lock["holder"], "ttl_s": options.ttl_s}})
    return {**command_lock_beat(edge, who, options), "fence": max(fence_of(lock, str(who.run)), options.fence)}


def command_lock_release(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Release the lock if it is this run's; harmless if it is not."""
    del options
    run = required_run(who)
    lock = edge.load_lock()
    holder = lock["holder"]
    if holder is None or holder["run"] != run:
        message = f"nothing to release: {describe_lock(lock, edge.clock.mark())}"
        return answer(who, "lock-release", False, message, holder=holder)
    if not who.dry_run:
        edge.write_lock({**lock, "holder": None, "last": ended_lock(holder, "released", edge)})
        if not between_words(edge, run):
            disarm_lease(edge, who)
        note(edge, who, "note", "lock-released")
    return answer(who, "lock-release", True, "released", holder=None)


def between_words(edge: Edge, run: str) -> bool:
    """Tell whether a run has begun to confirm here and not said its last word: then its lease ends it.

    Where the state cannot be read it may have: the lease stays armed, for the watchdog to end.
    """
    try:
        return edge.load_state().word(run).stage in (READY, CONFIRMED)
    except Trouble:
        return True


def command_lock_break(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Remove whoever holds the lock, on the record."""
    lock = edge.load_lock()
    holder = lock["holder"]
    if holder is None:
        return answer(who, "lock-break", False, "nobody holds the lock", broke=None)
    message = f"broken: {describe_lock(lock, edge.clock.mark())}"
    if not who.dry_run:
        ended = f"taken over: broken by {who.actor}" + (f" ({options.reason})" if options.reason else "")
        edge.write_lock({**lock, "holder": None, "last": ended_lock(holder, ended, edge)})
        note(edge, who, "note", "lock-broken", broke=holder, reason=options.reason)
    return answer(who, "lock-break", True, message, broke=holder)


def arm_lease(edge: Edge, who: Who, lease_s: float) -> Json:
    """Arm or renew the lease of this run."""
    if not is_number(lease_s, most=LONGEST_LEASE_S) or lease_s <= 0:
        # A longer one could not be read back, and the watchdog would end it at once.
        expected = f"a positive number of seconds, at most {LONGEST_LEASE_S:.0f}"
        remedy = "mend the number: --lease-s, or lease_s in edge.json (edge_lease_s of the edge role)"
        raise Trouble("lease", EXIT_USAGE, f"a lease of {lease_s:g} s", expected, remedy)
    if edge.config.require_watch and not edge.watch_is_alive():
        raise refusal(
            "watch-down",
            "the watchdog that would keep the lease does not run",
            "turnout-edge-watch.service running",
            "systemctl start turnout-edge-watch; journalctl -u turnout-edge-watch",
        )
    known = edge.load_lease()
    lease = {"armed": True, "run": who.run, "lease_s": lease_s, "renewed": edge.clock.mark()}
    if not who.dry_run:
        edge.write_lease(lease)
        if not (known.get("armed") and known.get("run") == who.run and known.get("lease_s") == lease_s):
            note(edge, who, "note", "lease-armed", lease_s=lease_s)
    return lease


def keep_lease(edge: Edge, who: Who) -> Json:
    """Renew the lease of this run, or arm one where it has none."""
    known = edge.load_lease()
    own = bool(known.get("armed")) and known.get("run") == who.run and "lease_s" in known
    return arm_lease(edge, who, known["lease_s"] if own else edge.config.lease_s)


def disarm_lease(edge: Edge, who: Who) -> bool:
    """Disarm the lease, if it is armed; tells whether it was."""
    if not edge.load_lease().get("armed"):
        return False
    if not who.dry_run:
        edge.write_lease({"armed": False})
        note(edge, who, "note", "lease-disarmed")
    return True


def command_lease_arm(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Arm the lease: without renewal the edge goes back to stable by itself."""
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    lease = arm_lease(edge, who, options.lease_s or edge.config.lease_s)
    return answer(who, "lease-arm", True, f"lease of {lease['lease_s']:g} s armed", lease=lease)


def command_lease_renew(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Renew the lease of this run."""
    del options
    run = required_run(who)
    lease = edge.load_lease()
    if not lease.get("armed") or lease.get("run") != run:
        raise Trouble(
            "lease",
            EXIT_LOCKED,
            f"no lease of run {run} is armed; it may have run out. The lock: "
            + describe_lock(edge.load_lock(), edge.clock.mark()),
            "an armed lease of this run",
            "look what happened: turnout-edge show --human",
        )
    if not who.dry_run:
        edge.write_lease({**lease, "renewed": edge.clock.mark()}, durable=False)
    return answer(who, "lease-renew", False, f"{lease['lease_s']:g} s more")


def command_lease_disarm(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Disarm the lease of this run."""
    del options
    run = required_run(who)
    lease = edge.load_lease()
    if not lease.get("armed"):
        return answer(who, "lease-disarm", False, "no lease is armed")
    if lease.get("run") != run:
        check_lock(edge.load_lock(), run, edge.clock.mark())
    return answer(who, "lease-disarm", disarm_lease(edge, who), "disarmed")
