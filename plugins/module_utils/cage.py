# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A network of one's own for a rehearsal: nothing in it reaches anything outside, and old addresses lead inside.

The process (and all that it starts) leaves the host's network for an empty one (network_namespaces(7)) whose loopback
also carries the addresses under which the service knows its database and Redis. So the release runs with its own
environment, unchanged, and cannot reach the real ones.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import pwd
import shutil
import subprocess
import tempfile

_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_REC, _MS_PRIVATE, _MS_BIND = 16384, 1 << 18, 4096


class CageError(Exception):
    """The network could not be made; nothing was started then."""


def enter(hosts: list, replaced: list, by: str, work: str) -> None:
    """Move this process into a network of its own, in which every one of `hosts` is this host.

    Every file of `replaced` has the content of the file `by` there, also where there is none; `work` is an empty folder
    to be used for that. Raises CageError. Needs root. There is no way back: whoever needs the network afterwards forks
    first.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        raise CageError(f"no network of its own could be made: {os.strerror(ctypes.get_errno())}")
    if libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        raise CageError(f"mounts could not be made private: {os.strerror(ctypes.get_errno())}")
    # Unix sockets are files and know no network.
    for folder in ("/run/postgresql", "/run/redis"):
        if os.path.isdir(folder):
            _call("mount", "-t", "tmpfs", "-o", "mode=755,size=64k", "tmpfs", folder)
    _replace(replaced, by, work)
    _ip("link", "set", "lo", "up")
    names = []
    for host in dict.fromkeys(hosts):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            names.append(host)
            continue
        if not address.is_loopback:
            _ip("address", "add", f"{address}/{address.max_prefixlen}", "dev", "lo")
    if names:
        _hosts_file(libc, names)


def _ip(*words: str) -> None:
    _call("ip", *words)


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CageError(f"{' '.join(words)}: {done.stderr.strip()}")


def furnish(root: str) -> None:
    """Give an image's files, which a release sees as its root, what a unit would: for as long as this process lives.

    Only after `enter`: the mounts are this process's own. Raises CageError.
    """
    _call("mount", "--rbind", "/dev", f"{root}/dev")
    _call("mount", "-t", "proc", "proc", f"{root}/proc")
    _call("mount", "-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", f"{root}/tmp")  # noqa: S108 - in the image
    _call("mount", "--bind", "/etc/hosts", f"{root}/etc/hosts")


def lend(paths: list, owner: dict, work: str) -> None:
    """Put an empty directory of `owner` (as `account` returns it) at each path, for as long as this process lives.

    Only after `enter`; `work` is an empty folder to be used for it. Raises CageError.
    """
    options = f"mode=700,size=64m,uid={owner['user']},gid={owner['group']}"
    covered: list = []
    for path in paths:
        folder = path
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        try:
            # One layer for all that is not there below a folder: a second one would hide what is in the first.
            if folder != path and not any(f"{folder}/".startswith(f"{one}/") for one in covered):
                covered.append(folder)
                _cover(folder, os.path.join(work, str(len(covered))))
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise CageError(f"{path}, a directory of the service, could not be made: {error.strerror}") from None
    for path in dict.fromkeys(paths):
        _call("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)


def _replace(paths: list, by: str, work: str) -> None:
    covered: list = []
    for path in dict.fromkeys(paths):
        if os.path.exists(path):
            _call("mount", "--bind", by, os.path.realpath(path))
            continue
        # A layer over the folder, so that nothing is written to the host's.
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        try:
            if folder not in covered:
                covered.append(folder)
                _cover(folder, os.path.join(work, str(len(covered))))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(by, path)
        except OSError as error:
            raise CageError(
                f"{path}, which the service trusts, is not on this host and could not be put into the cage: "
                f"{error.strerror}; to mend: lay it here as on the other hosts"
            ) from None


def _cover(folder: str, work: str) -> None:
    os.makedirs(work)
    _call("mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "tmpfs", work)
    for name in ("upper", "work"):
        os.mkdir(os.path.join(work, name))
    options = f"lowerdir={folder},upperdir={work}/upper,workdir={work}/work"
    _call("mount", "-t", "overlay", "overlay", "-o", options, folder)


def _hosts_file(libc, names: list) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="turnout-hosts-", delete=False) as file:
        file.write("127.0.0.1 localhost " + " ".join(names) + "\n::1 localhost\n")
    os.chmod(file.name, 0o644)
    if libc.mount(file.name.encode(), b"/etc/hosts", None, _MS_BIND, None) != 0:
        raise CageError(f"/etc/hosts could not be replaced: {os.strerror(ctypes.get_errno())}")
    os.unlink(file.name)


def account(user: str) -> dict:
    """Return the arguments with which `subprocess` runs something as a system user. Raises CageError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CageError(f"there is no system user {user}") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def inside(root: str, folder: str, user: dict) -> dict:
    """Return the arguments with which `subprocess` runs something as a user, in `folder` of what it sees as `root`.

    `user` is what `account` returns; an empty `root` is the host's own.
    """
    if not root:
        return {"cwd": folder, **user}

    def change() -> None:
        # subprocess would change the user first, and who is not root may not change its root.
        os.chroot(root)
        os.chdir(folder)
        os.setgroups(user["extra_groups"])
        os.setgid(user["group"])
        os.setuid(user["user"])

    return {"preexec_fn": change}
