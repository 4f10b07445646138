"""The module turnout.ops.slot, for real, below a folder that stands for the root."""

import contextlib
import fcntl
import getpass
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import laid_release, slot_colors, slot_files, slot_laying
from ansible_collections.turnout.ops.plugins.modules import slot
from fit_names import FIT_LINKS, FIT_NAMES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ports import free_port

ROOT = Path(__file__).resolve().parents[3]
SECRET = "s3cr3t-value"


DEFAULTS = {
    "run": "r1", "fence": 1,
    "release_id": None, "color": None, "src": None, "sha256": None, "bytes": 0, "unpacked_bytes": 0,
    "kind": "tarball", "manifest": {}, "layout": {}, "environment": None, "migrate_environment": None, "drop_ins": {},
    "user": getpass.getuser(), "confirmed": None,
    "configuration": None, "configuration_id": None, "confirmed_configuration": None,
    "unit_names": [], "ports": [], "keep": 5, "keep_ids": [],
}  # fmt: skip


class Host:
    """One application host, as the module sees it."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.systemctl_log = log

    def do(self, state: str, *, check: bool = False, **params: Any) -> dict[str, Any]:
        given = {**DEFAULTS, "root": str(self.root), "service": "shop", "state": state, **params}
        result: dict[str, Any] = slot.perform(given, check=check)
        assert SECRET not in json.dumps(result)
        return result

    def fails(self, state: str, **params: Any) -> str:
        with pytest.raises(slot_files.SlotError) as caught:
            self.do(state, **params)
        assert SECRET not in caught.value.message()
        return str(caught.value.fields["code"])

    def lay(self, version: str, **params: Any) -> str:
        src, sha256 = artifact(self.root / "upload", {"bin/api": version})
        release_id = f"{version}-{sha256[:12]}"
        self.do("laid", **{"release_id": release_id, "src": str(src), "sha256": sha256, **params})
        return release_id

    def activate(self, release_id: str, color: str = "green", **params: Any) -> dict[str, Any]:
        values = {
            "environment": f'PASSWORD="{SECRET}-{release_id}"\nSAME="1"\n',
            "migrate_environment": f'DSN="{SECRET}"\n',
            "drop_ins": {f"shop-api@{color}.service.d/turnout.conf": f"[Service]\nExecStart=/x {release_id}\n"},
        }
        return self.do("active", release_id=release_id, color=color, **{**values, **params})

    def picture(self) -> dict[str, Any]:
        """Return all that matters below the root: files with content and mode, links with targets."""
        result: dict[str, Any] = {}
        for folder in ("opt", "etc"):
            for path in sorted((self.root / folder).rglob("*")):
                name = str(path.relative_to(self.root))
                if path.is_symlink():
                    result[name] = str(path.readlink())
                elif path.is_file():
                    result[name] = (path.read_bytes(), path.stat().st_mode & 0o7777)
        return result

    def reloads(self) -> int:
        return self.systemctl_log.read_text().count("daemon-reload") if self.systemctl_log.exists() else 0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "systemctl.log"
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    root = tmp_path / "root"
    lay_host_program(root)
    return Host(root, log)


def lay_host_program(root: Path) -> None:
    """Lay the package turnout_host as the role service_host does."""
    shutil.copytree(ROOT / "roles/service_host/files/turnout_host", root / "usr/local/lib/turnout-host/turnout_host")


def artifact(path: Path, files: dict[str, Any]) -> tuple[Path, str]:
    """Write a compressed tarball; a value may also be a TarInfo, for what a good build never makes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else content.encode()
            info.size, info.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(subprocess.run(["zstd", "-qc"], input=buffer.getvalue(), capture_output=True, check=True).stdout)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def member(name: str, **values: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


# Laying ---------------------------------------------------------------------------------------------------------


def test_a_release_is_laid_whole_with_its_marker(host):
    src, sha256 = artifact(host.root / "upload", {"bin/api": "#!/bin/sh\n", "lib/data": "x"})
    release_id = f"1.1.0-{sha256[:12]}"
    result = host.do("laid", release_id=release_id, src=str(src), sha256=sha256, manifest={"version": "1.1.0"})
    folder = host.root / "opt/shop/releases" / release_id
    assert result == {"changed": True, "release_id": release_id, "path": str(folder), "complete": True}
    assert (folder / "bin/api").stat().st_mode & 0o7777 == 0o755
    assert (folder / "lib/data").stat().st_mode & 0o7777 == 0o644
    assert (folder / "bin").stat().st_mode & 0o7777 == 0o755
    marker = json.loads((folder / ".turnout-complete").read_text())
    assert (marker["release_id"], marker["sha256"], marker["manifest"]) == (release_id, sha256, {"version": "1.1.0"})
    assert not src.exists()


def test_laying_again_changes_nothing(host):
    release_id = host.lay("1.1.0")
    before = host.picture()
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1.1.0"})
    result = host.do("laid", release_id=release_id, src=str(src), sha256=sha256)
    assert result["changed"] is False
    assert host.picture() == before
    assert not src.exists()


def test_check_mode_says_what_would_change_and_changes_nothing(host):
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1"})
    release_id = f"1-{sha256[:12]}"
    assert host.do("laid", check=True, release_id=release_id, src=str(src), sha256=sha256)["changed"] is True
    assert host.do("ready", check=True, release_id=release_id)["complete"] is False
    assert not (host.root / "opt").exists()
    assert src.exists()


def test_a_spoilt_copy_is_refused_and_leaves_nothing(host):
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1"})
    src.write_bytes(src.read_bytes()[:-3])
    assert host.fails("laid", release_id=f"1-{sha256[:12]}", src=str(src), sha256=sha256) == "artifact-wrong"
    assert not list((host.root / "opt").rglob("*"))


def test_a_checksum_of_another_release_is_refused(host):
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1"})
    assert host.fails("laid", release_id="1-" + "0" * 12, src=str(src), sha256=sha256) == "artifact-other"


def test_a_missing_copy_is_told(host):
    assert host.fails("laid", release_id="1-" + "a" * 12, sha256="a" * 64, src=None) == "artifact-missing"


def test_what_is_no_archive_is_refused_and_leaves_nothing(host):
    src = host.root / "upload"
    src.write_bytes(b"no archive")
    sha256 = hashlib.sha256(b"no archive").hexdigest()
    assert host.fails("laid", release_id=f"1-{sha256[:12]}", src=str(src), sha256=sha256) == "artifact-unreadable"
    assert not list((host.root / "opt/shop/releases").iterdir())


@pytest.mark.parametrize(
    "files",
    [
        {"../escaped": "x"},
        {"a/../../escaped": "x"},
        {"l": member("l", type=tarfile.SYMTYPE, linkname="/etc/passwd")},
        {"l": member("l", type=tarfile.SYMTYPE, linkname="../../escaped")},
        {"d": member("d", type=tarfile.SYMTYPE, linkname="../.."), "d/escaped": "x"},
        {"l": member("l", type=tarfile.SYMTYPE, linkname="l")},
        {"l": member("l", type=tarfile.SYMTYPE, linkname="m/x"), "m": member("m", type=tarfile.SYMTYPE, linkname="l")},
        {"e\x1b[2J": member("e\x1b[2J", type=tarfile.SYMTYPE, linkname="/etc")},
        {"l": member("l", type=tarfile.LNKTYPE, linkname="../../../../outside")},
        {"f": member("f", type=tarfile.FIFOTYPE)},
        {"c": member("c", type=tarfile.CHRTYPE, devmajor=1, devminor=3)},
        {".turnout-complete": "{}"},
    ],
)
def test_members_that_lead_out_or_are_no_files_are_refused(host, files):
    (host.root / "outside").write_text("precious")
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1", **files})
    code = host.fails("laid", release_id=f"1-{sha256[:12]}", src=str(src), sha256=sha256)
    assert code in ("artifact-unsafe", "artifact-unreadable")
    assert not list((host.root / "opt/shop/releases").iterdir())
    assert not list(host.root.rglob("escaped"))
    assert (host.root / "outside").read_text() == "precious"


def test_every_name_and_link_that_a_build_takes_is_laid(host):
    links = {name: member(name, type=tarfile.SYMTYPE, linkname=to) for name, to in FIT_LINKS.items()}
    src, sha256 = artifact(host.root / "upload", {**dict.fromkeys(FIT_NAMES, "x"), **links})
    host.do("laid", release_id=f"1-{sha256[:12]}", src=str(src), sha256=sha256)
    folder = host.root / "opt/shop/releases" / f"1-{sha256[:12]}"
    assert {path.name for path in folder.iterdir()} == {*FIT_NAMES, *FIT_LINKS, ".turnout-complete"}
    assert {name: str((folder / name).readlink()) for name in FIT_LINKS} == FIT_LINKS


def test_what_another_service_is_writing_whose_name_begins_alike_is_left_alone(host):
    names = ("shop-api@blue.service.d", "shop-worker@green-2.service.d", "shop-web-api@blue.service.d")
    drafts = [host.root / "etc/systemd/system" / name / ".turnout.conf.turnout-new" for name in names]
    for draft in drafts:
        draft.parent.mkdir(parents=True)
        draft.touch()
    slot_files.remove_temporaries(slot_files.Places(host.root, "shop"))
    assert [draft.exists() for draft in drafts] == [False, False, True]


def test_an_absolute_member_lands_inside(host):
    src, sha256 = artifact(host.root / "upload", {"/turnout-absolute-member": "x"})
    release_id = f"1-{sha256[:12]}"
    host.do("laid", release_id=release_id, src=str(src), sha256=sha256)
    assert not Path("/turnout-absolute-member").exists()
    assert (host.root / "opt/shop/releases" / release_id / "turnout-absolute-member").exists()


def test_setuid_bits_and_write_bits_of_others_are_taken_away(host):
    files = {"bin/su": member("bin/su", mode=0o6777), "d": member("d", type=tarfile.DIRTYPE, mode=0o1777)}
    src, sha256 = artifact(host.root / "upload", files)
    release_id = f"1-{sha256[:12]}"
    host.do("laid", release_id=release_id, src=str(src), sha256=sha256)
    folder = host.root / "opt/shop/releases" / release_id
    assert (folder / "bin/su").stat().st_mode & 0o7777 == 0o755
    assert (folder / "d").stat().st_mode & 0o7777 == 0o755


def test_links_inside_a_release_stay(host):
    files = {"lib/data": "x", "current": member("current", type=tarfile.SYMTYPE, linkname="lib/data")}
    src, sha256 = artifact(host.root / "upload", files)
    host.do("laid", release_id=f"1-{sha256[:12]}", src=str(src), sha256=sha256)
    assert (host.root / "opt/shop/releases" / f"1-{sha256[:12]}" / "current").read_text() == "x"


def test_too_little_room_is_told_before_anything_is_copied(host):
    room = shutil.disk_usage(host.root).free
    params = {"release_id": "1-" + "a" * 12, "bytes": room, "unpacked_bytes": room}
    assert host.fails("ready", **params) == "disk-full"


@pytest.fixture
def small_disk(host: Host) -> Iterator[Host]:
    """The host with a real file system of 2 MiB below /opt."""
    folder = host.root / "opt"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield host
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_fails_cleanly_and_the_next_try_works(small_disk):
    big = {f"file-{number}": os.urandom(100_000) for number in range(40)}
    src, sha256 = artifact(small_disk.root / "upload", big)
    params = {"release_id": f"1-{sha256[:12]}", "src": str(src), "sha256": sha256}
    assert small_disk.fails("laid", **params) == "disk-full"
    assert not list((small_disk.root / "opt/shop/releases").iterdir())
    assert small_disk.do("info", release_id=params["release_id"])["complete"] is False
    assert small_disk.lay("2")


def test_a_disk_that_fills_up_at_the_marker_leaves_no_whole_release(small_disk):
    (small_disk.root / "opt/shop/releases").mkdir(parents=True)
    src, sha256 = artifact(small_disk.root / "upload", {"bin/api": "1"})
    with (small_disk.root / "opt/filler").open("wb") as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
            stream.flush()
    params = {"release_id": f"1-{sha256[:12]}", "src": str(src), "sha256": sha256}
    assert small_disk.fails("laid", **params) == "disk-full"
    assert not list((small_disk.root / "opt/shop/releases").iterdir())


def test_a_killed_unpacking_is_never_taken_for_a_release_and_is_cleaned_up(host, tmp_path):
    """Kill the module at many moments of its work; after each the release is whole or not there."""
    files = {f"d{number}/file-{number}": os.urandom(20_000) for number in range(150)}
    src, sha256 = artifact(tmp_path / "big", files)
    release_id = f"1-{sha256[:12]}"
    script = (
        "import sys, json; import ansible_collections.turnout.ops.plugins.modules.slot as s;"
        "s.perform(json.loads(sys.argv[1]), check=False)"
    )
    outcomes = set()
    for delay_ms in (150, 250, 300, 350, 400, 450, 500, 600, 3000):
        upload = host.root / "upload"
        shutil.copy(src, upload)
        params = {**DEFAULTS, "root": str(host.root), "service": "shop", "state": "laid",
                  "release_id": release_id, "src": str(upload), "sha256": sha256}  # fmt: skip
        process = subprocess.Popen([sys.executable, "-B", "-c", script, json.dumps(params)], process_group=0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay_ms / 1000)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        complete = host.do("info", release_id=release_id)["complete"]
        folder = host.root / "opt/shop/releases" / release_id
        assert folder.exists() is complete
        if complete:
            assert len(list(folder.rglob("file-*"))) == len(files)
            shutil.rmtree(folder)
        outcomes.add(complete)
        host.do("ready", release_id=release_id)
        assert not list((host.root / "opt/shop/releases").iterdir())
    assert True in outcomes


def test_ready_removes_what_killed_runs_left_and_keeps_whole_releases(host):
    kept = host.lay("1.0.0")
    releases = host.root / "opt/shop/releases"
    (releases / ".partial-x/deep").mkdir(parents=True)
    (releases / ("1.1.0-" + "a" * 12)).mkdir()  # from a host that crashed before the marker was on disk
    result = host.do("ready", release_id="1.1.0-" + "a" * 12)
    assert result["complete"] is False
    assert [path.name for path in releases.iterdir()] == [kept]
    (Path(result["staging"]) / "left").write_text("x")
    host.do("ready", release_id=kept)
    assert not list(Path(result["staging"]).iterdir())
    assert host.do("ready", release_id=kept)["complete"] is True


def test_a_second_process_waits_for_the_first(host, monkeypatch):
    monkeypatch.setattr(slot_files, "LOCK_WAIT_S", 0.3)
    places = slot_files.Places(host.root, "shop")
    with slot_files.host_lock(places):
        assert host.fails("pruned") == "slot-busy"
    host.do("pruned")


@pytest.mark.parametrize("release_id", ["../etc", "1.1.0", "1..0-" + "a" * 12, "a/b-" + "a" * 12, ""])
def test_ids_that_could_play_tricks_are_refused(host, release_id):
    assert host.fails("ready", release_id=release_id) == "release-id"


@pytest.mark.parametrize("service", ["../x", "Shop", "", "a/b"])
def test_services_that_could_play_tricks_are_refused(host, service):
    assert host.fails("info", service=service) == "service-name"


# The fence ------------------------------------------------------------------------------------------------------


def test_a_run_that_was_overtaken_changes_nothing_on_the_host(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old, run="deploy", fence=6)
    host.do("settled", color="green", run="rollback", fence=7)
    before = host.picture()
    src, sha256 = artifact(host.root / "upload", {"bin/api": "late"})
    late = {"run": "deploy", "fence": 6, "release_id": new}
    laid = {**late, "release_id": f"2-{sha256[:12]}", "src": str(src), "sha256": sha256}
    assert host.fails("active", **late, color="green", environment="") == "fence"
    assert host.fails("laid", **laid) == "fence"
    for state in ("ready", "restored", "settled", "pruned"):
        assert host.fails(state, **late, color="green", keep=0) == "fence"
    assert host.picture() == before
    assert host.do("info")["fenced_by"] == {"fence": 7, "run": "rollback"}


def test_a_drill_lays_a_release_without_a_lock_and_overtakes_nobody(host):
    old = host.lay("1.0.0")
    host.activate(old, run="deploy", fence=6)
    new = host.lay("1.1.0", run=None, fence=None)
    host.do("ready", release_id=new, run=None, fence=None)
    assert host.do("info")["fenced_by"] == {"fence": 6, "run": "deploy"}
    assert (host.root / "opt/shop/releases" / new / "bin/api").exists()
    before = host.picture()
    for state in ("active", "restored", "settled", "pruned"):
        assert host.fails(state, release_id=new, color="green", environment="", run=None, fence=None) != ""
    assert host.picture() == before


def test_a_color_is_changed_while_the_fence_is_held(host, monkeypatch):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    held = []

    def watched(name):
        original = getattr(slot_colors, name)

        def step(*arguments, **options):
            with (host.root / "var/lib/turnout-slots/shop/fence.lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(slot_colors, name, step)

    for name in ("apply_slot", "keep_aside", "reload_if_wanted"):
        watched(name)
    host.activate(new)
    host.do("restored", color="green", release_id=new)
    names = ["keep_aside", "apply_slot", "reload_if_wanted", "apply_slot", "reload_if_wanted"]
    assert held == names, "another run could be recorded in the middle"


def test_a_run_that_is_overtaken_while_it_unpacks_leaves_nothing(host, monkeypatch):
    src, sha256 = artifact(host.root / "upload", {"bin/api": "1"})
    release_id = f"1-{sha256[:12]}"
    original = slot_laying.clean_tree

    def overtaken(folder):
        original(folder)
        slot_files.fence_library(slot_files.Places(host.root, "shop")).Fence("shop", "newer", 2, str(host.root)).check()

    monkeypatch.setattr(slot_laying, "clean_tree", overtaken)
    assert host.fails("laid", release_id=release_id, src=str(src), sha256=sha256) == "fence"
    assert not list((host.root / "opt/shop/releases").iterdir())
    assert not src.exists()


def test_a_program_that_runs_long_ends_when_its_run_is_overtaken(host):
    fence = slot_files.fence_of(slot_files.Places(host.root, "shop"), {"run": "r1", "fence": 1})
    fence.check()
    slot_files.fence_of(slot_files.Places(host.root, "shop"), {"run": "r2", "fence": 2}).check()
    started = time.monotonic()
    with pytest.raises(Exception, match="was overtaken by run r2"):
        slot_files.run(["sleep", "60"], still=fence.still)
    assert time.monotonic() - started < 30


def test_a_release_does_not_begin_where_the_host_program_is_missing(host, monkeypatch):
    shutil.rmtree(host.root / "usr")
    for name in ("turnout_host", "turnout_host.fence"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not (Path(folder) / "turnout_host").is_dir()])
    with pytest.raises(slot_files.SlotError) as refused:
        host.do("ready", release_id="1-" + "a" * 12)
    assert refused.value.fields["code"] == "host-unprepared"
    assert "turnout.ops.site --tags service_host" in refused.value.message()
    assert host.do("info")["tools"]["fence"] is False


# Activating -----------------------------------------------------------------------------------------------------


def test_a_release_stands_in_its_color_with_all_that_belongs_to_it(host):
    release_id = host.lay("1.0.0")
    result = host.activate(release_id)
    assert (result["changed"], result["displaced"], result["reloaded"]) == (True, None, True)
    assert (host.root / "opt/shop/green").resolve() == host.root / "opt/shop/releases" / release_id
    environment = host.root / "etc/shop/green.env"
    assert environment.stat().st_mode & 0o7777 == 0o640
    assert SECRET in environment.read_text()
    assert (host.root / "etc/shop/green.migrate.env").stat().st_mode & 0o7777 == 0o600
    drop_in = host.root / "etc/systemd/system/shop-api@green.service.d/turnout.conf"
    assert drop_in.stat().st_mode & 0o7777 == 0o644
    assert host.reloads() == 1


def test_activating_again_changes_nothing(host):
    release_id = host.lay("1.0.0")
    host.activate(release_id)
    before = host.picture()
    result = host.activate(release_id)
    assert (result["changed"], result["changes"], result["reloaded"]) == (False, [], False)
    assert host.picture() == before
    assert host.reloads() == 1


def test_systemd_is_not_reloaded_for_a_new_environment_only(host):
    release_id = host.lay("1.0.0")
    host.activate(release_id)
    result = host.activate(release_id, environment='OTHER="2"\n')
    assert result["changes"] == ["/etc/shop/green.env"]
    assert result["reloaded"] is False


def test_an_incomplete_release_is_never_activated(host):
    (host.root / "opt/shop/releases/1.0.0-aaaaaaaaaaaa").mkdir(parents=True)
    assert (
        host.fails("active", release_id="1.0.0-aaaaaaaaaaaa", color="green", environment="A=1") == "release-incomplete"
    )


def test_a_missing_user_is_told(host):
    release_id = host.lay("1.0.0")
    assert host.fails("active", release_id=release_id, color="green", environment="", user="no-such") == "user-missing"


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/cron.d/x",
        "ssh.service.d/turnout.conf",
        "shop-api@blue.service.d/turnout.conf",  # of the other color
        "shop-api@green.service.d/other.conf",
        "shopping-api@green.service.d/turnout.conf",
        "shop-api@green.service.d/../x.d/turnout.conf",
    ],
)
def test_drop_ins_elsewhere_are_refused(host, name):
    release_id = host.lay("1.0.0")
    params = {"release_id": release_id, "color": "green", "environment": "", "drop_ins": {name: "x"}}
    assert host.fails("active", **params) == "drop-in-name"


def test_what_the_new_release_lacks_is_removed(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    worker = "shop-worker@green.service.d/turnout.conf"
    host.activate(old, drop_ins={worker: "[Service]\n"})
    host.activate(new, migrate_environment=None)
    assert not (host.root / "etc/systemd/system" / worker).parent.exists()
    assert not (host.root / "etc/shop/green.migrate.env").exists()


def test_drop_ins_of_the_administrator_and_of_others_stay(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    units = host.root / "etc/systemd/system"
    own = units / "shop-api@green.service.d/limits.conf"
    own.write_text("[Service]\n")
    other = units / "shop-two-api@green.service.d/turnout.conf"
    other.parent.mkdir()
    other.write_text("[Service]\n")
    host.activate(new, drop_ins={})
    host.do("restored", color="green")
    assert own.exists()
    assert other.exists()


def test_a_failed_release_is_put_back_exactly(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    before = host.picture()
    assert host.activate(new)["displaced"] == old
    result = host.do("restored", color="green")
    assert (result["changed"], result["release_id"], result["complete"]) == (True, old, True)
    assert host.picture() == before
    again = host.do("restored", color="green")
    assert (again["changed"], again["release_id"]) == (False, old)


def test_an_empty_color_becomes_empty_again(host):
    release_id = host.lay("1.0.0")
    before = host.picture()
    host.activate(release_id)
    result = host.do("restored", color="green")
    assert (result["changed"], result["release_id"], result["complete"]) == (True, None, False)
    assert host.picture() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("release_id"),
        lambda record: record.pop("files"),
        lambda record: record.update(release_id=7),
        lambda record: record.update(release_id="../../x"),
        lambda record: record.update(files=[]),
        lambda record: next(iter(record["files"].values())).pop("copy"),
        lambda record: next(iter(record["files"].values())).update(mode="0640"),
        lambda record: next(iter(record["files"].values())).pop("gid"),
    ],
)
def test_a_damaged_record_of_what_was_displaced_counts_as_none(host, damage):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    host.activate(new)
    path = host.root / "var/lib/turnout-slots/shop/green.displaced/slot.json"
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    before = host.picture()
    assert host.do("restored", color="green", release_id=new)["release_id"] == new
    assert host.picture() == before
    assert host.do("info")["colors"]["green"]["unfinished"] in (True, False)
    assert host.activate(old)["displaced"] == new


def test_restoring_where_nothing_was_activated_changes_nothing(host):
    assert host.do("restored", color="green")["changed"] is False


def test_a_second_try_does_not_forget_what_the_first_displaced(host):
    old, bad, good = host.lay("1.0.0"), host.lay("1.1.0"), host.lay("1.2.0")
    host.activate(old)
    host.do("settled", color="green")
    before = host.picture()
    host.activate(bad)  # and then the controller dies
    assert host.activate(good)["displaced"] == old
    host.do("restored", color="green", release_id=good)
    assert host.picture() == before


def test_a_confirmed_release_is_kept_aside_even_when_its_run_died_before_it_settled(host):
    old, confirmed, new = host.lay("1.0.0"), host.lay("1.1.0"), host.lay("1.2.0")
    host.activate(old)
    host.do("settled", color="green")
    host.activate(confirmed)  # confirmed on the edges; the run died before `settled`
    assert host.activate(new, confirmed=confirmed)["displaced"] == confirmed
    assert host.do("restored", color="green", release_id=new)["release_id"] == confirmed


def test_a_stale_slot_of_another_candidate_is_not_restored(host):
    old, confirmed = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    host.activate(confirmed)  # confirmed; the run died before `settled`
    before = host.picture()
    result = host.do("restored", color="green", release_id="1.3.0-" + "a" * 12)
    assert (result["changed"], result["release_id"]) == (False, confirmed)
    assert host.picture() == before
    assert host.do("info")["colors"]["green"]["unfinished"] is False


def test_a_settled_color_has_no_way_back(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.activate(new)
    assert host.do("settled", color="green")["changed"] is True
    assert host.do("settled", color="green")["changed"] is False
    assert host.do("restored", color="green")["release_id"] == new


def test_the_kept_slot_is_for_root_only(host):
    host.activate(host.lay("1.0.0"))
    host.activate(host.lay("1.1.0"))
    kept = host.root / "var/lib/turnout-slots/shop"
    assert kept.stat().st_mode & 0o077 == 0
    for path in (kept / "green.displaced").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_failed_reload_is_told_and_made_up_for(host, tmp_path):
    release_id = host.lay("1.0.0")
    program = tmp_path / "programs/systemctl"
    good = program.read_text()
    program.write_text("#!/bin/sh\necho 'no bus' >&2\nexit 1\n")
    params = {"environment": "", "drop_ins": {"shop-api@green.service.d/turnout.conf": "[Service]\n"}}
    assert host.fails("active", release_id=release_id, color="green", **params) == "systemd-reload"
    program.write_text(good)
    result = host.do("active", release_id=release_id, color="green", **params)
    assert (result["changed"], result["reloaded"]) == (False, True)


def test_check_and_diff_show_names_and_no_values(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    before = host.picture()
    result = host.activate(new, check=True)
    assert host.picture() == before
    assert result["changed"] is True
    assert result["diff"]["before"].startswith(f"release: {old}\n")
    assert "  PASSWORD (another value)\n  SAME\n" in result["diff"]["after"]
    assert host.do("restored", check=True, color="green")["changed"] is True
    assert host.do("settled", check=True, color="green")["changed"] is True
    assert host.picture() == before


MOMENTS = 30  # an activation has 27, a restore 16
FEWEST_MOMENTS = 15


class Killed(BaseException):
    """The process ends here."""


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], int]:
    """Let the process die at the `after`-th change of the file system; return how many changes were seen."""
    seen = 0

    def watched(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == after:
                raise Killed
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, step)

    for owner, name in (
        (Path, "replace"),
        (Path, "rename"),
        (Path, "unlink"),
        (slot_colors, "run"),
        (shutil, "rmtree"),
    ):
        watched(owner, name)
    return lambda: seen


@pytest.mark.parametrize("moment", range(1, MOMENTS))
def test_an_activation_killed_at_any_moment_is_put_back_exactly(host, monkeypatch, moment):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    before = host.picture()
    with monkeypatch.context() as patch:
        interrupted(patch, moment)
        with contextlib.suppress(Killed):
            host.activate(new, confirmed=old)
            assert moment > FEWEST_MOMENTS, "there are fewer moments than the test is meant to try"
    host.do("restored", color="green", release_id=new)
    assert host.picture() == before


@pytest.mark.parametrize("moment", range(1, MOMENTS))
def test_a_restore_killed_at_any_moment_is_finished_by_the_next(host, monkeypatch, moment):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    host.activate(old)
    host.do("settled", color="green")
    before = host.picture()
    host.activate(new)
    with monkeypatch.context() as patch:
        interrupted(patch, moment)
        with contextlib.suppress(Killed):
            host.do("restored", color="green", release_id=new)
            assert moment > FEWEST_MOMENTS, "there are fewer moments than the test is meant to try"
    host.do("restored", color="green", release_id=new)
    assert host.picture() == before


# Pruning --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pruning_keeps_the_newest_and_all_that_is_named(host, data):
    shutil.rmtree(host.root)
    lay_host_program(host.root)
    count = data.draw(st.integers(0, 6))
    ids = [host.lay(f"1.{number}.0") for number in range(count)]
    keep = data.draw(st.integers(0, 4))
    named = set()
    for color in ("blue", "green"):
        for release_id in data.draw(st.lists(st.sampled_from(ids), max_size=2)) if ids else ():
            before = host.do("info")["colors"][color]
            host.activate(release_id, color)
            kept = host.do("info")["colors"][color]
            named |= {release_id, kept["displaced"]}
            named -= {before["release_id"]} - {kept["displaced"], release_id}
    named |= {state["release_id"] for state in host.do("info")["colors"].values()}
    spare = [release_id for release_id in reversed(ids) if release_id not in named]
    would = host.do("pruned", check=True, keep=keep)["removed"]
    assert host.do("pruned", keep=keep)["removed"] == would == spare[keep:]
    left = {entry["release_id"] for entry in host.do("info")["laid"]}
    assert left == set(ids) - set(spare[keep:])


# Reporting ------------------------------------------------------------------------------------------------------


def test_info_tells_what_lies_and_what_stands(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0", manifest={"version": "1.1.0"})
    host.activate(old, "green")
    host.do("settled", color="green")
    host.activate(new, "green")
    info = host.do("info", release_id=new)
    assert info["changed"] is False
    assert info["complete"] is True
    green = info["colors"]["green"]
    assert (green["release_id"], green["version"], green["complete"]) == (new, "1.1.0", True)
    assert (green["manifest"], green["displaced"], green["unfinished"]) == ({"version": "1.1.0"}, old, True)
    assert info["colors"]["blue"]["release_id"] is None
    assert [entry["version"] for entry in info["laid"]] == ["1.1.0", "1.0.0"]
    assert abs(info["clock"]["wall_s"] - time.time()) < 5
    assert info["disk"]["free_bytes"] > 0
    assert info["tools"]["tar"] is True


def test_info_of_a_bare_host_is_empty_and_makes_nothing(host):
    info = host.do("info")
    assert info["laid"] == []
    assert info["fenced_by"] is None
    assert [path.name for path in host.root.iterdir()] == ["usr"]  # the program turnout_host, laid before


def test_info_sees_who_listens(host):
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        ports = [four.getsockname()[1], six.getsockname()[1]]
        free = free_port()
        states = host.do("info", ports=[*ports, free])["ports"]
    for port in ports:
        assert states[str(port)]["listening"] is True
        assert states[str(port)]["pid"] == os.getpid()
    assert states[str(free)] == {"listening": False, "pid": None, "unit": None, "command": None}


def test_info_reads_the_units_in_one_call(host, tmp_path):
    (tmp_path / "programs/systemctl").write_text(
        f"""#!/bin/sh
echo "$@" >> {host.systemctl_log}
printf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\nMainPID=42\\nNRestarts=3\\n'
printf 'Result=success\\nActiveEnterTimestampMonotonic=99\\n\\n'
printf 'Id=b.service\\nLoadState=not-found\\nActiveState=inactive\\nSubState=dead\\nMainPID=0\\nNRestarts=0\\n'
"""
    )
    units = host.do("info", unit_names=["a.service", "b.service"])["units"]
    assert units["a.service"] == {
        "load": "loaded", "active": "active", "sub": "running", "result": "success",
        "main_pid": 42, "restarts": 3, "since_monotonic_us": 99, "status": 0,
        "at_boot": False, "fault": None, "lines": [],
    }  # fmt: skip
    assert units["b.service"]["load"] == "not-found"
    assert len(host.systemctl_log.read_text().splitlines()) == 1


COMMAND = "20261130-093612-a1b2"


def run_a_command(host: Host, color: str) -> None:
    """Have a person's command run in a color: systemctl lists its unit until it is told to stop it."""
    kept = host.root / "var/lib/turnout-slots/shop/commands" / COMMAND
    kept.mkdir(parents=True)
    record = {"id": COMMAND, "color": color, "actor": "ann", "release_id": "r", "shown": ["bin/manage", "shell"]}
    (kept / "record.json").write_text(json.dumps(record | {"secret": SECRET}))
    unit = f"shop-run@{color}-{COMMAND}.service"
    systemctl = host.systemctl_log.parent / "programs/systemctl"
    systemctl.write_text(
        f"""#!/bin/sh
echo "$@" >> {host.systemctl_log}
case "$1 $*" in
  stop*) touch {host.root}/stopped;;
  list-units*{color}-*|list-units*"@*-"*) [ -e {host.root}/stopped ] || echo "{unit} loaded active running";;
esac
"""
    )


def test_a_color_in_which_a_command_runs_gets_no_other_release(host):
    host.activate(host.lay("1.0.0"))
    second = host.lay("1.1.0")
    run_a_command(host, "green")
    before = host.picture()
    assert host.fails("active", release_id=second, color="green", environment="A=1\n") == "command-runs"
    assert host.picture() == before
    host.activate(second, "blue")


def test_the_release_that_stands_there_is_stood_there_again_under_a_command(host):
    first = host.lay("1.0.0")
    host.activate(first)
    run_a_command(host, "green")
    assert host.activate(first)["changed"] is False


def test_a_way_back_ends_the_commands_of_the_color_that_it_changes(host):
    host.activate(host.lay("1.0.0"))
    second = host.lay("1.1.0")
    host.activate(second)
    run_a_command(host, "green")
    host.do("restored", release_id=second, color="green")
    unit = f"shop-run@green-{COMMAND}.service"
    assert f"stop {unit} shop-run-watch@green-{COMMAND}.service" in host.systemctl_log.read_text()


def test_info_tells_the_commands_that_run(host):
    assert host.do("info")["commands"] == []
    run_a_command(host, "green")
    (told,) = host.do("info")["commands"]
    assert (told["id"], told["color"], told["actor"], told["shown"]) == (
        COMMAND, "green", "ann", ["bin/manage", "shell"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "at_boot", "fault"),
    [
        ("ActiveState=failed\nSubState=failed\nResult=oom-kill\nExecMainStatus=9", False,
         "is failed (failed, oom-kill, exit code 9)"),
        ("ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=1\nNRestarts=7",
         False, "is activating (auto-restart, exit-code, exit code 1), started again 7 times"),
        ("ActiveState=activating\nSubState=auto-restart\nResult=success\nNRestarts=1", True,
         "is activating (auto-restart, exit code 0), started again 1 time"),
        ("ActiveState=inactive\nSubState=dead\nResult=success", True, "is inactive (dead, exit code 0)"),
        ("ActiveState=inactive\nSubState=dead\nResult=success", False, None),
        ("ActiveState=active\nSubState=running\nNRestarts=3\nActiveEnterTimestampMonotonic=now", True,
         "has run for 0 s, started again 3 times"),
        ("ActiveState=active\nSubState=running\nNRestarts=3\nActiveEnterTimestampMonotonic=0", True, None),
        ("ActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=now", True, None),
    ],
)  # fmt: skip
def test_info_tells_a_unit_that_fails_in_any_way_and_its_last_lines(host, tmp_path, said, at_boot, fault):
    said = said.replace("now", str(int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)))
    (tmp_path / "programs/systemctl").write_text(f"#!/bin/sh\ncat <<X\nId=x\n{said}\nX\n")
    (tmp_path / "programs/journalctl").write_text("#!/bin/sh\necho the key is k3y-of-the-shop\necho the end\n")
    (tmp_path / "programs/journalctl").chmod(0o755)
    root, unit = host.root, "shop-worker@green.service"
    (root / "etc/shop").mkdir(parents=True, exist_ok=True)
    (root / "etc/shop/green.env").write_text('SECRET_KEY="k3y-of-the-shop"\n')
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True)
    if at_boot:
        (wanted / unit).symlink_to("x")
    state = host.do("info", unit_names=[unit])["units"][unit]
    assert (state["fault"], state["at_boot"]) == (fault, at_boot)
    assert state["lines"] == (["the key is [SECRET_KEY]", "the end"] if fault else [])


def test_info_tells_of_every_instance_of_a_worker(host, tmp_path):
    for unit in ("shop-worker@blue-2", "shop-worker-mails@blue-2", "shop-two-worker@blue-2", "shop-worker-api@blue-2"):
        place = host.root / f"etc/systemd/system/{unit}.service.d"
        place.mkdir(parents=True)
        (place / "turnout.conf").write_text("[Service]\n")
    (tmp_path / "programs/systemctl").write_text(
        """#!/bin/sh
printf 'Id=a\\nActiveState=active\\n\\nId=b\\nActiveState=inactive\\n\\nId=c\\nActiveState=failed\\n'
"""
    )
    units = host.do("info", unit_names=["shop-worker@blue.service"])["units"]
    assert {name: state["active"] for name, state in units.items()} == {
        "shop-worker@blue.service": "active", "shop-worker-mails@blue-2.service": "inactive",
        "shop-worker@blue-2.service": "failed",
    }  # fmt: skip


def test_a_process_with_a_name_gets_the_template_of_its_kind_where_it_has_none(host):
    old, new = host.lay("1.0.0"), host.lay("1.1.0")
    units = host.root / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "shop-worker@.service").write_text("[Service]\nUser=shop\n")
    (units / "shop-worker-own@.service").write_text("[Service]\nUser=other\n")
    (units / "shop-two-worker@.service").write_text("[Service]\nUser=two\n")
    names = ["shop-worker-mails@green", "shop-worker-mails@green-2", "shop-worker-own@green", "shop-worker@green"]
    host.activate(old, drop_ins={"shop-worker@green.service.d/turnout.conf": "[Service]\n"})
    host.do("settled", color="green")
    host.activate(new, drop_ins={f"{name}.service.d/turnout.conf": "[Service]\n" for name in names})
    assert (units / "shop-worker-mails@.service").read_text() == "[Service]\nUser=shop\n"
    assert (units / "shop-worker-own@.service").read_text() == "[Service]\nUser=other\n"
    host.do("restored", color="green")
    assert (units / "shop-worker@green.service.d/turnout.conf").exists()
    assert not (units / "shop-worker-mails@green.service.d").exists()


# As a module ----------------------------------------------------------------------------------------------------


def run_module(params: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": params})
    result = subprocess.run(
        [sys.executable, "-B", "-m", slot.__name__],
        input=arguments, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = result.stdout + result.stderr
    assert SECRET not in output, output
    return result.returncode, json.loads(result.stdout.strip().splitlines()[-1])


def test_the_module_never_shows_an_environment(host):
    release_id = host.lay("1.0.0")
    params = {"root": str(host.root), "service": "shop", "state": "active", "release_id": release_id,
              "run": "r1", "fence": 1,
              "color": "green", "user": getpass.getuser(), "environment": f'A="{SECRET}"\n',
              "migrate_environment": f'B="{SECRET}"\n', "_ansible_verbosity": 4, "_ansible_diff": True,
              "_ansible_inject_invocation": True}  # fmt: skip
    code, result = run_module(params)
    assert (code, result["changed"]) == (0, True)
    assert result["invocation"]["module_args"]["environment"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    code, result = run_module({**params, "release_id": "9-" + "a" * 12})
    assert code == 1
    assert result["code"] == "release-incomplete"


def test_the_module_asks_for_what_a_state_needs():
    code, result = run_module({"service": "shop", "state": "active"})
    assert code == 1
    assert "release_id" in result["msg"]


# Images ---------------------------------------------------------------------------------------------------------


def image_archive(folder: Path, *layers: Path) -> Path:
    """Write an OCI archive of these folders as layers, by umoci; files that a later one lacks are gone in it."""
    layout = folder / "layout"

    def umoci(*words: str) -> None:
        subprocess.run(["umoci", *words], capture_output=True, check=True)

    umoci("init", "--layout", str(layout))
    umoci("new", "--image", f"{layout}:built")
    for number, layer in enumerate(layers):
        bundle = folder / f"bundle-{number}"
        umoci("unpack", "--image", f"{layout}:built", str(bundle))
        shutil.rmtree(bundle / "rootfs")
        shutil.copytree(layer, bundle / "rootfs", symlinks=True)
        os.chown(bundle / "rootfs/bin/set", 1000, 1000)
        (bundle / "rootfs/bin/set").chmod(0o4750)
        umoci("repack", "--image", f"{layout}:built", str(bundle))
    archive = folder / "saved.tar"
    names = sorted(path.name for path in layout.iterdir())
    subprocess.run(["tar", "-C", str(layout), "-cf", str(archive), *names], check=True)
    return archive


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An OCI archive of two layers."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the files of an image have owners")
    for name, files in {"one": ("bin/set", "app/old", "app/api"), "two": ("bin/set", "app/api")}.items():
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(name)
        (tmp_path / name / "etc").symlink_to("/outside-of-the-image")
    return image_archive(tmp_path, tmp_path / "one", tmp_path / "two")


def upload(host: Host, archive: Path, **manifest: Any) -> dict[str, Any]:
    """Put a compressed archive where a playbook would; return the parameters that lay it."""
    src = host.root / "upload"
    src.write_bytes(subprocess.run(["zstd", "-qc", archive], capture_output=True, check=True).stdout)
    sha256 = slot_laying.sha256_of(src)
    return {"release_id": f"1.0.0+build-{sha256[:12]}", "src": str(src), "sha256": sha256, "kind": "oci-archive",
            "manifest": {"artifact": {"image": manifest}}}  # fmt: skip


def test_an_image_is_laid_as_files_of_root_and_pruned(host, image):
    params = upload(host, image) | {"layout": {"folder": "/app"}}
    release_id = params["release_id"]
    assert host.do("laid", **params)["changed"] is True
    assert host.do("laid", **params)["changed"] is False
    rootfs = host.root / "opt/shop/releases" / release_id / "rootfs"
    assert (rootfs / "app/api").read_text() == "two"
    assert not (rootfs / "app/old").exists(), "the second layer took it away"
    status = (rootfs / "bin/set").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, 0o755)
    assert (rootfs / "proc").is_dir(), "units mount over it"
    assert (rootfs / "var/lib/shop").is_dir()
    assert not Path("/outside-of-the-image").exists(), "a link of the image led out of it"
    assert [path.name for path in rootfs.parent.iterdir() if path.name.startswith(".")] == [laid_release.MARKER]
    assert json.loads((rootfs.parent / laid_release.MARKER).read_bytes())["layout"] == {"folder": "/app"}
    assert host.do("info", release_id=release_id)["complete"] is True
    assert host.do("pruned", keep=0)["removed"] == [release_id]
    assert not rootfs.exists()


def test_an_image_for_another_machine_is_refused_and_leaves_nothing(host, image):
    assert host.fails("laid", **upload(host, image, architecture="s390x")) == "image-machine"
    assert not list((host.root / "opt/shop/releases").iterdir())


@pytest.mark.parametrize("files", [{"index.json": "{}"}, {"index.json": '{"manifests": [{"digest": "sha256:0"}]}'}])
def test_what_is_no_image_is_not_laid_and_leaves_nothing(host, files):
    src, sha256 = artifact(host.root / "upload", files)
    params = {"release_id": f"1-{sha256[:12]}", "src": str(src), "sha256": sha256, "kind": "oci-archive"}
    assert host.fails("laid", **params) == "image-unreadable"
    assert not list((host.root / "opt/shop/releases").iterdir())


def test_a_host_that_cannot_unpack_images_says_so_before_the_artifact_is_copied(host, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "umoci" else f"/usr/bin/{name}")
    assert host.fails("ready", release_id="1-" + "a" * 12, kind="oci-archive") == "program-missing"
    assert host.do("ready", release_id="1-" + "a" * 12, kind="tarball")["complete"] is False
