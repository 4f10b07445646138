"""The files of a release's migrations, out of its verified artifact, known by their checksums."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from turnout.errors import TurnoutError
from turnout.release.schema import Migration

_DOWN = re.compile(r"\.(down|rollback|revert|undo)(\.|$)|/(down|rollback|revert|undo)\.", re.IGNORECASE)
MAX_BYTES = 4 << 20
"""Bytes of one migration that are read; a larger one is taken for data."""
_UNPACK_LIMIT_S = 120


@dataclass(frozen=True)
class MigrationFile:
    """One migration as the artifact holds it: its path inside, its text, and the way back where there is one."""

    migration: Migration
    path: str
    text: str
    down: str | None


def read(artifact: Path, migrations: Iterable[Migration]) -> dict[str, MigrationFile]:
    """Return each migration's file by the migration's id. One whose checksum no file has is missing.

    `artifact` is a `.tar.zst`. Raises `TurnoutError` where it cannot be unpacked (an image holds no files to look at).
    """
    wanted = {migration.sha256: migration for migration in migrations}
    if not wanted:
        return {}
    if not artifact.name.endswith(".tar.zst") or artifact.name.endswith(".oci.tar.zst"):
        raise TurnoutError(
            "migrations-unreadable",
            observed=f"{artifact.name} is an image: its files cannot be looked at",
            expected="a tarball",
            remedy="release the files instead of the image, or waive the check with a reason",
        )
    texts = _small_files(artifact)
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


def _small_files(artifact: Path) -> dict[str, bytes]:
    with tempfile.TemporaryFile(prefix="turnout-migrations-") as plain:
        try:
            subprocess.run(["zstd", "-dc", "--", str(artifact)], stdout=plain, check=True, timeout=_UNPACK_LIMIT_S)
            plain.seek(0)
            with tarfile.open(fileobj=plain) as tar:
                return {
                    member.name.removeprefix("./"): content.read()
                    for member in tar
                    if member.isfile() and member.size <= MAX_BYTES and (content := tar.extractfile(member)) is not None
                }
        except (OSError, subprocess.SubprocessError, tarfile.TarError) as error:
            raise TurnoutError(
                "migrations-unreadable",
                observed=f"{artifact.name} cannot be unpacked ({type(error).__name__})",
                expected="the artifact that was verified",
                remedy="apt-get install zstd, and see the controller's disk",
            ) from None
