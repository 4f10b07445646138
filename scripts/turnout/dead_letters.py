"""Dead letters for a person: what is asked for by a playbook's variables, and what came of it.

Pure: what a host told comes in, a question or text for a person goes out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from turnout import tables
from turnout.checklist.config import Checklist, Queue
from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.faults import nearest

DO = ("list", "show", "replay", "drop")
LAYOUTS = ("asynq", "rq", "sidekiq", "bullmq", "list", "stream")
CHANGES = ("replay", "drop")
# How a replay goes where nobody says otherwise: jobs/s, jobs of a batch, part of a batch, seconds, seconds.
PACE = {"rate": 10.0, "batch": 50.0, "stop_at": 0.1, "settle_s": 120.0, "limit_s": 600.0}
_BOUNDS = {
    "rate": (0.01, 10_000), "batch": (1, 10_000), "stop_at": (0, 1), "settle_s": (1, 86_400), "limit_s": (1, 86_400),
    "older_s": (0, 1e9), "newer_s": (0, 1e9), "max_delay_s": (0.1, 86_400), "most": (1, 1000),
}  # fmt: skip
_ASK = "turnout dead-letters list"


def _refuse(code: str, observed: str, expected: str, remedy: str) -> TurnoutError:
    return TurnoutError(f"dead-letters-{code}", observed=observed, expected=expected, remedy=remedy)


def _number(given: Mapping[str, Any], name: str) -> float | None:
    text = str(given.get(name) or "").strip()
    if not text:
        return None
    low, high = _BOUNDS[name]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise _refuse("number", f"{name}={text[:40]}", f"a number from {low:g} to {high:g}", f"-e {name}=NUMBER")
    return value


def _queue(config: Checklist, name: str, *, needed: bool) -> list[Queue]:
    declared = [queue for queue in config.queues if queue.layout in LAYOUTS]
    named = ", ".join(queue.name for queue in declared) or "none"
    if not declared:
        raise _refuse(
            "queue", "checklist.queues names no queue whose dead letters Redis holds",
            f"one with a layout of {', '.join(LAYOUTS)}", "docs/dead-letters.md: a queue in checklist.queues",
        )  # fmt: skip
    if not name:
        if needed and len(declared) > 1:
            raise _refuse("queue", "no queue is named", f"one of: {named}", "-e queue=NAME")
        # Of plain lists and streams only those that say where their dead letters are.
        found = [queue for queue in declared if queue.layout not in ("list", "stream") or queue.dead_keys or needed]
        if not found:
            raise _refuse(
                "queue", f"the queues in Redis are plain lists or streams ({named}), and none names its dead letters",
                "the keys that the application writes them to", "checklist.queues: `dead_keys: [KEY]`",
            )  # fmt: skip
        return found
    found = [queue for queue in declared if queue.name == name]
    if not found:
        near = nearest(name, [queue.name for queue in declared])
        raise _refuse("queue", f"the queue {name[:80]!r}", f"one of: {named}", f"-e queue={near or 'NAME'}")
    return found


def _selection(given: Mapping[str, Any]) -> dict[str, Any]:
    group = str(given.get("group") or "").strip().lower()
    if group and not re.fullmatch(r"[0-9a-f]{8}", group):
        raise _refuse("group", f"the group {group[:40]!r}", "8 hexadecimal digits, as the list shows them", _ASK)
    ids = [one for one in re.split(r"[,\s]+", str(given.get("ids") or "")) if one]
    ages = {name: _number(given, name) for name in ("older_s", "newer_s")}
    return {"group": group, "ids": ids, **ages}


def question(given: Mapping[str, Any], config: Checklist, *, check: bool) -> dict[str, Any]:
    """Return what a host is asked: `do`, and for each queue its `name` and `arguments` (with an address: a secret).

    `given` are the playbook's variables as text. Raises TurnoutError for what is not to be understood, for a change
    that selects nothing, and for one without a reason.
    """
    do = str(given.get("do") or "list")
    if do not in DO:
        near = nearest(do, DO)
        raise _refuse(
            "word", f"dead-letters {do[:40]}", f"one of: {', '.join(DO)}", f"turnout dead-letters {near or 'list'}"
        )
    select = _selection(given)
    changes = do in CHANGES
    chosen = any(value not in ("", None, []) for value in select.values())
    everything = str(given.get("everything") or "").lower() in ("true", "yes", "1")
    if changes and not chosen and not everything:
        raise _refuse(
            "selection", f"dead-letters {do} with no selection", "some of them, or the word that all are meant",
            "-e group=ID (from turnout dead-letters list), -e ids=ID,ID, -e older_s=SECONDS, or -e everything=true",
        )  # fmt: skip
    reason = str(given.get("reason") or "").strip()
    if changes and not check and not reason:
        raise _refuse(
            "reason",
            f"dead-letters {do} without a reason",
            "one for the ledger",
            "-e 'reason=\"the mail server is back\"'",
        )
    if config.redis.url is None:
        raise _refuse(
            "redis", "no address of Redis is known", "checklist.redis says where it is",
            "checklist.redis.url_from: the variable of service.environment with Redis's address",
        )  # fmt: skip
    pace: dict[str, Any] = {name: _number(given, name) for name in PACE}
    pace = {name: PACE[name] if value is None else value for name, value in pace.items()}
    limit_s = pace.pop("limit_s")
    sets = [one for one in str(given.get("sets") or "").split(",") if one]
    if set(sets) - {"dead", "retry"}:
        raise _refuse("sets", f"the sets {', '.join(sets)[:80]}", "Sidekiq's dead, retry or both", "-e sets=dead,retry")
    delay_s = _number(given, "max_delay_s")
    asked = []
    for queue in _queue(config, str(given.get("queue") or "").strip(), needed=changes):
        own = {
            **queue.arguments, "layout": queue.layout, "url": config.redis.url, "ca_file": config.redis.ca_file,
            "do": do, "select": select, "redact": list(queue.redact), "most": int(_number(given, "most") or 20),
            "limit_s": limit_s, "check": check, "held_s": queue.arguments.get("held_s", 600.0),
            "pace": {**pace, "batch": int(pace["batch"]), "max_delay_s": delay_s or queue.max_oldest_s},
            **({"sets": sets} if sets and queue.layout == "sidekiq" else {}),
        }  # fmt: skip
        asked.append({"name": queue.name, "arguments": own})
    return {"do": do, "reason": reason, "queues": asked, "limit_s": limit_s}


def _when(seconds: float | None, now: float) -> str:
    if seconds is None:
        return "-"
    age_s = max(0.0, now - seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if age_s >= size:
            return f"{age_s / size:.0f} {unit} ago"
    return f"{age_s:.0f} s ago"


def faults(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what went wrong of each queue, in one line each."""
    found = []
    for name, one in told.items():
        if one.get("problem"):
            found.append(f"{name}: {one['problem']}")
        elif one.get("ended") not in (None, "done"):
            found.append(
                f"{name}: {one['ended']}; {counted(one['selected'] - one['moved'] - one['gone'], 'job')} stayed dead"
            )
    return found


def render(do: str, told: Mapping[str, Mapping[str, Any]], *, check: bool) -> str:
    """Return what a person reads: a table of groups, the jobs, or what became of them."""
    text: list[str] = []
    for name, one in told.items():
        if one.get("problem"):
            text += [f"{name}: not known: {one['problem']}", ""]
            continue
        text.append(_head(do, name, one, check=check))
        if do == "show":
            text += [line for letter in one.get("letters", []) for line in _letter(letter, one["now"])]
            hidden = one["selected"] - len(one.get("letters", []))
            text += [f"  and {counted(hidden, 'more', 'more')} (-e most=NUMBER)"] if hidden > 0 else []
        elif one["groups"]:
            rows = [("GROUP", "JOBS", "QUEUE", "TYPE", "OLDEST", "NEWEST", "CAUSE")]
            rows += [
                (g["group"], str(g["count"]), g["queue"], g["type"], _when(g["oldest"], one["now"]),
                 _when(g["newest"], one["now"]), g["cause"] or "-")
                for g in one["groups"]
            ]  # fmt: skip
            text += tables.lines(rows, right=(1,))
        text.append("")
    return "\n".join(text).rstrip()


def _head(do: str, name: str, one: Mapping[str, Any], *, check: bool) -> str:
    some = f"{counted(one['selected'], 'dead letter')} of {one['dead']}"
    if do in CHANGES and check:
        return f"{name}: would {do} {some} (--check: nothing was changed)"
    if do == "drop":
        return f"{name}: dropped {one.get('dropped', 0)} of {some}"
    if do == "replay":
        left = one["selected"] - one["moved"] - one["gone"]
        parts = [f"{one['moved']} sent again", f"{one['done']} done", f"{one['again']} dead again"]
        parts += [f"{one['gone']} gone meanwhile"] if one["gone"] else []
        parts += [f"{left} not sent"] if left else []
        return f"{name}: {some}: {', '.join(parts)}; {'ended well' if one['ended'] == 'done' else one['ended']}"
    return f"{name}: {counted(one['dead'], 'dead letter')}" + (
        f", {one['selected']} of them selected" if one["selected"] != one["dead"] else ""
    )


def _letter(letter: Mapping[str, Any], now: float) -> list[str]:
    at = "-" if letter["at"] is None else datetime.fromtimestamp(letter["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return [
        f"  {letter['id']}  {letter['type']}  group {letter['group']}  {at} ({_when(letter['at'], now)})",
        f"    cause:   {letter['cause'] or '-'}",
        f"    payload: {letter['payload']}",
    ]


def as_json(do: str, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the same as one JSON object."""
    return json.dumps({"do": do, "queues": told}, indent=2, sort_keys=True, ensure_ascii=False)


def entry(do: str, reason: str, told: Mapping[str, Mapping[str, Any]], *, state: str) -> dict[str, Any]:
    """Return what the ledger keeps of a replay or a drop: counts alone."""
    kept = ("selected", "moved", "done", "again", "gone", "dropped", "ended", "problem")
    queues = {name: {key: one[key] for key in kept if key in one} for name, one in told.items()}
    return {"kind": "dead-letters", "do": do, "reason": reason[:500], "state": state, "queues": queues}


def failure(do: str, faults: list[str]) -> str:
    """Return the message of a question that did not end well; without faults it met nothing."""
    seen = "; ".join(faults)
    if not faults:
        remedy = f"{_ASK} shows groups, and turnout dead-letters show -e group=ID the ids in one"
        return str(_refuse("none", f"dead-letters {do} selects no dead letter", "at least one", remedy))
    if do == "replay" and "stayed dead" in seen:
        remedy = "turnout dead-letters show -e group=ID: mend the cause and replay again; or raise -e stop_at=PART"
        return str(_refuse("stopped", seen, "jobs that are done when they are tried again", remedy))
    remedy = "checklist.redis and checklist.queues of the inventory"
    return str(_refuse("unknown", seen, "an answer of Redis for each queue", remedy))
