"""The commands of a release: prepare, move, ready, confirm, commit, settle, and those that keep the records."""

from __future__ import annotations

from .change import answer, carry_out, checked_backend, note, require_agreement, require_haproxy
from .checks import check_move_up, describe_servers
from .edge import Edge
from .errors import EXIT_DISK_ONLY, EXIT_USAGE, Trouble, refusal
from .holding import arm_lease, disarm_lease, keep_lease
from .lock import check_lock
from .request import Who, read_json, required_run, split_names
from .resolve import CONFIRMED, READY
from .state import WHOLE_BP, State, choose_recovered, percent
from .transitions import adopt, commit, confirm, forget, move, plan_schema, prepare, ready, record_schema, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .errors import Json


def command_prepare(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Declare the candidate at share 0."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = prepare(state, options.color, read_json(options.release, "--release"), who.run)
    if state.candidate is None:
        require_agreement(edge, state)
    name = f"{options.color} ({after.named(options.color)})"
    message = f"{name} is the candidate, with {percent(after.share_bp)} of the traffic"
    return carry_out(edge, who, "prepare", state, after, message=message, displaced=after.displaced)


def command_move(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Give the candidate a share."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = move(state, options.share_bp, options.expect_share)
    require_haproxy(edge)
    if options.expect_share is not None:
        require_agreement(edge, state)
    if after.share_bp > state.share_bp:
        check_move_up(state, checked_backend(edge, str(state.candidate)), split_names(options.allow_down))
    name = f"{after.candidate} ({after.named(after.candidate)})"
    message = f"{name} has {percent(after.share_bp)} of the traffic, it had {percent(state.share_bp)}"
    if options.lease_s is None:
        return carry_out(edge, who, "move", state, after, message=message)
    lease = arm_lease(edge, who, options.lease_s)  # before the traffic moves: it must never move without one
    return carry_out(edge, who, "move", state, after, message=message, lease=lease)


def command_ready(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Record that this edge can confirm the candidate; the first of three words."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = ready(state, options.color, stamp_of(edge, who))
    require_agreement(edge, state)
    lease = keep_lease(edge, who) if after.word(who.run).stage == READY else None  # it ends what is left between words
    message = f"{options.color} ({after.named(options.color)}) is ready to be confirmed"
    return carry_out(edge, who, "ready", state, after, message=message, handover=after.handover, lease=lease)


def stamp_of(edge: Edge, who: Who) -> Json:
    """Return who asks, and when."""
    return {"run": who.run, "at": edge.clock.stamp()}


def command_confirm(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Make the candidate stable, and keep the lease; the second of three words."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = confirm(state, options.color, stamp_of(edge, who))
    require_agreement(edge, state)
    message = f"{after.stable} ({after.named(after.stable)}) is stable; "
    if after.previous:
        message += f"{after.previous} ({after.named(after.previous)}) stays as the way back"
    else:
        message += "there is nothing to go back to yet"
    if after.word(who.run).stage == CONFIRMED:
        keep_lease(edge, who)
    return carry_out(edge, who, "confirm", state, after, message=message, handover=after.handover)


def command_commit(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Let the release stand, and disarm the lease; the last of three words, said when every edge has confirmed."""
    del options
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    return end_handover(edge, who, state, commit(state, stamp_of(edge, who)))


def end_handover(edge: Edge, who: Who, state: State, after: State) -> Json:
    """Make a commit true."""
    message = f"{after.stable} ({after.named(after.stable)}) stands"
    result = carry_out(edge, who, "commit", state, after, message=message, handover=after.handover)
    disarm_lease(edge, who)
    return result


def command_settle(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Drop the candidate after it was put back."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = settle(state, options.previous_restored, stamp_of(edge, who))
    message = "there is no candidate" if after == state else f"candidate {state.candidate} is dropped"
    result = carry_out(edge, who, "settle", state, after, message=message)
    disarm_lease(edge, who)
    return result


def command_forget(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Keep no way back to a color whose release can serve no more, and say why (--reason)."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    after = forget(state, options.color)
    message = f"there is no way back to {options.color}"
    if after != state:
        message = f"{options.color} ({state.named(options.color)}) is no way back any more: {options.reason}"
    return carry_out(edge, who, "forget", state, after, message=message, reason=options.reason)


def command_schema(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Record how far the database's schema is, or (--planned) how far migrations that begin now may take it."""
    state = edge.load_state()
    check_lock(edge.load_lock(), who.run, edge.clock.mark())
    truth, planned = (options.version, options.last_contract), (options.planned, options.planned_contract)
    version, contract = planned if truth == (None, None) else truth
    if None not in (*truth, *planned) or None in (version, contract) or not 0 <= contract <= version:
        raise Trouble(
            "schema",
            EXIT_USAGE,
            f"--version {truth[0]} --last-contract {truth[1]} --planned {planned[0]} --planned-contract {planned[1]}",
            "one of the two pairs, with 0 <= contract <= version",
            "mend the numbers",
        )
    stamp = {"at": edge.clock.stamp(), "run": who.run}
    numbers = {"version": version, "last_contract": contract}
    if truth == (None, None):
        after = plan_schema(state, numbers, stamp)
        message = f"migrations up to {version} begin, the last contract migration among them is {contract}"
    else:
        after = record_schema(state, numbers, stamp)
        message = f"schema at migration {version}, last contract migration {contract}"
    return carry_out(edge, who, "schema", state, after, message=message, schema=after.schema)


def command_apply(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Bring the map file and the running HAProxy back to what this edge wants."""
    del options
    state = edge.load_state()
    if not edge.has_state():
        raise refusal(
            "no-state",
            "this edge does not know yet what serves",
            "a state.json",
            "deploy, or: turnout-edge adopt --color C --release JSON",
        )
    found: Json = {"live": edge.live(), "disk_bp": edge.disk_bp()}
    message = f"green has {percent(state.green_bp)}"
    if not found["live"]["error"]:
        return carry_out(edge, who, "apply", state, state, message=message, found=found)
    changed = found["disk_bp"] != state.green_bp
    if changed and not who.dry_run:
        note(edge, who, "intent", "apply", found=found)
        edge.write_map(state.green_bp)
    raise Trouble(
        "haproxy",
        EXIT_DISK_ONLY,
        f"the map file is right, but the running HAProxy cannot be told: {found['live']['error']}",
        message,
        "systemctl restart haproxy (it reads the share from the disk when it starts)",
        changed=changed,
        found=found,
    )


def command_adopt(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Declare what serves, on an edge that does not know it."""
    state = State(edge.config.service) if options.force else edge.load_state()
    if options.force and not options.reason:
        raise Trouble("reason", EXIT_USAGE, "--force without --reason", "why", '--reason "..."')
    after = adopt(state, options.color, read_json(options.release, "--release"))
    backend = ask_backend(edge, options.color)
    if not backend.get("api_up", backend["up"]) and not options.force:
        raise refusal(
            "target-down",
            f"no server of {backend['backend']} is UP ({describe_servers(backend)})",
            "at least one",
            'start it, or: adopt --force --reason "..."',
        )
    message = f"{options.color} ({after.named(options.color)}) is stable here"
    return carry_out(edge, who, "adopt", state, after, message=message, reason=options.reason)


def ask_backend(edge: Edge, color: str) -> Json:
    """Return a color's backend, or refuse when HAProxy cannot be asked."""
    require_haproxy(edge)
    return checked_backend(edge, color)


def command_journal(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Append a line to the journal, or read its tail."""
    if options.event is None:
        return answer(who, "journal", False, "read", lines=edge.journal.tail(options.tail))
    run = required_run(who)
    data = read_json(options.json, "--json")
    detail = {"detail": data} if data else {}
    message = f"{options.event} {options.action} of run {run}"
    if who.dry_run:
        return answer(who, "journal", True, message)
    return answer(who, "journal", True, message, line=note(edge, who, options.event, options.action, **detail))


def command_ledger(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Append an entry to the ledger, or read its tail."""
    if options.json is None:
        return answer(who, "ledger", False, "read", lines=edge.ledger.tail(options.tail))
    run = required_run(who)
    entry = read_json(options.json, "--json")
    if not isinstance(entry.get("kind"), str):
        raise Trouble("ledger", EXIT_USAGE, "--json has no kind", '"kind": "release" or the like', "add it")
    if not who.dry_run:
        head = {"ts": edge.clock.stamp(), "run": run, "actor": who.actor}
        entry = edge.ledger.append({**head, **{k: v for k, v in entry.items() if k not in (*head, "seq")}})
    return answer(who, "ledger", True, f"{entry['kind']} entered", line=entry)


def command_recover(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Rebuild a state that is lost or cannot be read, from the journal."""
    try:
        state = edge.load_state()
        if edge.has_state() and not options.force:
            return answer(who, "recover", False, "the state can be read: nothing to recover", state=state.as_json())
    except Trouble as fault:
        if fault.code not in ("state-corrupt", "state-missing"):
            raise
    live = edge.live()
    live_bp = live["green_bp"] if live["reachable"] else edge.disk_bp()
    found = choose_recovered(edge.journal.states(), live_bp, edge.config.service)
    if found is None:
        raise refusal(
            "no-journal",
            "the journal holds no state",
            "at least one result with a state",
            f"say what serves (HAProxy sends {live_bp} of {WHOLE_BP} to green): " + edge.adopt_words(),
        )
    message = (
        f"stable {found.stable} ({found.named(found.stable)}), candidate {found.candidate or 'none'} "
        f"with {percent(found.share_bp)}"
    )
    if not who.dry_run:
        edge.write_state(found)
        edge.write_map(found.green_bp)
        note(edge, who, "result", "recover", state=found.as_json(), live=live)
    agree = live["green_bp"] == found.green_bp
    if not agree:
        message += f"; HAProxy holds {live['green_bp']} for green, not {found.green_bp}"
        message += ": turnout-edge apply, or rollback"
    return answer(who, "recover", True, message, state=found.as_json(), live=live, agree=agree)
