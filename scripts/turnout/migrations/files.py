"""The files of a release's migrations, out of its verified artifact, known by their checksums."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from turnout.errors import TurnoutError
from turnout.migrations.find import DOWN, FLYWAY, number_of
from turnout.migrations.sections import up_part
from turnout.release import oci
from turnout.release.schema import Migration

MAX_BYTES = 4 << 20
"""Bytes of one migration that are read; a larger one is taken for data."""
_UNPACK_LIMIT_S = 120
_WHITEOUT = ".wh."  # before a name, in a layer: gone from the layers below (OCI image-spec 1.1, "Whiteouts")


@dataclass(frozen=True)
class MigrationFile:
    """One migration as the artifact holds it: its path inside, the text that applies it, and the way back.

    `down` is the path of the file that undoes it (the same one where both are in it), None without one.
    """

    migration: Migration
    path: str
    text: str
    down: str | None
    in_transaction: bool = True


def read(artifact: Path, migrations: Iterable[Migration]) -> dict[str, MigrationFile]:
    """Return each migration's file by the migration's id. One whose checksum no file has is missing.

    `artifact` is a `.tar.zst` or `.oci.tar.zst`. Raises `TurnoutError` where it cannot be unpacked.
    """
    listed = list(migrations)
    if not listed:
        return {}
    texts = _small_files(artifact, {migration.sha256 for migration in listed})
    by_digest: dict[str, list[str]] = {}
    for path, content in sorted(texts.items()):
        by_digest.setdefault(hashlib.sha256(content).hexdigest(), []).append(path)
    found = {}
    for migration in listed:
        paths = by_digest.get(migration.sha256, [])
        if not paths:
            continue
        path = max(paths, key=lambda one: _likeness(one, migration.id))
        told = up_part(texts[path].decode("utf-8", "replace"), PurePosixPath(path).suffix)
        down = way_back(path, texts) or (path if told.has_down else None)
        found[migration.id] = MigrationFile(migration, path, told.text, down, told.in_transaction)
    return found


def _likeness(path: str, name: str) -> int:
    """Return how much a path looks like a migration's, where several files have the same content."""
    pure = PurePosixPath(path)
    stem = pure.name.partition(".")[0]
    app = pure.parent.parent.name
    return (name in (stem, pure.stem, pure.parent.name, f"{app}.{stem}")) * 2 + stem.startswith(name)


def way_back(path: str, paths: Iterable[str]) -> str | None:
    """Return the path of the file that undoes a migration: beside it, of the same number, marked as the way back."""
    pure = PurePosixPath(path)
    stem = pure.name.partition(".up.")[0] if ".up." in pure.name else pure.stem
    flyway = FLYWAY.fullmatch(pure.name)
    for candidate in sorted(paths):
        other = PurePosixPath(candidate)
        if other.parent != pure.parent or candidate == path:
            continue
        undo = FLYWAY.fullmatch(other.name)
        if flyway and undo and undo["way"] == "U" and undo["version"] == flyway["version"]:
            return candidate
        if not DOWN.search("/" + other.name):
            continue
        number = number_of(other.name)
        same = number == number_of(pure.name) if number is not None else False
        if other.name.startswith(f"{stem}.") or (same and flyway is None) or DOWN.match("/" + other.name):
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
        if hashlib.sha256(content).hexdigest() in wanted or DOWN.search(f"/{path}") or FLYWAY.fullmatch(path.name):
            found[str(path)] = content
