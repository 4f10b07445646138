# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Releases on a host: room for one, one laid whole or not at all, old ones removed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import stat
import time
from pathlib import Path

from ansible_collections.turnout.ops.plugins.module_utils.laid_release import MARKER
from ansible_collections.turnout.ops.plugins.module_utils.slot_colors import kept_record, standing
from ansible_collections.turnout.ops.plugins.module_utils.slot_files import (
    COLORS,
    PARTIAL,
    RELEASE_ID,
    Places,
    SlotError,
    discard,
    is_complete,
    last_line,
    program_missing,
    read_marker,
    run,
    sync_folder,
    write_file,
)

ROOTFS = "rootfs"  # an image's files, below the folder of its release
IMAGE_TAG = "release"


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


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
                if loops(path):
                    raise unfit_member(folder, path, "a link that leads to itself, or through too many others")
                if not Path(os.path.realpath(path)).is_relative_to(real):
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


def loops(path: Path) -> bool:
    """Tell whether the kernel gives up on a link; Python does or does not, by its version."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def unfit_member(folder: Path, path: Path, what: str) -> SlotError:
    """Return the error for a member that must not be laid."""
    name = str(path.relative_to(folder))
    name = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    return SlotError(
        "artifact-unsafe",
        f"{name} in the artifact is {what}",
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
    if os.path.lexists(path) or not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(rootfs)):
        return
    try:
        make(path)
    except OSError as error:
        raise unreadable_image(f"/{path.relative_to(rootfs)} cannot be made in it: {error.strerror}") from None


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
