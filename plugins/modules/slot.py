#!/usr/bin/python
# Copyright: the Turnout authors
# Apache License 2.0 (see LICENSE)
"""Lays releases on a host and stands them in a color (a slot): the only program that writes either."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slot
short_description: Lay a release on a host, and stand it in a color
description:
  - A release is laid into C(/opt/SERVICE/releases/ID), where C(ID) is C(VERSION-SHA12). Its final name appears
    only when it is whole, and its marker C(.turnout-complete) is written last.
  - A color (slot) is a symbolic link to a release, two environment files and the drop-ins of its units. What a
    new release displaces is kept aside until the caller settles, and can be restored as a whole.
  - Needs nothing but Python, GNU tar and zstd (umoci for images).
version_added: "0.1.0"
author: [The Turnout authors (!UNKNOWN)]
options:
  state:
    description:
      - C(info) reports, and changes nothing.
      - C(ready) removes what killed runs left, checks the room, and makes the folder to copy the artifact to.
      - C(laid) unpacks O(src).
      - C(active) stands O(release_id) in O(color), keeping what stood there aside.
      - C(restored) puts back what C(active) displaced; without anything kept it changes nothing.
      - C(settled) forgets what C(active) displaced.
      - C(pruned) removes old releases; never one that stands in a color or is kept aside.
    type: str
    required: true
    choices: [info, ready, laid, active, restored, settled, pruned]
  service:
    description: The service's name.
    type: str
    required: true
  run:
    description: Id of the run that acts; required but for C(info), C(ready) and C(laid).
    type: str
  fence:
    description:
      - The run's number, which the edges gave with the lock; required but for C(info), C(ready) and C(laid), since
        drills and rehearsals, which hold no lock, lay releases too. Where it is given it counts for these as well.
      - A run that was overtaken by a newer one changes nothing on this host any more (error code C(fence)).
    type: int
  release_id:
    description:
      - The release, C(VERSION-SHA12).
      - For C(restored), the release that had been activated; what was kept aside for another one is stale and is
        forgotten instead of restored. Without it, whatever was kept is restored.
    type: str
  color:
    description: The slot.
    type: str
    choices: [blue, green]
  src:
    description: The artifact on this host; removed when it is laid.
    type: path
  sha256:
    description: The artifact's checksum, in hex.
    type: str
  bytes:
    description: The artifact's size.
    type: int
    default: 0
  unpacked_bytes:
    description: What the release takes on disk.
    type: int
    default: 0
  kind:
    description: What the artifact is.
    type: str
    choices: [tarball, oci-archive]
    default: tarball
  manifest:
    description: The release's manifest, kept in the completeness marker.
    type: dict
    default: {}
  layout:
    description:
      - How the release sees its files, as P(turnout.ops.layout#filter) says it, kept in the completeness marker for
        whoever runs a command of the release on this host and has nothing else to go by.
    type: dict
    default: {}
  environment:
    description: Text of the color's environment file. Never shown.
    type: str
  migrate_environment:
    description: Text of the color's environment file for the migrator; none is kept when it is absent. Never shown.
    type: str
  drop_ins:
    description: Drop-ins of the color's units, as path below C(/etc/systemd/system) to text. No secrets.
    type: dict
    default: {}
  user:
    description: The user that runs the service; its group may read the environment file.
    type: str
  confirmed:
    description:
      - The release that the edges last confirmed in O(color). When it stands there now, it is what is kept aside,
        whatever an earlier run left.
    type: str
  unit_names:
    description: Units to report.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports to report.
    type: list
    elements: int
    default: []
  keep:
    description: How many releases to keep besides those that stand in a color or are kept aside.
    type: int
    default: 5
  keep_ids:
    description: Further releases to keep.
    type: list
    elements: str
    default: []
  root:
    description: Folder that stands for C(/), for tests.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: Reports what would change.
  diff_mode:
    support: full
    description: Shows names and releases, never the content of an environment file.
"""

EXAMPLES = r"""
- name: Lay the release
  turnout.ops.slot:
    state: laid
    service: shop
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    release_id: 1.1.0-0a1b2c3d4e5f
    src: /opt/shop/.staging/shop-1.1.0.tar.zst
    sha256: 0a1b2c3d4e5f...
    manifest: "{{ release_manifest }}"

- name: Stand it in green
  turnout.ops.slot:
    state: active
    service: shop
    run: "{{ run_id }}"
    fence: "{{ run_fence }}"
    user: shop
    color: green
    release_id: 1.1.0-0a1b2c3d4e5f
    environment: "{{ service | turnout.ops.env_text('green', '1.1.0', inventory_dir) }}"
    drop_ins: "{{ service | turnout.ops.drop_ins('green', release_manifest) }}"
"""

RETURN = r"""
colors:
  description: What stands in both colors (state C(info)).
  returned: state is info
  type: dict
release_id:
  description: The release that now stands in the color, or that was laid.
  returned: state is laid, active, restored or settled
  type: str
complete:
  description: Whether that release is whole.
  returned: state is ready, laid, active or restored
  type: bool
displaced:
  description: The release that was kept aside, null when the color was empty.
  returned: state is active
  type: str
staging:
  description: The folder to copy the artifact to.
  returned: state is ready
  type: str
path:
  description: Where the release lies.
  returned: state is laid
  type: str
fenced_by:
  description: The newest run that changed this host, as C(run) and C(fence); null where none is known.
  returned: state is info
  type: dict
changes:
  description: Names of what changed.
  returned: state is active or restored
  type: list
  elements: str
reloaded:
  description: Whether systemd read its units again.
  returned: state is active or restored
  type: bool
removed:
  description: Releases that were removed.
  returned: state is pruned
  type: list
  elements: str
code:
  description: A short word for the failure.
  returned: failure
  type: str
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib
import json
import os
import platform
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

COLORS = ("blue", "green")
MARKER = ".turnout-complete"
PARTIAL = ".partial-"
TEMPORARY = ".turnout-new"
ROOTFS = "rootfs"  # an image's files, below the folder of its release
IMAGE_TAG = "release"
LIBRARY = "usr/local/lib/turnout-host"  # laid by the role service_host
LOCK_WAIT_S = 120
SYSTEMCTL_TIMEOUT_S = 60
UNIT_PROPERTIES = {
    "LoadState": "load",
    "ActiveState": "active",
    "SubState": "sub",
    "Result": "result",
    "MainPID": "main_pid",
    "NRestarts": "restarts",
    "ActiveEnterTimestampMonotonic": "since_monotonic_us",
}
RELEASE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}-[0-9a-f]{12}")
SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
VARIABLE = re.compile(rb"^([A-Z_][A-Z0-9_]*)=(.*)$", re.MULTILINE)


class SlotError(Exception):
    """A failure with its remedy: what was seen, what was expected, what mends it."""

    def __init__(self, code: str, observed: str, expected: str, remedy: str) -> None:
        super().__init__(observed)
        self.fields = {"code": code, "observed": observed, "expected": expected, "remedy": remedy}

    def message(self) -> str:
        """Return the message for a person."""
        fields = self.fields
        return (
            f"error[{fields['code']}]: {fields['observed']}\n"
            f"  expected: {fields['expected']}\n  to mend:  {fields['remedy']}"
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


@dataclass(frozen=True)
class Places:
    """Where everything of a service lies on this host."""

    root: Path
    service: str

    @property
    def home(self) -> Path:
        """The folder of releases and colors."""
        return self.root / "opt" / self.service

    @property
    def releases(self) -> Path:
        """The laid releases."""
        return self.home / "releases"

    @property
    def staging(self) -> Path:
        """Where artifacts are copied to; on the same file system as the releases."""
        return self.home / ".staging"

    @property
    def units(self) -> Path:
        """The drop-ins' folder."""
        return self.root / "etc/systemd/system"

    @property
    def kept(self) -> Path:
        """What was displaced, per color."""
        return self.root / "var/lib/turnout-slots" / self.service

    def release(self, release_id: str) -> Path:
        """A laid release."""
        return self.releases / release_id

    def link(self, color: str) -> Path:
        """The color's link to its release."""
        return self.home / color

    def environment(self, color: str) -> str:
        """The color's environment file, from the root."""
        return f"etc/{self.service}/{color}.env"

    def migrate_environment(self, color: str) -> str:
        """The color's environment file for the migrator, from the root."""
        return f"etc/{self.service}/{color}.migrate.env"

    def displaced(self, color: str) -> Path:
        """What was kept aside of the color."""
        return self.kept / f"{color}.displaced"

    def reload_wanted(self) -> Path:
        """Stands while units were changed and systemd has not read them yet."""
        return self.kept / "reload-wanted"


# Files ----------------------------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes, mode: int, gid: int = -1) -> None:
    """Replace a file as a whole; its content is on disk, with its mode, before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    temporary = temporary_of(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if gid >= 0:
                os.fchown(stream.fileno(), 0 if os.geteuid() == 0 else -1, gid)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """Return the name under which a file is written before it replaces `path`; nothing of that name is there."""
    temporary = path.parent / f".{path.name}{TEMPORARY}"
    temporary.unlink(missing_ok=True)
    return temporary


def remove_temporaries(places: Places) -> None:
    """Remove what a process that was killed was writing; it may hold secrets."""
    drop_ins = places.units.glob(f"{places.service}-*.service.d")
    for folder in (places.home, places.root / "etc" / places.service, places.kept, *drop_ins):
        for path in folder.glob(f".*{TEMPORARY}"):
            path.unlink()


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a tree in a way that never leaves half of it under its name."""
    if not path.exists() and not path.is_symlink():
        return
    gone = path.parent / f"{PARTIAL}gone-{secrets.token_hex(4)}"
    path.rename(gone)
    shutil.rmtree(gone)


def switch_link(link: Path, target: str | None) -> None:
    """Point a link to `target`, in one step; None removes it."""
    if target is None:
        link.unlink(missing_ok=True)
    else:
        temporary = temporary_of(link)
        temporary.symlink_to(target)
        try:
            temporary.replace(link)
        finally:
            temporary.unlink(missing_ok=True)
    sync_folder(link.parent)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def host_lock(places: Places):
    """Hold the service's lock on this host; a run that was killed may still be unpacking."""
    places.kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = places.kept / "lock"
    with path.open("a") as stream:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise SlotError(
                        "slot-busy",
                        f"another process has held {path} for {LOCK_WAIT_S} s",
                        "one process at a time that lays or activates releases of a service",
                        f"see what holds it, and end it if its run is dead: fuser -v {path}",
                    ) from None
                time.sleep(0.1)
        yield


# What lies on the host ------------------------------------------------------------------------------------------


def read_marker(places: Places, release_id: str) -> dict | None:
    """Return the completeness marker of a laid release, None when it is not whole."""
    try:
        marker = json.loads((places.release(release_id) / MARKER).read_bytes())
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("release_id") == release_id else None


def is_complete(places: Places, release_id: str | None) -> bool:
    """Tell whether a release is laid whole."""
    return release_id is not None and read_marker(places, release_id) is not None


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
    names = [places.environment(color), places.migrate_environment(color)]
    names += [str(path.relative_to(places.root)) for path in drop_ins if is_own_unit(places, color, path.parent.name)]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            status = (places.root / name).stat()
            content = (places.root / name).read_bytes()
            slot.files[name] = FileContent(content, stat.S_IMODE(status.st_mode), status.st_gid)
    return slot


def is_own_unit(places: Places, color: str, folder: str) -> bool:
    """Tell whether a drop-in folder belongs to a unit of this service (not to one whose name begins alike)."""
    return re.fullmatch(rf"{re.escape(places.service)}-[a-z]+@{color}(-\d+)?\.service\.d", folder) is not None


def kept_record(places: Places, color: str) -> dict | None:
    """Return what was kept aside of a color, None when nothing was."""
    try:
        record = json.loads((places.displaced(color) / "slot.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def keep_aside(places: Places, color: str, slot: Slot, candidate: str) -> None:
    """Keep a slot aside, whole or not at all."""
    partial = places.kept / f"{PARTIAL}{color}"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True, mode=0o700)
    files = {}
    for index, (name, file) in enumerate(sorted(slot.files.items())):
        write_file(partial / f"file-{index}", file.content, 0o600)
        files[name] = {"copy": f"file-{index}", "mode": file.mode, "gid": file.gid}
    record = {"release_id": slot.release_id, "candidate": candidate, "files": files}
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


def run(arguments: list[str], *, timeout_s: float | None = None, still=None) -> subprocess.CompletedProcess:
    """Run a program and return what it did; a missing program is a `SlotError`.

    What `still` raises, which is asked every second, ends the program.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise program_missing(arguments[0]) from None
    with process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, errors = process.communicate(timeout=1)
                    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)
                if still is not None:
                    still()
                if deadline is not None and time.monotonic() >= deadline:
                    raise SlotError(
                        "host-slow",
                        f"{' '.join(arguments[:2])} did not end within {timeout_s:g} s",
                        "an answer",
                        "see what the host is doing: systemctl list-jobs; journalctl -b -p err",
                    )
        except BaseException:
            process.kill()
            raise


class Unfenced:
    """The fence of what holds no lock: a drill or a rehearsal, which only lays a release and never touches a color."""

    notes: tuple = ()

    @staticmethod
    def check() -> None:
        """Let it pass; nothing is recorded, so that no run is overtaken by it."""

    still = check

    @staticmethod
    def held():
        """Hold nothing."""
        return contextlib.nullcontext()


def fence_of(places: Places, params: dict):
    """Return this host's fence as the task's run meets it."""
    if params["fence"] is None and params["state"] in ("ready", "laid"):
        return Unfenced()
    library = fence_library(places)
    if library is None:
        raise SlotError(
            "host-unprepared",
            f"there is no turnout_host.fence in {places.root / LIBRARY}",
            "the program that keeps older runs away",
            "ansible-playbook turnout.ops.site --tags service_host",
        )
    try:
        return library.Fence(places.service, params["run"], params["fence"], str(places.root))
    except library.FenceError as refused:
        raise SlotError(**refused.fields) from None


def fence_library(places: Places):
    """Return the module turnout_host.fence of this host, None where it was not laid."""
    folder = str(places.root / LIBRARY)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module("turnout_host.fence")
    except ImportError:
        return None


def program_missing(name: str) -> SlotError:
    """Return the error for a program that this host needs."""
    return SlotError(
        "program-missing",
        f"there is no program {name} on this host",
        f"{name}, which releases need",
        f"ansible-playbook turnout.ops.site installs it; by hand: apt-get install {name}",
    )


def last_line(output: bytes) -> str:
    """Return the last line that a program said."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


# Laying ---------------------------------------------------------------------------------------------------------


def remove_leftovers(places: Places) -> list[str]:
    """Remove what runs that were killed left half done."""
    removed = []
    if places.releases.is_dir():
        for path in places.releases.iterdir():
            broken = path.is_dir() and not path.is_symlink() and read_marker(places, path.name) is None
            in_use = path.name in {standing(places, color) for color in COLORS}
            if path.name.startswith(PARTIAL) or (broken and not in_use):
                shutil.rmtree(path)
                removed.append(path.name)
    if places.staging.is_dir():
        for path in places.staging.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path.name)
    return removed


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where `path` lies or will lie."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def check_room(places: Places, wanted: int) -> None:
    """Raise `SlotError` unless `wanted` bytes are free."""
    free = free_bytes(places.releases)
    if free < wanted:
        raise disk_full(places, f"{free // 2**20} MiB are free", f"{-(-wanted // 2**20)} MiB for this release")


def disk_full(places: Places, observed: str, expected: str) -> SlotError:
    """Return the error for a full disk."""
    return SlotError(
        "disk-full",
        f"{observed} in {places.releases}",
        expected,
        f"free some space (df {places.home}), or lower releases.keep in the service file",
    )


def lay(places: Places, params: dict, fence) -> str:
    """Lay the release of `params`; its final name appears only when it is whole. Return its path."""
    release_id, src = params["release_id"], Path(params["src"] or "the parameter src")
    check_artifact(src, params["sha256"], release_id)
    check_room(places, params["unpacked_bytes"])
    places.releases.mkdir(parents=True, exist_ok=True, mode=0o755)
    partial = places.releases / f"{PARTIAL}{release_id}"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(mode=0o755)
    try:
        if params["kind"] == "tarball":
            unpack(places, src, partial, fence.still)
            clean_tree(partial)
        else:
            unpack_image(places, src, partial, params, fence.still)
        run(["sync", "-f", str(partial)])
        marker = {
            "release_id": release_id,
            "sha256": params["sha256"],
            "kind": params["kind"],
            "laid_at": time.time(),
            "manifest": params["manifest"],
            "layout": params["layout"],
        }
        write_file(partial / MARKER, json.dumps(marker, indent=1).encode() + b"\n", 0o644)
        with fence.held():
            discard(places.release(release_id))  # one without a marker, from before a crash of the host
            partial.rename(places.release(release_id))
            sync_folder(places.releases)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        src.unlink(missing_ok=True)  # the disk may be full, and the next run copies it anew
        raise
    src.unlink(missing_ok=True)
    return str(places.release(release_id))


def check_artifact(src: Path, wanted: str, release_id: str) -> None:
    """Raise `SlotError` unless the artifact on this host is the signed one."""
    remedy = "run the same command again: the artifact is copied anew"
    if not src.is_file():
        raise SlotError("artifact-missing", f"there is no file {src}", "the artifact, copied to this host", remedy)
    if not release_id.endswith(f"-{wanted[:12]}"):
        raise SlotError("artifact-other", f"sha256 {wanted}", f"the one of release {release_id}", remedy)
    seen = sha256_of(src)
    if seen != wanted:
        raise SlotError("artifact-wrong", f"{src.name} arrived with sha256 {seen}", f"sha256 {wanted}", remedy)


def unpack(places: Places, src: Path, folder: Path, still) -> None:
    """Unpack a tarball; GNU tar refuses members that lead out of the folder."""
    for program in ("tar", "zstd"):
        if shutil.which(program) is None:
            raise program_missing(program)
    result = run(
        [
            "tar", "--extract", "--zstd", f"--file={src}", f"--directory={folder}",
            "--no-same-owner", "--no-same-permissions", "--delay-directory-restore",
        ],
        still=still,
    )  # fmt: skip
    if result.returncode == 0:
        return
    output = result.stderr.decode(errors="replace")
    if "No space left on device" in output or "Disk quota exceeded" in output:
        raise disk_full(places, "the disk filled up while the release was unpacked", "room for the whole release")
    raise SlotError(
        "artifact-unreadable",
        f"tar could not unpack {src.name}: {output.strip().splitlines()[0] if output.strip() else 'no message'}",
        "a tar archive, compressed with zstd, with no member outside of it",
        "build it with `turnout release build` and publish it under a new version",
    )


def clean_tree(folder: Path) -> None:
    """Make every file root's, plain in mode, and inside the folder; refuse what cannot be made so."""
    links: dict[tuple[int, int], list] = {}
    real = folder.resolve()
    for parent, folders, files in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in (*folders, *files):
            path = Path(parent) / name
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                if not path.resolve().is_relative_to(real):
                    raise unfit_member(folder, path, "a link that leads out of the release")
            elif stat.S_ISREG(status.st_mode):
                links.setdefault((status.st_dev, status.st_ino), [status.st_nlink, status.st_mode]).append(path)
            elif not stat.S_ISDIR(status.st_mode):
                raise unfit_member(folder, path, "neither a file, a folder nor a link")
    for count, _, *paths in links.values():
        if count != len(paths):
            raise unfit_member(folder, paths[0], "a hard link to a file outside of the release")
    for _, mode, *paths in links.values():
        paths[0].chmod(0o755 if mode & 0o111 else 0o644)
    if (folder / MARKER).exists():
        raise unfit_member(folder, folder / MARKER, "a name that Turnout keeps for itself")


def unfit_member(folder: Path, path: Path, what: str) -> SlotError:
    """Return the error for a member that must not be laid."""
    return SlotError(
        "artifact-unsafe",
        f"{path.relative_to(folder)} in the artifact is {what}",
        "files, folders and links that stay inside",
        "build it with `turnout release build`, which refuses such members, under a new version",
    )


def unpack_image(places: Places, src: Path, folder: Path, params: dict, still) -> None:
    """Unpack an OCI archive into `folder`/rootfs, as a file system that units see as their root."""
    wanted = (((params["manifest"] or {}).get("artifact") or {}).get("image") or {}).get("architecture")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if wanted not in (None, machine):
        raise SlotError(
            "image-machine",
            f"the image is for {wanted}, and this host is {machine}",
            f"an image for {machine}",
            f"build it for this host: podman build --arch {machine}",
        )
    layout, rootfs = folder / ".oci", folder / ROOTFS
    layout.mkdir()
    unpack(places, src, layout, still)
    name_image(layout)
    unpacked = run(["umoci", "raw", "unpack", f"--image={layout}:{IMAGE_TAG}", str(rootfs)], still=still)
    if "no space left on device" in unpacked.stderr.decode(errors="replace").lower():
        raise disk_full(places, "the disk filled up while the image was unpacked", "room for the whole release")
    if unpacked.returncode != 0:
        raise unreadable_image(last_line(unpacked.stderr))
    shutil.rmtree(layout)
    clean_rootfs(rootfs, places.service)


def name_image(layout: Path) -> None:
    """Give the one image of an OCI layout a name to unpack it by."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        (image,) = index["manifests"]
        image["annotations"] = {"org.opencontainers.image.ref.name": IMAGE_TAG}
    except (OSError, ValueError, KeyError, TypeError):
        raise unreadable_image("its index lists not one image") from None
    (layout / "index.json").write_text(json.dumps(index))


def unreadable_image(reason: str) -> SlotError:
    """Return the error for an artifact that is no image."""
    return SlotError(
        "image-unreadable",
        f"the image could not be unpacked: {reason}",
        "an OCI archive, as `podman save --format oci-archive` writes it",
        "build the release from such a file: turnout release build --image-archive FILE",
    )


def clean_rootfs(rootfs: Path, service: str) -> None:
    """Make an image's files root's and readable, as a tarball's are, and make the places that a unit mounts over.

    Users of the image are not users of this host: a file that belongs to one of them would belong to somebody here.
    """
    for parent, folders, files in os.walk(rootfs):
        os.chown(parent, 0, 0)
        Path(parent).chmod(0o755)
        for name in (*folders, *files):
            path = Path(parent) / name
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if stat.S_ISLNK(mode) or stat.S_ISREG(mode):
                os.lchown(path, 0, 0)
                if stat.S_ISREG(mode):
                    path.chmod(0o755 if mode & 0o111 else 0o644)
            else:
                path.unlink()  # devices and sockets: a unit has its own /dev and /run
    for name in ("proc", "sys", "dev", "run", "tmp", "var/tmp", f"var/lib/{service}", "etc"):
        make_inside(rootfs, rootfs / name, lambda path: path.mkdir(parents=True, exist_ok=True, mode=0o755))
    for name in ("etc/hosts", "etc/resolv.conf"):
        make_inside(rootfs, rootfs / name, Path.touch)


def make_inside(rootfs: Path, path: Path, make) -> None:
    """Make `path` unless it is there, or a link on the way to it leads out of the image."""
    if not os.path.lexists(path) and path.parent.resolve().is_relative_to(rootfs.resolve()):
        make(path)


# Activating -----------------------------------------------------------------------------------------------------


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
    for name, text in params["drop_ins"].items():
        folder, _, file = name.partition("/")
        if not is_own_unit(places, color, folder) or file != "turnout.conf":
            raise SlotError(
                "drop-in-name",
                f"the drop-in {name!r}",
                f"{places.service}-PROCESS@{color}.service.d/turnout.conf",
                "pass the result of the filter turnout.ops.drop_ins for this color",
            )
        path = (places.units / name).relative_to(places.root)
        slot.files[str(path)] = FileContent(text.encode(), 0o644, 0)
    return slot


def activate(places: Places, params: dict, *, check: bool) -> dict:
    """Stand a release in a color, keeping aside what stood there."""
    color, release_id = params["color"], params["release_id"]
    before, after = read_slot(places, color), wanted_slot(places, params)
    changes = differences(before, after)
    record = kept_record(places, color)
    stale = record is not None and before.release_id is not None and before.release_id == params["confirmed"]
    result = {"changed": bool(changes), "changes": changes, "release_id": release_id, "complete": True}
    if check:
        return result | {"displaced": before.release_id, "reloaded": False, "diff": diff(before, after)}
    if changes:
        if record is None or stale:
            keep_aside(places, color, before, release_id)
        elif record.get("candidate") != release_id:
            # An earlier run did not end: what it displaced is still what a failure of this one has to restore.
            record["candidate"] = release_id
            write_file(places.displaced(color) / "slot.json", json.dumps(record).encode(), 0o600)
        apply_slot(places, color, before, after)
    reloaded = reload_if_wanted(places)
    displaced = (kept_record(places, color) or {}).get("release_id")
    return result | {"displaced": displaced, "reloaded": reloaded, "diff": diff(before, after)}


def restore(places: Places, params: dict, *, check: bool) -> dict:
    """Put back what `activate` displaced."""
    color = params["color"]
    record = kept_record(places, color)
    before = read_slot(places, color)
    stale = record is not None and params["release_id"] is not None and record.get("candidate") != params["release_id"]
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
        "complete": is_complete(places, after.release_id),
        "reloaded": False,
        "diff": diff(before, after),
    }
    if check:
        return result
    if changes:
        apply_slot(places, color, before, after)
    result["reloaded"] = reload_if_wanted(places)
    if record is not None and not stale:
        discard(places.displaced(color))
    return result


def settle(places: Places, params: dict, *, check: bool) -> dict:
    """Forget what was displaced: the release in the color is confirmed."""
    color = params["color"]
    there = places.displaced(color).exists()
    if there and not check:
        discard(places.displaced(color))
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
            elsewhere = variables_of(other.files.get(name))
            for key, value in sorted(variables_of(file).items()):
                differs = key in elsewhere and elsewhere[key] != value
                lines.append(f"  {key}{' (another value)' if differs else ''}")
        elif name in other.files and other.files[name].content != file.content:
            lines.append("  (another content)")
    return "\n".join(lines) + "\n"


def variables_of(file: FileContent | None) -> dict[str, bytes]:
    """Return the variables of an environment file that Turnout wrote, where every variable is one line."""
    return {} if file is None else {key.decode(): value for key, value in VARIABLE.findall(file.content)}


# Pruning --------------------------------------------------------------------------------------------------------


def prune(places: Places, params: dict, *, check: bool) -> dict:
    """Remove old releases, beyond `keep` newest, that nothing names."""
    named = set(params["keep_ids"])
    for color in COLORS:
        named |= {standing(places, color), (kept_record(places, color) or {}).get("release_id")}
    old = [entry for entry in laid_releases(places) if entry["release_id"] not in named][params["keep"] :]
    for entry in old if not check else ():
        discard(places.release(entry["release_id"]))
    return {"changed": bool(old), "removed": [entry["release_id"] for entry in old]}


def laid_releases(places: Places) -> list[dict]:
    """Return the releases that lie whole on this host, newest first."""
    found = []
    for path in places.releases.iterdir() if places.releases.is_dir() else ():
        marker = read_marker(places, path.name) if RELEASE_ID.fullmatch(path.name) else None
        if marker is not None:
            version = path.name.rpartition("-")[0]
            found.append({"release_id": path.name, "version": version, "laid_at": marker.get("laid_at", 0)})
    return sorted(found, key=lambda entry: entry["laid_at"], reverse=True)


# Reporting ------------------------------------------------------------------------------------------------------


def info(places: Places, params: dict) -> dict:
    """Return everything that a preflight or a status page asks a host, in one go."""
    home = places.releases
    while not home.exists():
        home = home.parent
    status = os.statvfs(home)
    return {
        "changed": False,
        "colors": {color: color_info(places, color) for color in COLORS},
        "fenced_by": fenced_by(places),
        "laid": laid_releases(places),
        "complete": is_complete(places, params["release_id"]),
        "units": unit_states(params["unit_names"]),
        "ports": {str(port): state for port, state in port_states(params["ports"]).items()},
        "disk": {
            "path": str(home),
            "free_bytes": status.f_bavail * status.f_frsize,
            "total_bytes": status.f_blocks * status.f_frsize,
            "free_inodes": status.f_favail,
        },
        "clock": {"wall_s": time.time(), "monotonic_s": time.monotonic()},
        "tools": {
            **{name: shutil.which(name) is not None for name in ("tar", "zstd", "umoci")},
            "fence": fence_library(places) is not None and (places.root / LIBRARY / "turnout_host/home.py").exists(),
        },
    }


def fenced_by(places: Places) -> dict | None:
    """Return the newest run that changed this host, None where that is not known."""
    library = fence_library(places)
    return library.recorded(places.service, str(places.root)) if library else None


def color_info(places: Places, color: str) -> dict:
    """Return what stands in a color."""
    release_id = standing(places, color)
    marker = read_marker(places, release_id) if release_id else None
    kept = kept_record(places, color)
    return {
        "release_id": release_id,
        "version": release_id.rpartition("-")[0] if release_id else None,
        "complete": is_complete(places, release_id),
        "manifest": (marker or {}).get("manifest"),
        "unfinished": kept is not None,
        "displaced": kept.get("release_id") if kept else None,
    }


def unit_states(names: list[str]) -> dict[str, dict]:
    """Return the state of units, by one call of systemctl."""
    if not names:
        return {}
    wanted = ",".join(["Id", *UNIT_PROPERTIES])
    result = run(["systemctl", "show", f"--property={wanted}", "--", *names], timeout_s=SYSTEMCTL_TIMEOUT_S)
    if result.returncode != 0:
        raise SlotError(
            "systemd-silent",
            f"systemctl show failed: {last_line(result.stderr)}",
            "the state of the service's units",
            "see: systemctl is-system-running",
        )
    states = {}
    for name, block in zip(names, result.stdout.decode().strip().split("\n\n"), strict=False):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        state = {ours: values.get(theirs, "") for theirs, ours in UNIT_PROPERTIES.items()}
        for number in ("main_pid", "restarts", "since_monotonic_us"):
            state[number] = int(state[number]) if str(state[number]).isdigit() else 0
        states[name] = state
    return states


def port_states(ports: list[int]) -> dict[int, dict]:
    """Return who listens on TCP ports of this host."""
    if not ports:
        return {}
    inodes: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":  # LISTEN
                    inodes.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(fields[9])
    wanted = {inode for port in ports for inode in inodes.get(port, ())}
    owners = socket_owners(wanted)
    states: dict[int, dict] = {}
    for port in ports:
        owner = next((owners[inode] for inode in inodes.get(port, ()) if inode in owners), {})
        states[port] = {"listening": port in inodes, "pid": None, "unit": None, "command": None, **owner}
    return states


def socket_owners(inodes: set[str]) -> dict[str, dict]:
    """Return the process that holds each socket, where it can be seen."""
    owners: dict[str, dict] = {}
    for process in Path("/proc").iterdir() if inodes else ():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = os.readlink(descriptor).removeprefix("socket:[").removesuffix("]")
                    if inode in inodes:
                        owners.setdefault(inode, describe_process(process))
    return owners


def describe_process(process: Path) -> dict:
    """Return a process's id, name and systemd unit; its command line could hold secrets and is left out."""
    unit = None
    with contextlib.suppress(OSError):
        found = re.findall(
            r"/([^/\n]+\.(?:service|scope|socket))(?:/|$)", (process / "cgroup").read_text(), re.MULTILINE
        )
        unit = found[-1].replace("\\x2d", "-") if found else None
    name = None
    with contextlib.suppress(OSError):
        name = (process / "comm").read_text().strip()
    return {"pid": int(process.name), "unit": unit, "command": name}


# The face -------------------------------------------------------------------------------------------------------


def check_names(params: dict) -> None:
    """Raise `SlotError` for names that could lead to another place: they become paths."""
    if not SERVICE.fullmatch(params["service"]):
        raise SlotError("service-name", repr(params["service"]), "a service's name", "pass service.name")
    names = [params["release_id"], *params["keep_ids"], params["confirmed"]]
    for name in names:
        if name is not None and (not RELEASE_ID.fullmatch(name) or ".." in name):
            raise SlotError("release-id", repr(name), "VERSION-SHA12, such as 1.1.0-0a1b2c3d4e5f", "pass release_id")


def perform(params: dict, *, check: bool) -> dict:
    """Do what `params` asks for and return the module's result."""
    check_names(params)
    places = Places(Path(params["root"]), params["service"])
    state = params["state"]
    if state == "info":
        return info(places, params)
    fence = fence_of(places, params)
    library = fence_library(places)
    refusals = () if library is None else library.FenceError
    try:
        if check:
            fence.still()
            return act(places, params, fence, check=True)
        fence.check()  # before the wait for the lock, so that an older run that holds it hears of this one
        with host_lock(places):
            result = act(places, params, fence, check=False)
        return result | ({"warnings": fence.notes} if fence.notes else {})
    except refusals as refused:
        raise SlotError(**refused.fields) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(
                places, f"no space for {error.filename or 'a file'}", "room for the whole release"
            ) from None
        raise SlotError(
            "host-files",
            f"{error.filename or places.home}: {error.strerror}",
            "a file system that root can write",
            f"see: ls -ld {places.home} {places.kept}; mount | grep 'ro,'",
        ) from error


def act(places: Places, params: dict, fence, *, check: bool) -> dict:
    """Do what the state asks for.

    What stands in a color is changed while the fence is held: a newer run may start its units at any moment. Laying and
    removing releases may take long; the host's lock keeps newer runs out of these, and no unit can meet them.
    """
    state = params["state"]
    if not check:
        fence.check()
        remove_temporaries(places)
    if state == "laid":
        return make_laid(places, params, fence, check=check)
    if state in ("ready", "pruned"):
        return (make_ready if state == "ready" else prune)(places, params, check=check)
    action = {"active": activate, "restored": restore, "settled": settle}[state]
    with contextlib.nullcontext() if check else fence.held():
        return action(places, params, check=check)


def make_ready(places: Places, params: dict, *, check: bool) -> dict:
    """Make the host ready to take the artifact: no leftovers, enough room, a folder to copy to."""
    complete = is_complete(places, params["release_id"])
    removed: list[str] = []
    if not check:
        removed = remove_leftovers(places)
        places.releases.mkdir(parents=True, exist_ok=True, mode=0o755)
        places.staging.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not complete:
        for program in ("tar", "zstd", *(["umoci"] if params["kind"] == "oci-archive" else [])):
            if shutil.which(program) is None:
                raise program_missing(program)
        check_room(places, params["bytes"] + params["unpacked_bytes"])
    return {"changed": bool(removed), "removed": removed, "complete": complete, "staging": str(places.staging)}


def make_laid(places: Places, params: dict, fence, *, check: bool) -> dict:
    """Lay the release unless it is there whole."""
    release_id = params["release_id"]
    path = str(places.release(release_id))
    marker = read_marker(places, release_id)
    there = is_complete(places, release_id) and (marker or {}).get("sha256") == params["sha256"]
    if not there and not check:
        path = lay(places, params, fence)
    elif there and not check and params["src"]:
        Path(params["src"]).unlink(missing_ok=True)
    return {"changed": not there, "release_id": release_id, "path": path, "complete": True}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "required": True,
                "choices": ["info", "ready", "laid", "active", "restored", "settled", "pruned"],
            },
            "service": {"type": "str", "required": True},
            "run": {"type": "str"},
            "fence": {"type": "int"},
            "release_id": {"type": "str"},
            "color": {"type": "str", "choices": list(COLORS)},
            "src": {"type": "path"},
            "sha256": {"type": "str"},
            "bytes": {"type": "int", "default": 0},
            "unpacked_bytes": {"type": "int", "default": 0},
            "kind": {"type": "str", "choices": ["tarball", "oci-archive"], "default": "tarball"},
            "manifest": {"type": "dict", "default": {}},
            "layout": {"type": "dict", "default": {}},
            "environment": {"type": "str", "no_log": True},
            "migrate_environment": {"type": "str", "no_log": True},
            "drop_ins": {"type": "dict", "default": {}},
            "user": {"type": "str"},
            "confirmed": {"type": "str"},
            "unit_names": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "keep": {"type": "int", "default": 5},
            "keep_ids": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "root": {"type": "path", "default": "/"},
        },
        required_if=[
            ("state", "ready", ["release_id"]),
            ("state", "laid", ["release_id", "sha256"]),
            ("state", "active", ["run", "fence", "release_id", "color", "environment", "user"]),
            ("state", "restored", ["run", "fence", "color"]),
            ("state", "settled", ["run", "fence", "color"]),
            ("state", "pruned", ["run", "fence"]),
        ],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**perform(module.params, check=module.check_mode))
    except SlotError as error:
        module.fail_json(msg=error.message(), **error.fields)


if __name__ == "__main__":
    main()
