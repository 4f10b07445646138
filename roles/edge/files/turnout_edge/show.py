"""Everything there is to see on this edge, as JSON and as a table for people."""

from __future__ import annotations

import socket

from . import version
from .change import answer
from .checks import describe_servers
from .edge import Edge
from .errors import Trouble
from .haproxy import Unreachable
from .journal import parse_line
from .lock import lease_has_run_out, lock_is_fresh, mark_age_s
from .request import Who
from .resolve import Word, in_doubt
from .state import COLORS, percent
from .store import utc_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .errors import Json


def command_show(edge: Edge, who: Who, options: argparse.Namespace) -> Json:
    """Show everything; change nothing."""
    now = edge.clock.mark()
    live = edge.live()
    disk_bp = edge.disk_bp()
    shown: Json = {
        "service": edge.config.service,
        "host": socket.gethostname(),
        "program": {"version": version.VERSION or None, "protocol": version.PROTOCOL},
        "newer": edge.newer_files(),
        "live": live,
        "disk": {"green_bp": disk_bp},
        "lock": show_lock(edge.load_lock(), now),
        "lease": show_lease(edge.load_lease(), now),
        "watch": edge.watch_is_alive(),
        "peers": edge.hear_peers(),
        "unfinished": edge.journal.unfinished(),
        "journal": edge.journal.tail(options.tail),
        "ledger": edge.ledger.tail(options.tail),
        "quarantine": quarantined(edge),
        **show_haproxy(edge),
    }
    try:
        state = edge.load_state()
    except Trouble as fault:
        fault.facts = {**fault.facts, **shown, "agree": False}
        raise
    traffic = {**state.as_json(), **state.summary(), "serving": state.serving_bp()}
    traffic["agree"] = live["green_bp"] == disk_bp == state.green_bp
    traffic["known"] = edge.has_state()
    return answer(who, "show", False, "", **{**traffic, **shown})


def quarantined(edge: Edge) -> Json:
    """Return what went back by itself, unless a person let it go again since: as `held_as` names it.

    What was entered before configurations were on record is about the artifact, whatever its configuration.
    """
    held: Json = {}
    for raw in edge.ledger.lines():
        if b'"quarantine"' not in raw and b'"again"' not in raw:
            continue
        entry = parse_line(raw) or {}
        sha256 = entry.get("sha256")
        if not isinstance(sha256, str) or not sha256:
            continue
        if entry.get("kind") == "quarantine":
            held[held_as(entry)] = entry
        elif entry.get("kind") == "again":
            every = not entry.get("configuration")
            held = {
                key: one
                for key, one in held.items()
                if one["sha256"] != sha256 or not (every or key in (sha256, held_as(entry)))
            }
    return held


def held_as(record: Json) -> str:
    """Return the name of a release in quarantine: its sha256, and its configuration where that is known."""
    return " ".join(str(record[key]) for key in ("sha256", "configuration") if record.get(key))


def show_haproxy(edge: Edge) -> Json:
    """Return backends and process of the running HAProxy; nothing where it does not answer."""
    try:
        return {"backends": edge.haproxy.backends(), "haproxy": edge.haproxy.info()}
    except Unreachable:
        return {"backends": None, "haproxy": None}
    except Trouble as fault:
        return {"backends": None, "haproxy": edge.haproxy.info(), "backends_error": fault.as_json()}


def show_lock(lock: Json, now: Json) -> Json:
    """Return the lock with its age."""
    holder = lock["holder"]
    if holder is None:
        return {"held": False, "fence": lock["fence"], "last": lock["last"]}
    shown = {key: value for key, value in holder.items() if key not in ("taken", "beat")}
    return {
        "held": True,
        **shown,
        "fence": lock["fence"],
        "taken_at": utc_text(holder["taken"]["wall"]),
        "beat_at": utc_text(holder["beat"]["wall"]),
        "age_s": round(mark_age_s(holder["beat"], now), 1),
        "fresh": lock_is_fresh(holder, now),
        "last": lock["last"],
    }


def show_lease(lease: Json, now: Json) -> Json:
    """Return the lease with what is left of it."""
    if not lease.get("armed"):
        return {"armed": False}
    expired = lease_has_run_out(lease, now)
    left_s = 0.0 if expired else max(0.0, lease["lease_s"] - mark_age_s(lease["renewed"], now))
    return {
        "armed": True,
        "run": lease.get("run"),
        "lease_s": lease.get("lease_s"),
        "left_s": round(left_s, 1),
        "expired": expired,
    }


def table(shown: Json) -> str:
    """Return what `show` found, for a person."""
    laid = shown["program"]["version"]
    rows = [f"{shown['service']} on {shown['host']}" + (f", turnout-edge {laid}" if laid else ""), ""]
    for color in COLORS:
        roles = [name for name in ("stable", "previous", "candidate") if shown.get(name) == color]
        record = shown["releases"][color]
        backend = (shown["backends"] or {}).get(color)
        servers = describe_servers(backend) if backend else "HAProxy does not answer"
        rows.append(
            f"  {color:<6}{percent(shown['serving'][color]):>8}  {' '.join(roles) or '-':<9} "
            f"{_short(record) if record else '-':<13} {servers}"
        )
    live = shown["live"]
    rows += ["", f"  HAProxy, map file and state agree: {'yes' if shown['agree'] else 'NO'}"]
    if not shown["agree"]:
        seen = live["error"] or live["green_bp"]
        rows.append(
            f"    green: wanted {shown['green_bp']}, on disk {shown['disk']['green_bp']}, in HAProxy {seen}"
            "  (turnout-edge apply, or rollback)"
        )
    lock = shown["lock"]
    held = (
        f"run {lock['run']} ({lock['purpose']}, {lock['owner']}), sign of life {lock['age_s']:.0f} s ago"
        + ("" if lock["fresh"] else ", STALE")
        if lock["held"]
        else "free"
    )
    rows.append(f"  lock: {held}")
    lease = shown["lease"]
    rows.append("  lease: " + (f"{lease['left_s']:g} s left" if lease["armed"] else "not armed"))
    word = shown.get("handover")
    if word and in_doubt(Word(word["stage"], word.get("sure") is True)):
        rows.append(f"  in doubt: run {word['run']} did not say its last word here; this edge is {word['stage']}")
    rows += [
        f"  peer {name}: "
        + (
            f"{said.get('stable')} ({said.get('release')})"
            if said
            else "NOT HEARD (systemctl status turnout-edge-peers)"
        )
        for name, said in shown["peers"].items()
    ]
    if not shown["watch"]:
        rows.append("  watchdog: DOES NOT RUN (systemctl start turnout-edge-watch)")
    rows += [
        f"  newer: {entry['path']} is of format {entry['format']}, written by a newer turnout-edge"
        "  (ansible-playbook turnout.ops.site --tags edge)"
        for entry in shown["newer"]
    ]
    rows += [
        f"  unfinished: run {run['run']} ({run['action']}, {run['actor']}), last {run['last']['action']}"
        f" at {run['last']['ts']}"
        for run in shown["unfinished"]
    ]
    rows += [f"  {e.get('ts')}  {e.get('kind')}  {describe_entry(e)}  {e.get('actor')}" for e in shown["ledger"][-5:]]
    return "\n".join(rows)


def describe_entry(entry: Json) -> str:
    """Return what a ledger entry is about, in a few words."""
    if entry.get("kind") == "rollback":
        names = [_short(side) if isinstance(side, dict) else "?" for side in (entry.get("from"), entry.get("to"))]
        return f"{names[0]} -> {names[1]}"
    if entry.get("kind") == "drill":
        return f"{entry.get('mode')}: {entry.get('verdict')}"
    return _short(entry) if entry.get("release") else ""


def _short(record: Json) -> str:
    """Return a release in a table: version and configuration."""
    return " ".join(str(record[key]) for key in ("release", "configuration") if record.get(key)) or "?"
