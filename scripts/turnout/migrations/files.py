"""The files of a release's migrations, out of its verified artifact, known by their checksums."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from turnout.errors import TurnoutError
from turnout.release import oci
from turnout.release.schema import Migration

_DOWN = re.compile(r"\.(down|rollback|revert|undo)(\.|$)|/(down|rollback|revert|undo)\.", re.IGNORECASE)
MAX_BYTES = 4 << 20
"""Bytes of one migration that are read; a larger one is taken for data."""
_UNPACK_LIMIT_S = 120
_WHITEOUT = ".wh."  # before a name, in a layer: gone from the layers below (OCI image-spec 1.1, "Whiteouts")


@dataclass(frozen=True)
class MigrationFile:
    """One migration as the artifact holds it: its path inside, its text, and the way back where there is one."""

    migration: Migration
    path: str
    text: str
    down: str | None


def read(artifact: Path, migrations: Iterable[Migration]) -> dict[str, MigrationFile]:
    """Return each migration's file by the migration's id. One whose checksum no file has is missing.

    `artifact` is a `.tar.zst` or `.oci.tar.zst`. Raises `TurnoutError` where it cannot be unpacked.
    """
    wanted = {migration.sha256: migration for migration in migrations}
    if not wanted:
        return {}
    texts = _small_files(artifact, set(wanted))
    by_digest = {hashlib.sha256(content).hexdigest(): path for path, content in texts.items()}
    found = {}
    for digest, migration in wanted.items():
        path = by_digest.get(digest)
        if path is None:
            continue
        found[migration.id] = MigrationFile(
            migration, path, texts[path].decode("utf-8", "replace"), way_back(path, migration, texts)
        )
    return found


def way_back(path: str, migration: Migration, paths: Iterable[str]) -> str | None:
    """Return the path of the file that undoes a migration: beside it, of the same number, marked as the way back."""
    folder = str(PurePosixPath(path).parent)
    number = re.compile(rf"0*{migration.version}(\D|$)")
    for candidate in sorted(paths):
        pure = PurePosixPath(candidate)
        if str(pure.parent) != folder or candidate == path or not _DOWN.search("/" + pure.name):
            continue
        if number.match(pure.name) or re.match(r"(down|rollback|revert|undo)\.", pure.name, re.IGNORECASE):
            return candidate
    return None


def _small_files(artifact: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the files that have one of the checksums or may be a way back, by their paths."""
    with tempfile.TemporaryFile(prefix="turnout-migrations-") as plain:
        try:
            subprocess.run(["zstd", "-dc", "--", str(artifact)], stdout=plain, check=True, timeout=_UNPACK_LIMIT_S)
            plain.seek(0)
            with tarfile.open(fileobj=plain) as tar:
                found: dict[str, bytes] = {}
                for layer in _layers(tar) if artifact.name.endswith(".oci.tar.zst") else (tar,):
                    _add(found, layer, wanted)
                return found
        except (OSError, subprocess.SubprocessError, tarfile.TarError, ValueError, LookupError, TypeError) as error:
            raise TurnoutError(
                "migrations-unreadable",
                observed=f"{artifact.name} cannot be unpacked ({type(error).__name__})",
                expected="the artifact that was verified; layers of an image as they are, or by gzip",
                remedy="apt-get install zstd, and see the controller's disk",
            ) from None


def _layers(image: tarfile.TarFile) -> Iterator[tarfile.TarFile]:
    """Return the layers of an image, the lowest first."""
    manifest = json.load(oci.blob(image, oci.manifests(image)[0]))
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=oci.blob(image, layer)) as tar:
            yield tar


def _add(found: dict[str, bytes], tar: tarfile.TarFile, wanted: set[str]) -> None:
    for member in tar:
        path = PurePosixPath(member.name.removeprefix("./"))
        if path.name.startswith(_WHITEOUT):
            found.pop(str(path.with_name(path.name.removeprefix(_WHITEOUT))), None)
        if not member.isfile() or member.size > MAX_BYTES:
            continue
        content = oci.member(tar, member.name).read()
        if hashlib.sha256(content).hexdigest() in wanted or _DOWN.search(f"/{path}"):
            found[str(path)] = content
