"""Commands as steps of a release: each runs in the candidate's color, and is undone where the release goes back.

They run as those of `turnout run` do (`commands`), without a client. What began is on record in `COLOR.steps.json`
before it begins, with the words that undo it: a way back needs no service file, and a run may die at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time

from turnout_host import atomic, commands, said
from turnout_host.fence import STATE_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from turnout_host.fence import Fence

POLL_S = 0.2
LOOK_S = 5.0  # between two looks at whether a unit is there at all
TAIL = 20  # lines of a command that failed
LENGTH = 240  # characters of one line

Entry = dict[str, object]


def path_of(service: str, color: str, root: str = "/") -> str:
    """Return the record of a color's steps."""
    return os.path.join(root, STATE_DIR, service, f"{color}.steps.json")


def read(service: str, color: str, release_id: str | None, root: str = "/") -> list[Entry]:
    """Return what ran for the release that stands in a color, for any with None; nothing from a damaged record."""
    try:
        with open(path_of(service, color, root), encoding="utf-8") as file:
            record = json.load(file)
        entries = [dict(one) for one in record["steps"]]
        known = all({"name", "id", "words", "undo", "timeout_s", "done"} <= set(one) for one in entries)
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return entries if known and release_id in (None, record.get("release_id")) else []


def _write(service: str, color: str, release_id: object, entries: list[Entry], root: str) -> None:
    path = path_of(service, color, root)
    if entries:
        record = {"format": atomic.FORMAT, "release_id": release_id, "steps": entries}
        atomic.replace(path, json.dumps(record).encode() + b"\n", 0o600)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def run(request: Entry, fence: Fence, root: str = "/") -> Entry:
    """Run a command to its end. Raises CommandError where it fails, FenceError where the run was overtaken, or OSError.

    `request` has service, color, release_id, name, words, undo (words, or none), timeout_s, actor, host (by which a
    person asks for its output), and resume: whether one that ended well for this release is not run again.
    """
    service, color, release_id = (str(request[key]) for key in ("service", "color", "release_id"))
    entries = read(service, color, release_id, root)
    before = next((one for one in entries if one["name"] == request["name"]), None)
    if request["resume"] and before and before["done"] and before["words"] == request["words"]:
        return {"changed": False, "id": before["id"], "seconds": 0}
    entry: Entry = {key: request[key] for key in ("name", "words", "undo", "timeout_s")}
    entry |= {"id": _new_id(), "done": False}
    earlier = entries
    entries = [one for one in entries if one is not before] + [entry]
    with fence.held():
        _write(service, color, release_id, entries, root)
    try:
        record = _begin(request, entry, fence, root)
    except (commands.CommandError, OSError):
        with fence.held():
            _write(service, color, release_id, earlier, root)
        raise
    seconds = _wait(request, entry, record, fence, root)
    entry["done"] = True
    with fence.held():
        _write(service, color, release_id, entries, root)
    return {"changed": True, "id": entry["id"], "seconds": seconds}


def undo(request: Entry, fence: Fence, root: str = "/") -> Entry:
    """Undo what ran for a release in its color, the last first; return what was undone, and what is told of the rest.

    `request` has service, color, release_id (None for whatever stands there), actor, host and perhaps check. Raises
    FenceError where the run was overtaken, or OSError. A command that still runs is ended first. An undo that fails
    keeps nothing else from being undone: a way back goes on.
    """
    service, color = str(request["service"]), str(request["color"])
    standing = _standing(service, color, root)
    wanted = request["release_id"]
    entries = read(service, color, standing, root) if standing and wanted in (None, standing) else []
    names = [str(one["name"]) for one in reversed(entries) if one["undo"]]
    if not entries or request.get("check"):
        return {"changed": bool(names), "undone": names, "told": []}
    undone, told = [], []
    with fence.held():
        runs = commands.running(service, color)
        for one in entries:
            if one["id"] in runs:
                commands.stop(service, color, str(one["id"]))
    while entries:
        entry = entries[-1]
        if entry["undo"]:
            again = {**entry, "words": entry["undo"], "id": _new_id(), "how": "undo: "}
            try:
                record = _begin({**request, "release_id": standing}, again, fence, root)
                _wait(request, again, record, fence, root)
                undone.append(str(entry["name"]))
            except commands.CommandError as error:
                fields = error.fields
                told.append(
                    f"error[command-undo]: {fields['observed']}; expected: {fields['expected']}; it was not undone: "
                    f"undo by hand what {entry['name']} did; to mend: {fields['remedy']}"
                )
        entries.pop()
        with fence.held():
            _write(service, color, standing, entries, root)
    return {"changed": bool(undone), "undone": undone, "told": told}


def _new_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def _standing(service: str, color: str, root: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(root, "opt", service, color)))
    except OSError:
        return None


def _begin(request: Entry, entry: Entry, fence: Fence, root: str) -> Entry:
    whole = {
        **{key: request[key] for key in ("service", "color", "release_id", "actor")},
        **{key: entry[key] for key in ("id", "words", "timeout_s")},
        **{"detach": True, "terminal": None, "client_uid": 0, "expands": True},
    }
    return commands.begin(whole, root, fence.held())


def _wait(request: Entry, entry: Entry, record: Entry, fence: Fence, root: str) -> float:
    """Wait for a command's end and return its seconds. Raises CommandError, or FenceError once the run is overtaken."""
    service, color, ident = str(request["service"]), str(request["color"]), str(entry["id"])
    shown, limit_s, began = record["shown"], entry["timeout_s"], time.monotonic()
    looked_s = began
    while "rc" not in (record := commands.read(service, ident, root)):
        if time.monotonic() >= looked_s + LOOK_S:
            looked_s = time.monotonic()
            if ident not in commands.running(service):
                record = {"rc": None, **commands.read(service, ident, root)}
                break
        fence.still()
        time.sleep(POLL_S)
    if record["rc"] == 0:
        return round(time.monotonic() - began, 1)
    ended = f"ended with exit code {record['rc']}" if record["rc"] else "ended, and how is not on record"
    ended = f"was ended after {limit_s} s" if record.get("result") == "timeout" else ended
    words = " ".join(map(str, shown)) if isinstance(shown, list) else ""
    lines = _last_lines(service, color, ident, root)
    raise commands.CommandError(
        "command-failed",
        f"{entry['name']} ({entry.get('how', '')}{words}) {ended}; its last lines:\n    "
        + ("\n    ".join(lines) or "none"),
        f"exit code 0 within {limit_s} s",
        f"all that it said: turnout run --show {ident}@{request['host']}; mend the release, or its entry in "
        "service.commands (run, timeout_s, may_fail)",
    )


def _last_lines(service: str, color: str, ident: str, root: str) -> list[str]:
    """Return a command's last lines without a value of the environment; none where that cannot be said."""
    secrets = said.values_of(service, color, root)
    if secrets is None:
        return []
    text = said.redact(commands.output_of(service, ident, root), secrets)
    lines = ["".join(c for c in line if c.isprintable())[:LENGTH] for line in text.splitlines()]
    return [line for line in lines if line.strip()][-TAIL:]
