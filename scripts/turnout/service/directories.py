"""Directories that both colors share: where they lie on a host, and where a release's processes see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from turnout.keys import At, Wrong

# Folders of a host or an image that hold other things than a service's own files.
_OTHERS = (
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
)


def state_of(service: str) -> str:
    """Return the folder of a service's own files on a host."""
    return f"/var/lib/{service}"


def source(service: str, path: str) -> str:
    """Return where a declared directory lies on a host."""
    state = PurePosixPath(state_of(service))
    if PurePosixPath(path).is_relative_to(state):
        return path
    return str(state / path.lstrip("/"))


def usable(path: str) -> str:
    """Return a directory's path. Raises Wrong where it leads out of the release, or to what is no service's own."""
    absolute, *parts = f"x{path}".split("/") if path.startswith("/") else ("", *path.split("/"))
    if not parts or any(part in ("", ".", "..") for part in parts):
        raise Wrong(path)
    if absolute and (parts[0] in _OTHERS or (parts[0] == "var" and (parts[1:2] != ["lib"] or len(parts) < 4))):
        raise Wrong(f"{path}, which is no service's own")
    return path


def binds(service: str, paths: Sequence[str], folder: str) -> list[tuple[str, str]]:
    """Return (where it lies, where processes see it) of those that are seen elsewhere than they lie.

    `folder` is the release's own, as its processes see it.
    """
    found = [(source(service, path), str(PurePosixPath(folder) / path)) for path in paths]
    return [(there, seen) for there, seen in found if there != seen]


def faults(service: str, paths: Sequence[str]) -> Iterator[At]:
    """Yield what is wrong between the paths of declared directories."""
    state = PurePosixPath(state_of(service))
    for index, path in enumerate(paths):
        where = f".directories[{index}].path"
        if path.startswith("/var/") and not PurePosixPath(path).is_relative_to(state):
            expected = f"a directory inside the release, or below {state}"
            yield At(where, path, expected, f"write {state}/{PurePosixPath(path).name}")
            continue
        mine = PurePosixPath(source(service, path))
        for other in paths[:index]:
            theirs = PurePosixPath(source(service, other))
            if mine.is_relative_to(theirs) or theirs.is_relative_to(mine):
                yield At(
                    where, f"{path}, which lies with {other}", "directories beside each other", "declare the outer one"
                )
