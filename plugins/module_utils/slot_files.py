# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A service's places on a host, files that are replaced whole, and the lock and the fence under which they change."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.laid_release import marker_of

COLORS = ("blue", "green")
PARTIAL = ".partial-"
TEMPORARY = ".turnout-new"
LIBRARY = "usr/local/lib/turnout-host"  # laid by the role service_host
LOCK_WAIT_S = 120
SYSTEMCTL_TIMEOUT_S = 60
# Kind and name of a process. No word of a name is a kind: `shop-worker-api@blue` is the API of a service `shop-worker`.
PROCESS = r"(?:api|web|worker|scheduler|timer)(?:-(?!(?:api|web|worker|scheduler|timer)\b)[a-z0-9]+)*"
RELEASE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}-[0-9a-f]{12}")


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


def end(module, result: Callable[[], dict]) -> None:
    """End an Ansible module with a result, or with the `SlotError` that came of it."""
    try:
        module.exit_json(**result())
    except SlotError as error:
        module.fail_json(msg=error.message(), **error.fields)


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

    def configuration(self, color: str) -> str:
        """The record of the color's configuration, from the root."""
        return f"etc/{self.service}/{color}.configuration.json"

    def displaced(self, color: str) -> Path:
        """What was kept aside of the color."""
        return self.kept / f"{color}.displaced"

    def reload_wanted(self) -> Path:
        """Stands while units were changed and systemd has not read them yet."""
        return self.kept / "reload-wanted"


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
    drop_ins = (path for path in places.units.glob(f"{places.service}-*.service.d") if is_own_unit(places, path.name))
    for folder in (places.home, places.root / "etc" / places.service, places.kept, *drop_ins):
        for path in folder.glob(f".*{TEMPORARY}"):
            path.unlink()


def is_own_unit(places: Places, folder: str, color: str = "|".join(COLORS)) -> bool:
    """Tell whether a drop-in folder belongs to a unit of this service (not to one whose name begins alike)."""
    return re.fullmatch(rf"{re.escape(places.service)}-{PROCESS}@({color})(-\d+)?\.service\.d", folder) is not None


def template_of(places: Places, unit: str) -> Path | None:
    """Return the template of a unit, or its kind's, from which one with a name is made; None where there is neither."""
    own, kind = f"{unit.partition('@')[0]}@.service", re.match(rf"{re.escape(places.service)}-[a-z]+", unit)
    for name in (own, f"{kind[0]}@.service" if kind else own):
        if (places.units / name).is_file():
            return places.units / name
    return None


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


def read_marker(places: Places, release_id: str) -> dict | None:
    """Return the completeness marker of a laid release, None when it is not whole."""
    marker = marker_of(str(places.release(release_id)))
    return marker if marker.get("release_id") == release_id else None


def is_complete(places: Places, release_id: str | None) -> bool:
    """Tell whether a release is laid whole."""
    return release_id is not None and read_marker(places, release_id) is not None


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
    library = needed(places, "fence", "the program that keeps older runs away")
    try:
        return library.Fence(places.service, params["run"], params["fence"], str(places.root))
    except library.FenceError as refused:
        raise SlotError(**refused.fields) from None


def host_module(places: Places, name: str):
    """Return a module of turnout_host on this host, None where it was not laid, or an older Turnout had none."""
    folder = str(places.root / LIBRARY)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(f"turnout_host.{name}")
    except ImportError:
        return None


def needed(places: Places, name: str, purpose: str):
    """Return a module of turnout_host, of which `purpose` says what it is for. Raises `SlotError` without it."""
    found = host_module(places, name)
    if found is None:
        raise SlotError(
            "host-unprepared",
            f"there is no turnout_host.{name} in {places.root / LIBRARY}",
            purpose,
            "ansible-playbook turnout.ops.site --tags service_host",
        )
    return found


def fence_library(places: Places):
    """Return the module turnout_host.fence of this host, None where it was not laid."""
    return host_module(places, "fence")


def command_library(places: Places):
    """Return the module turnout_host.commands of this host, None where it was not laid."""
    return host_module(places, "commands")


def commands_in(places: Places, color: str = "*") -> list[dict]:
    """Return the commands of `turnout run` that run, in a color or in both; none where this host cannot run any."""
    library = command_library(places)
    return library.in_color(places.service, color, str(places.root)) if library else []


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
