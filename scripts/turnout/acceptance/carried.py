"""What a built release carries of acceptance packs, taken out of its artifact."""

from __future__ import annotations

import posixpath
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from turnout.acceptance.declared import Acceptance
from turnout.acceptance.document import read_yaml
from turnout.acceptance.load import FILE, FOLDER
from turnout.errors import TurnoutError
from turnout.faults import Fault

MOST_BYTES = 64_000_000  # of one file


def carried(artifact: Path, folder: Path, *, also: str = "") -> str:
    """Take the packs of a tarball and their document into `folder`; return the document's path in it, "" for none.

    A release that declares no packs has none, unless `also`, the path of a document, is in it. Raises `TurnoutError`
    where the artifact cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _take(artifact, lambda path: path == FOLDER or path.startswith(f"{FOLDER}/"), folder)
    document = _document(folder) or also
    if document:
        document = posixpath.normpath(document)
        _take(artifact, lambda path: path == document, folder)
    return document if document and (folder / document).is_file() else ""


def _document(folder: Path) -> str:
    """Return where the declaration says that the document is; what else is wrong with it is told where it is loaded."""
    if not (folder / FILE).exists():
        return ""
    faults: list[Fault] = []
    value = read_yaml(folder / FILE, FILE, faults)
    found = value.get("document") if isinstance(value, dict) else None
    path = found if isinstance(found, str) else Acceptance.__dataclass_fields__["document"].default
    return "" if path.startswith("/") or ".." in path.split("/") else str(path)


def _take(artifact: Path, wanted: Callable[[str], bool], folder: Path) -> None:
    """Take the regular files that are wanted."""
    try:
        with subprocess.Popen(
            ["zstd", "--decompress", "--stdout", "--quiet", str(artifact)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as unpacked:  # fmt: skip
            with tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive:
                for member in archive:
                    path = posixpath.normpath(member.name)
                    if member.isreg() and member.size <= MOST_BYTES and wanted(path):
                        member.name = path
                        archive.extract(member, folder, filter="data")
            while unpacked.stdout is not None and unpacked.stdout.read(1 << 20):
                pass  # zstd would fail for want of a reader
            said = unpacked.stderr.read().decode(errors="replace").strip() if unpacked.stderr is not None else ""
        if unpacked.returncode:
            raise _unreadable(artifact, said or f"zstd ended with code {unpacked.returncode}")
    except FileNotFoundError:
        raise TurnoutError(
            "zstd-missing", observed="there is no program zstd on PATH", expected="zstd, which artifacts are packed by",
            remedy="apt-get install zstd",
        ) from None  # fmt: skip
    except (tarfile.TarError, OSError) as error:
        raise _unreadable(artifact, str(error)) from None


def _unreadable(artifact: Path, why: str) -> TurnoutError:
    return TurnoutError(
        "artifact-unreadable",
        observed=f"{artifact}: {why}",
        expected="a tar archive, compressed with zstd",
        remedy="build and publish the release again: turnout release build, turnout release publish",
    )
