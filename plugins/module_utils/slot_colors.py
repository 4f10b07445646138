# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in a color: read, replaced with what it displaces kept aside, and put back."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.laid_release import MARKER
from ansible_collections.turnout.ops.plugins.module_utils.slot_configuration import (
    configuration_id,
    record_text,
    variables_of,
)
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    COLORS,
    PARTIAL,
    RELEASE_ID,
    SYSTEMCTL_TIMEOUT_S,
    Places,
    SlotError,
    command_library,
    commands_in,
    discard,
    is_complete,
    is_own_unit,
    last_line,
    run,
    switch_link,
    sync_folder,
    template_of,
    write_file,
)


@dataclass(frozen=True)
class FileContent:
    """A file of a slot."""

    content: bytes
    mode: int
    gid: int = 0


@dataclass
class Slot:
    """What stands in a color: a release (or none), and files by their path from the root."""

    release_id: str | None
    files: dict[str, FileContent] = field(default_factory=dict)


def standing(places: Places, color: str) -> str | None:
    """Return the release that a color's link names, None when there is no such link."""
    try:
        target = Path(os.readlink(places.link(color)))
    except OSError:
        return None
    return target.name if RELEASE_ID.fullmatch(target.name) else None


def read_slot(places: Places, color: str) -> Slot:
    """Return what stands in a color now."""
    slot = Slot(standing(places, color))
    drop_ins = places.units.glob(f"{places.service}-*@{color}*.service.d/turnout.conf")
    names = [places.environment(color), places.migrate_environment(color), places.configuration(color)]
    names += [str(path.relative_to(places.root)) for path in drop_ins if is_own_unit(places, path.parent.name, color)]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            status = (places.root / name).stat()
            content = (places.root / name).read_bytes()
            slot.files[name] = FileContent(content, stat.S_IMODE(status.st_mode), status.st_gid)
    return slot


def kept_record(places: Places, color: str) -> dict | None:
    """Return what was kept aside of a color, None when nothing was."""
    try:
        record = json.loads((places.displaced(color) / "slot.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record if is_kept(record) else None


def is_kept(record: object) -> bool:
    """Tell whether that is a whole record of what was kept aside: a damaged one counts as none."""
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict) or "release_id" not in record:
        return False
    release_id = record["release_id"]
    if release_id is not None and not (isinstance(release_id, str) and RELEASE_ID.fullmatch(release_id)):
        return False
    return all(
        isinstance(file, dict) and isinstance(file.get("copy"), str)
        and isinstance(file.get("mode"), int) and isinstance(file.get("gid"), int)
        for file in record["files"].values()
    )  # fmt: skip


def keep_aside(places: Places, color: str, slot: Slot, candidate: dict) -> None:
    """Keep a slot aside, whole or not at all; `candidate` names what displaces it."""
    partial = places.kept / f"{PARTIAL}{color}"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True, mode=0o700)
    files = {}
    for index, (name, file) in enumerate(sorted(slot.files.items())):
        write_file(partial / f"file-{index}", file.content, 0o600)
        files[name] = {"copy": f"file-{index}", "mode": file.mode, "gid": file.gid}
    record = {"release_id": slot.release_id, **candidate, "files": files}
    write_file(partial / "slot.json", json.dumps(record).encode(), 0o600)
    discard(places.displaced(color))
    partial.rename(places.displaced(color))
    sync_folder(places.kept)


def read_kept(places: Places, color: str, record: dict) -> Slot:
    """Return the slot that was kept aside."""
    folder = places.displaced(color)
    return Slot(
        record["release_id"],
        {
            name: FileContent((folder / file["copy"]).read_bytes(), file["mode"], file["gid"])
            for name, file in record["files"].items()
        },
    )


def differences(before: Slot, after: Slot) -> list[str]:
    """Return the names of what differs between two slots."""
    names = sorted(
        name for name in before.files.keys() | after.files.keys() if before.files.get(name) != after.files.get(name)
    )
    return (["release"] if before.release_id != after.release_id else []) + [f"/{name}" for name in names]


def apply_slot(places: Places, color: str, before: Slot, after: Slot) -> bool:
    """Make a color hold `after`; the link, which says what stands there, comes last. Return whether units changed."""
    changed = [
        name for name in before.files.keys() | after.files.keys() if before.files.get(name) != after.files.get(name)
    ]
    units_changed = any((places.root / name).is_relative_to(places.units) for name in changed)
    if units_changed:
        write_file(places.reload_wanted(), b"", 0o600)
    for name in sorted(changed):
        path = places.root / name
        file = after.files.get(name)
        if file is not None:
            write_file(path, file.content, file.mode, file.gid)
        else:
            path.unlink(missing_ok=True)
            if path.parent.name.endswith(".service.d"):
                with contextlib.suppress(OSError):
                    path.parent.rmdir()  # stays when somebody keeps a drop-in of their own there
    if before.release_id != after.release_id:
        target = None if after.release_id is None else f"releases/{after.release_id}"
        switch_link(places.link(color), target)
    return units_changed


def reload_if_wanted(places: Places) -> bool:
    """Let systemd read its units again when some changed, also when a run was killed before it could."""
    if not places.reload_wanted().exists():
        return False
    result = run(["systemctl", "daemon-reload"], timeout_s=SYSTEMCTL_TIMEOUT_S)
    if result.returncode != 0:
        raise SlotError(
            "systemd-reload",
            f"systemctl daemon-reload failed: {last_line(result.stderr)}",
            "exit code 0",
            "see: systemctl status; journalctl -b -p err",
        )
    places.reload_wanted().unlink(missing_ok=True)
    return True


def make_shared(places: Places, params: dict) -> None:
    """Make the directories that both colors share where they are not there; one that is stays as it is."""
    for directory in params.get("directories") or ():
        missing = []
        path = places.root / directory["source"].lstrip("/")
        while not path.exists():
            missing.append(path)
            path = path.parent
        account = pwd.getpwnam(params["user"])
        for one in reversed(missing):
            one.mkdir(mode=0o750)
            os.chown(one, account.pw_uid, account.pw_gid)


def wanted_slot(places: Places, params: dict) -> Slot:
    """Return the slot that `params` asks for, or raise `SlotError`."""
    color = params["color"]
    try:
        gid = pwd.getpwnam(params["user"]).pw_gid
    except KeyError:
        raise SlotError(
            "user-missing",
            f"there is no user {params['user']} on this host",
            "the user that runs the service",
            "ansible-playbook turnout.ops.site makes it",
        ) from None
    if not is_complete(places, params["release_id"]):
        raise SlotError(
            "release-incomplete",
            f"{places.release(params['release_id'])} is not laid whole",
            f"a release with the marker {MARKER}",
            "deploy it again: ansible-playbook turnout.ops.deploy -e release=VERSION",
        )
    slot = Slot(params["release_id"])
    slot.files[places.environment(color)] = FileContent(params["environment"].encode(), 0o640, gid)
    if params["migrate_environment"]:
        text = params["migrate_environment"].encode()
        slot.files[places.migrate_environment(color)] = FileContent(text, 0o600, 0)
    if params["configuration"]:
        slot.files[places.configuration(color)] = FileContent(record_text(places, color, params), 0o600, 0)
    for name, text in params["drop_ins"].items():
        folder, _, file = name.partition("/")
        if not is_own_unit(places, folder, color) or file != "turnout.conf":
            raise SlotError(
                "drop-in-name",
                f"the drop-in {name!r}",
                f"{places.service}-PROCESS@{color}.service.d/turnout.conf",
                "pass the result of the filter turnout.ops.drop_ins for this color",
            )
        path = (places.units / name).relative_to(places.root)
        slot.files[str(path)] = FileContent(text.encode(), 0o644, 0)
    return slot


def lay_templates(places: Places, slot: Slot) -> None:
    """Give each process with a name a template where it has none, a copy of its kind's.

    A name is new to a host that was set up before it, or by a Turnout that knew none; the copy is the host's own
    hardening. It stays: a rollback may need it.
    """
    for name in slot.files:
        unit = Path(name).parent.name
        own, found = places.units / f"{unit.partition('@')[0]}@.service", template_of(places, unit)
        if unit.endswith(".service.d") and found not in (None, own):
            write_file(own, found.read_bytes(), 0o644)


def activate(places: Places, params: dict, *, check: bool) -> dict:
    """Stand a release in a color, keeping aside what stood there."""
    color, release_id = params["color"], params["release_id"]
    before, after = read_slot(places, color), wanted_slot(places, params)
    changes = differences(before, after)
    record = kept_record(places, color)
    stale = record is not None and before.release_id is not None and before.release_id == params["confirmed"]
    stale = stale and same_configuration(params["confirmed_configuration"], configuration_id(places, color))
    candidate = {"candidate": release_id, "candidate_configuration": params["configuration_id"]}
    result = {"changed": bool(changes), "changes": changes, "release_id": release_id, "complete": True}
    if check:
        return result | {"displaced": before.release_id, "reloaded": False, "diff": diff(before, after)}
    make_shared(places, params)
    if changes:
        refuse_under_commands(places, color)
        if record is None or stale:
            keep_aside(places, color, before, candidate)
        elif {key: record.get(key) for key in candidate} != candidate:
            # An earlier run did not end: what it displaced is still what a failure of this one has to restore.
            record |= candidate
            write_file(places.displaced(color) / "slot.json", json.dumps(record).encode(), 0o600)
        lay_templates(places, after)
        apply_slot(places, color, before, after)
    reloaded = reload_if_wanted(places)
    displaced = (kept_record(places, color) or {}).get("release_id")
    return result | {"displaced": displaced, "reloaded": reloaded, "diff": diff(before, after)}


def same_configuration(one: str | None, two: str | None) -> bool:
    """Tell whether two names may mean one configuration: what is of before there were names may be any."""
    return not one or not two or one == two


def refuse_under_commands(places: Places, color: str) -> None:
    """Raise `SlotError` while a person's command runs in a color: it would go on with another release's files."""
    library = command_library(places)
    found = commands_in(places, color)
    if library and found:
        raise SlotError(
            "command-runs",
            f"a command of turnout run still runs: {'; '.join(library.told(one) for one in found)}",
            "a color that nothing runs in, before another release stands in it",
            f"wait for its end, or end it: turnout run --stop {found[0].get('id')}@HOST (this host)",
        )


def end_commands(places: Places, color: str) -> None:
    """End the commands in a color whose release is taken away: a way back waits for nobody."""
    library = command_library(places)
    if library:
        library.stop_color(places.service, color)


def restore(places: Places, params: dict, *, check: bool) -> dict:
    """Put back what `activate` displaced."""
    color = params["color"]
    record = kept_record(places, color)
    before = read_slot(places, color)
    stale = record is not None and params["release_id"] is not None and record.get("candidate") != params["release_id"]
    if record is not None and not same_configuration(params["configuration_id"], record.get("candidate_configuration")):
        stale = True
    if record is None or stale:
        if stale and not check:
            discard(places.displaced(color))
        after, changes = before, []
    else:
        after = read_kept(places, color, record)
        changes = differences(before, after)
    result = {
        "changed": bool(changes) or (record is not None and not stale),
        "changes": changes,
        "release_id": after.release_id,
        "configuration": configuration_id(places, color),
        "complete": is_complete(places, after.release_id),
        "reloaded": False,
        "diff": diff(before, after),
    }
    if check:
        return result
    if changes:
        end_commands(places, color)
        apply_slot(places, color, before, after)
    result["configuration"] = configuration_id(places, color)
    result["reloaded"] = reload_if_wanted(places)
    if record is not None and not stale:
        discard(places.displaced(color))
    return result


def settle(places: Places, params: dict, *, check: bool) -> dict:
    """Forget what was displaced, and what commands of the release before did: the release in the color is confirmed."""
    color = params["color"]
    there = places.displaced(color).exists()
    if there and not check:
        discard(places.displaced(color))
    if not check:
        for other in {*COLORS} - {color}:
            (places.kept / f"{other}.steps.json").unlink(missing_ok=True)
    return {"changed": there, "release_id": standing(places, color)}


def diff(before: Slot, after: Slot) -> dict[str, str]:
    """Return both slots as text for --diff: names, modes and names of variables, never a value."""
    return {"before": describe(before, after), "after": describe(after, before)}


def describe(slot: Slot, other: Slot) -> str:
    """Return a slot as text; a variable whose value differs from the other slot's is marked, not shown."""
    lines = [f"release: {slot.release_id or 'none'}"]
    for name, file in sorted(slot.files.items()):
        lines.append(f"/{name} mode {file.mode:04o}")
        if name.endswith(".env"):
            elsewhere = variables_of(other.files[name].content) if name in other.files else {}
            for key, value in sorted(variables_of(file.content).items()):
                differs = key in elsewhere and elsewhere[key] != value
                lines.append(f"  {key}{' (another value)' if differs else ''}")
        elif name in other.files and other.files[name].content != file.content:
            lines.append("  (another content)")
    return "\n".join(lines) + "\n"
