"""Making a change true on disk and in HAProxy, or putting everything back."""

from __future__ import annotations

import time

from .edge import Edge
from .errors import EXIT_PUT_BACK, EXIT_REFUSED, EXIT_USAGE, Trouble, refusal
from .haproxy import Disobeyed, Unreachable
from .request import Who
from .state import WHOLE_BP, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .errors import Json


def note(edge: Edge, who: Who, event: str, action: str, **facts: Any) -> Json:
    """Append a line to the journal."""
    line = {"ts": edge.clock.stamp(), "run": who.run, "actor": who.actor, "phase": who.phase}
    return edge.journal.append({**line, "event": event, "action": action, **facts})


def answer(who: Who, action: str, changed: bool, message: str, **facts: Any) -> Json:
    """Return a command's answer."""
    head = {"ok": True, "changed": changed, "action": action, "dry_run": who.dry_run, "message": message}
    return {**head, "run": who.run, **facts}


def disk_trouble(fault: OSError, what: str, exit_code: int = EXIT_REFUSED) -> Trouble:
    """Return the error for a disk that cannot be written."""
    return Trouble(
        "disk",
        exit_code,
        f"{what} cannot be read or written: {fault.strerror or fault}",
        "a disk with room that may be written",
        "df -h /var/lib /etc; mount | grep -w ro",
    )


def require_agreement(edge: Edge, state: State) -> None:
    """Refuse to go on when HAProxy or the map file holds another share than this edge wants."""
    live = edge.live()
    disk_bp = edge.disk_bp()
    if live["green_bp"] == disk_bp == state.green_bp:
        return
    seen = live["error"] or f"{live['green_bp']} in the running HAProxy"
    remedy = (
        "turnout-edge apply (brings both back to what the edge wants)"
        if edge.has_state()
        else "this edge does not know yet what serves: turnout-edge adopt --color C --release JSON"
    )
    if not live["reachable"]:
        remedy = "systemctl start haproxy"
    raise refusal("disagrees", f"green's share: {seen}, {disk_bp} on disk", f"{state.green_bp} in both", remedy)


def carry_out(edge: Edge, who: Who, action: str, before: State, after: State, *, message: str, **facts: Any) -> Json:
    """Make a change true on disk and in HAProxy, or put everything back and say so (exit 5)."""
    touch_live = after.green_bp != before.green_bp or action in ("move", "apply", "adopt")
    after = stamped(edge, before, after)
    if faults := after.faults():
        expected = "a state that can be read back"
        raise Trouble(
            "unsound", EXIT_USAGE, f"{action} would leave that {'; '.join(faults)}", expected, "mend the words"
        )
    facts = {**facts, "before": before.summary(), "after": after.summary()}
    # Where users are, which is not what the state says after a rollback that could not be written to the disk.
    was_live_bp = edge.live()["green_bp"] if touch_live else None
    in_place = not touch_live or was_live_bp == edge.disk_bp() == after.green_bp
    if before == after and in_place:
        return answer(who, action, False, message, **facts)
    if touch_live:
        require_haproxy(edge)
    if who.dry_run:
        return answer(who, action, True, message, **facts)
    try:
        note(edge, who, "intent", action, target=after.as_json())
    except OSError as fault:
        raise disk_trouble(fault, "the journal") from fault
    try:
        edge.write_state(after)
        if touch_live:
            edge.write_map(after.green_bp)
            facts["older_workers"] = edge.haproxy.set_green_bp(after.green_bp)
    except (OSError, Unreachable, Disobeyed) as fault:
        sound = was_live_bp is not None and was_live_bp <= WHOLE_BP
        live_bp = (was_live_bp if sound else before.green_bp) if touch_live else None
        raise put_back(edge, who, action, before, cause=fault, live_bp=live_bp, facts=facts) from fault
    edge.tell_peers(after)
    try:
        note(edge, who, "result", action, state=after.as_json())
    except OSError as fault:
        facts["warnings"] = [f"the journal could not be written: {fault.strerror or fault}"]
    return answer(who, action, True, message, **facts)


def stamped(edge: Edge, before: State, after: State) -> State:
    """Return the state with the moment since which users get what they get."""
    return after if after.serves() == before.serves() else after.but(since=edge.clock.stamp())


def require_haproxy(edge: Edge) -> None:
    """Refuse when the running HAProxy cannot be told anything."""
    live = edge.live()
    if live["error"]:
        remedy = "systemctl reload haproxy" if live["reachable"] else "systemctl start haproxy"
        raise refusal(
            "haproxy",
            live["error"],
            "a running HAProxy that knows the map",
            f"{remedy}; journalctl -u haproxy",
        )


def put_back(
    edge: Edge, who: Who, action: str, before: State, *, cause: Exception, live_bp: int | None, facts: Json
) -> Trouble:
    """Undo a change that did not take; returns the error to raise. `live_bp` is what HAProxy held, None: leave it."""
    faults = []
    try:
        edge.write_state(before)
        if live_bp is not None:
            edge.write_map(before.green_bp)
    except OSError as fault:
        faults.append(f"the disk ({fault.strerror or fault})")
    if live_bp is not None:
        try:
            edge.haproxy.set_green_bp(live_bp)
        except (Unreachable, Disobeyed) as fault:
            faults.append(f"the running HAProxy ({fault})")
    why = f"{action} did not take: {cause}"
    outcome = "everything is put back" if not faults else f"could NOT be put back: {'; '.join(faults)}"
    try:
        note(edge, who, "result", action, failed=f"{why}; {outcome}", state=before.as_json())
    except OSError:
        outcome += " (and the journal could not be written)"
    expected = "HAProxy holding what it was told"
    remedy = "journalctl -u haproxy; systemctl reload haproxy; then turnout-edge apply"
    if isinstance(cause, OSError):  # a reload would read the share of a disk that may be behind
        expected = "a disk with room that may be written"
        remedy = "mend the disk (df -h; df -i; mount), then the same again; where traffic is: turnout-edge show --human"
    return Trouble(
        "put-back" if not faults else "half-done",
        EXIT_PUT_BACK,
        f"{why}; {outcome}",
        expected,
        remedy,
        **{**facts, "after": before.summary(), "changed": bool(faults)},
    )


def checked_backend(edge: Edge, color: str, patience_s: float = 1.5, *, alone: bool = False) -> Json:
    """Return a color's backend; right after HAProxy's start, wait for its first health checks.

    Raises Unreachable, or Trouble where HAProxy does not have both backends, with `alone` not this one.
    """
    deadline = time.monotonic() + patience_s
    while True:
        backend = (edge.haproxy.backends([color]) if alone else edge.haproxy.backends())[color]
        if not any(server["pending"] for server in backend["servers"]) or time.monotonic() > deadline:
            return backend
        time.sleep(0.05)
