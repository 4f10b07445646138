# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Whether systemd would start what a laid release brings: asked before a color, a process or a schema is touched."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    SYSTEMCTL_TIMEOUT_S,
    Places,
    SlotError,
    is_complete,
    run,
    template_of,
)

# Where a key of the service file goes in a drop-in (scripts/turnout/service/units.py).
KEYS = {
    "ExecStart": "command", "KillSignal": "stop_signal", "TimeoutStopSec": "drain_s", "X-Turnout-Drain": "drain_s",
    "X-Turnout-Quiesce": "quiesce_signal", "X-Turnout-Resume": "resume_signal", "Environment": "ports",
    "X-Turnout-Ready": "ready", "Type": "ready.notify", "NotifyAccess": "ready.notify",
    "TimeoutStartSec": "ready.timeout_s", "X-Turnout-Timer": "on_calendar",
}  # fmt: skip
TIMER = "X-Turnout-Timer"
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # systemd.service(5), ExecStart
MOST_LINKS = 40  # as the kernel (path_resolution(7))


def verify(places: Places, params: dict) -> dict:
    """Have systemd read the units of a release that is laid and not yet in a color; raise `SlotError` for faults."""
    if not is_complete(places, params["release_id"]):
        return {"changed": False, "verified": []}  # in check mode nothing was laid
    base = str(places.release(params["release_id"]))
    color = re.compile(re.escape(f"/opt/{places.service}/{params['color']}") + r'(?=[/\s"]|$)')
    texts = {name: color.sub(base, text) for name, text in params["drop_ins"].items()}
    faults = []
    with tempfile.TemporaryDirectory(prefix="turnout-verify-") as folder:
        whole = {name: lay(places, Path(folder), name, text) for name, text in texts.items()}
        units = [unit_of(name) for name, text in whole.items() if text]
        for line in refused(folder, units):
            if "is not executable" not in line:  # systemd looks on the host, and knows no RootDirectory: see below
                faults.append(fault(places, folder, texts, line))
    for name, text in texts.items():
        faults += [f"{unit_of(name)}: {line} ({key_of(places, name, TIMER)})" for line in wrong_times(text)]
        lacks = missing_program(whole[name] + text)
        if lacks:
            faults.append(f"{unit_of(name)}: {lacks} ({key_of(places, name, 'ExecStart')})")
        # Commands of a release are in the API's place.
        for key, command in params.get("commands", {}).items() if name.startswith(f"{places.service}-api@") else ():
            lacks = missing_program(f"{whole[name]}{text}ExecStart={color.sub(base, command)}\n")
            if lacks:
                faults.append(f"{lacks} ({key})")
    for directory in params.get("directories", []):
        hidden = covered(color.sub(base, directory["covers"]))
        if hidden:
            faults.append(
                f"{directory['path']} of the release has {hidden}, which it would cover (service.directories)"
            )
    if faults:
        raise SlotError(
            "unit-refused",
            "systemd would not start this release as it is written:\n    " + "\n    ".join(dict.fromkeys(faults)),
            "units that systemd accepts, and programs that are in the release; no migration has run",
            "mend the keys in brackets in the service file, or build the release with what is missing",
        )
    return {"changed": False, "verified": units}


def covered(path: str) -> str:
    """Return what of a release a directory would cover, "" for nothing; files that only keep a folder do not count."""
    if not path or not os.path.lexists(path):
        return ""
    try:
        names = sorted(set(os.listdir(path)) - {".gitkeep", ".keep", ".gitignore"})
    except NotADirectoryError:
        return "a file of that name"
    return f"{', '.join(names[:3])}{' ...' if names[3:] else ''} in it" if names else ""


def wrong_times(text: str) -> list[str]:
    """Return what systemd says of the times of a timer's drop-in that it cannot read; none for other drop-ins."""
    declared = next((line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{TIMER}=")), None)
    faults = []
    for time in json.loads(declared)["on_calendar"] if declared else ():
        done = run(["systemd-analyze", "calendar", "--", time], timeout_s=SYSTEMCTL_TIMEOUT_S)
        if done.returncode:
            faults.append(done.stderr.decode(errors="replace").strip().splitlines()[0] if done.stderr else time)
    return faults


def unit_of(name: str) -> str:
    """Return the unit of a drop-in."""
    return name.partition(".d/")[0]


def lay(places: Places, folder: Path, name: str, text: str) -> str:
    """Write a unit with its drop-in into a folder; return its template's text, '' where the host has none."""
    unit = unit_of(name)
    path = template_of(places, unit)
    if path is None:
        return ""  # the preflight tells it
    template = path.read_text()
    (folder / unit).write_text(template)
    (folder / f"{unit}.d").mkdir()
    (folder / name).write_text(text)
    return template


def refused(folder: str, units: list[str]) -> list[str]:
    """Return the lines in which systemd says that it would not run these units as their drop-ins have it.

    What it says of a template was so before this release, which stands for nobody else's settings.
    """
    if not units:
        return []
    os.environ["SYSTEMD_UNIT_PATH"] = f"{folder}:"
    try:
        paths = [f"{folder}/{unit}" for unit in units]
        done = run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths], timeout_s=SYSTEMCTL_TIMEOUT_S
        )
    finally:
        del os.environ["SYSTEMD_UNIT_PATH"]
    if done.returncode == 0:
        return []
    lines = done.stderr.decode(errors="replace").splitlines()
    named = tuple(word for unit in units for word in (f"{folder}/{unit}.d/", f"{unit}: ", f"Unit {unit} "))
    return [line for line in lines if line.startswith(named)]


def fault(places: Places, folder: str, texts: dict, line: str) -> str:
    """Return a line of systemd with the place where the drop-in will be, and the key that made it."""
    found = re.match(rf"{re.escape(folder)}/(.+\.d/turnout\.conf):(\d+): ", line)
    if not found:
        return line
    directive = texts[found[1]].splitlines()[int(found[2]) - 1].partition("=")[0]
    told = line.replace(f"{folder}/", "/etc/systemd/system/", 1)
    return f"{told} ({key_of(places, found[1], directive)})"


def key_of(places: Places, name: str, directive: str) -> str:
    """Return the key of the service file behind a directive of a drop-in."""
    kind, _, named = unit_of(name).removeprefix(f"{places.service}-").partition("@")[0].partition("-")
    process = f"{kind}s.{named}" if named else kind  # as in the service file
    return f"service.{process}.{KEYS[directive]}" if directive in KEYS else f"service.{process}: {directive}"


def missing_program(text: str) -> str:
    """Return why the program of a unit cannot be started, '' where it can; an image's is looked for in the image."""
    values = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    program = first_word(values.get("ExecStart", "")).lstrip("@-:+!")
    if not program:
        return ""  # systemd has said so
    root = values.get("RootDirectory", "").rstrip("/")
    searched = values.get("ExecSearchPath", SEARCHED).split(":")
    places = [program] if program.startswith("/") else [f"{folder}/{program}" for folder in searched]
    found = next((path for path in (inside(root, place) for place in places) if path and os.path.isfile(path)), None)
    where = "in the image" if root else "on this host"
    if found is None:
        return f"there is no program {program} {where}"
    if not os.access(found, os.X_OK):
        return f"{program} is not executable {where} (chmod +x before the release is built)"
    lacks = missing_interpreter(found, root)
    return f"{program} begins with {lacks} {where}" if lacks else ""


def first_word(command: str) -> str:
    """Return the program of a command, '' where there is none that can be read."""
    words = shlex.shlex(command, posix=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        return words.get_token() or ""
    except ValueError:
        return ""


def missing_interpreter(path: str, root: str) -> str:
    """Return the first line of a script whose interpreter the kernel would not find (execve(2)), and why; else ''."""
    with open(path, "rb") as stream:
        first = stream.readline(256).decode(errors="replace")
    if not first.startswith("#!"):
        return ""
    interpreter = (first[2:].strip(" \t\n").split(" ")[0].split("\t") or [""])[0]
    there = inside(root, interpreter) if interpreter.startswith("/") else None
    if there is not None and os.path.isfile(there):
        return ""
    why = "line ends are those of Windows" if interpreter.endswith("\r") else f"there is no {interpreter}"
    return f"{first.strip()}: {why}"


def inside(root: str, path: str) -> str | None:
    """Return where a path leads, whose links are followed as if `root` were /; None where they lead nowhere."""
    left, done = [part for part in path.split("/") if part not in ("", ".")], ""
    for _ in range(MOST_LINKS * 8):
        if not left:
            return root + done or "/"
        part = left.pop(0)
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{root}{done}/{part}")
        except OSError:
            done += f"/{part}"
            continue
        left[:0] = [one for one in target.split("/") if one not in ("", ".")]
        if target.startswith("/"):
            done = ""
    return None
