"""From a version's name to verified files on this machine.

The manifest and the signature are fetched every time and verified; the artifact is fetched unless a copy with the
right size and sha256 is in the cache. Nothing that failed a check keeps its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.release.manifest import (
    MAX_BYTES,
    SIGNATURE_SUFFIX,
    Manifest,
    check_name,
    check_version,
    manifest_file,
    parse,
)
from turnout.release.sign import REBUILD, Signer, verify
from turnout.release.store import Store, file_sha256, read_small, unknown_release

_MAX_SIGNATURE_BYTES = 64 << 10
_KEPT_RELEASES = 10  # of a service, in a cache


@dataclass(frozen=True)
class Resolved:
    """A verified release: its manifest, its files on this machine, who signed it, whether anything was fetched."""

    manifest: Manifest
    manifest_path: Path
    signature_path: Path
    artifact_path: Path
    signer: Signer
    downloaded: bool


def default_cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/turnout/releases`, or the same under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "turnout" / "releases"


def resolve(
    service_name: str,
    version: str,
    store: Store,
    allowed_signers: Path,
    cache_dir: Path,
    *,
    revoked_signers: Path | None = None,
) -> Resolved:
    """Return the release, verified, or raise `TurnoutError`.

    Codes beyond those of the store and the signature: `release-unknown`, `signature-missing`, `manifest-invalid`,
    `manifest-other`, `artifact-missing`, `artifact-truncated`, `artifact-wrong`, `cache-unwritable`.
    """
    check_name(service_name)
    check_version(version)
    manifest, manifest_bytes, signature, signer = _manifest(
        service_name, version, store, allowed_signers, revoked_signers
    )
    folder = cache_dir / service_name / manifest.release_id
    with _cache_faults(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        downloaded = _fetch_artifact(manifest, store, folder)
        _write(folder / manifest.file, manifest_bytes)
        _write(folder / manifest.signature_file, signature)
        os.utime(folder)  # the cache drops what was not used for longest
        _drop_old(cache_dir / service_name, keep=folder)
    return Resolved(
        manifest=manifest,
        manifest_path=folder / manifest.file,
        signature_path=folder / manifest.signature_file,
        artifact_path=folder / manifest.artifact.file,
        signer=signer,
        downloaded=downloaded,
    )


def verify_files(
    manifest_path: Path, allowed_signers: Path, revoked_signers: Path | None = None
) -> tuple[Manifest, Signer]:
    """Verify a release that lies in a folder: manifest, signature beside it, artifact beside it."""
    signature_path = Path(f"{manifest_path}{SIGNATURE_SUFFIX}")
    data = _content(manifest_path)
    if not signature_path.exists():
        raise _no_signature(manifest_path.name, str(manifest_path.parent))
    signature = _content(signature_path)
    signer = verify(
        data,
        signature,
        allowed_signers,
        what=manifest_path.name,
        revoked_signers=revoked_signers,
    )
    manifest = parse(data, file=manifest_path.name)
    artifact = manifest_path.parent / manifest.artifact.file
    if not artifact.exists():
        raise _no_artifact(manifest, str(manifest_path.parent))
    check_artifact(manifest, artifact.stat().st_size, file_sha256(artifact))
    return manifest, signer


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TurnoutError(
            "release-unknown",
            observed=f"{path} cannot be read: {error.strerror}",
            expected="a release manifest, NAME-VERSION.release.yml, its signature and its artifact beside it",
            remedy="give the path that `turnout release build` printed",
        ) from None


def check_artifact(manifest: Manifest, size: int, sha256: str) -> None:
    """Raise `TurnoutError` unless size and checksum are those that the manifest declares."""
    artifact = manifest.artifact
    remedy = "fetch it again; if it stays so, publish the release again under a new version and do not deploy this one"
    if size < artifact.bytes:
        raise TurnoutError(
            "artifact-truncated",
            observed=f"{artifact.file} ends after {counted(size, 'byte')}",
            expected=f"{counted(artifact.bytes, 'byte')}, as the signed manifest says",
            remedy=remedy,
        )
    if size > artifact.bytes or sha256 != artifact.sha256:
        seen = f"more than {counted(artifact.bytes, 'byte')}" if size > artifact.bytes else f"sha256 {sha256}"
        wanted = counted(artifact.bytes, "byte") if size > artifact.bytes else f"sha256 {artifact.sha256}"
        raise TurnoutError(
            "artifact-wrong",
            observed=f"{artifact.file} has {seen}",
            expected=f"{wanted}, as the signed manifest says",
            remedy=remedy,
        )


def _manifest(
    service_name: str, version: str, store: Store, allowed_signers: Path, revoked_signers: Path | None
) -> tuple[Manifest, bytes, bytes, Signer]:
    file = manifest_file(service_name, version)
    try:
        data = read_small(store, file, MAX_BYTES)
    except FileNotFoundError:
        raise unknown_release(store, service_name, version) from None
    try:
        signature = read_small(store, file + SIGNATURE_SUFFIX, _MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        raise _no_signature(file, store.name) from None
    # Nothing in the manifest is believed, not even that it is YAML, before its signature is.
    signer = verify(data, signature, allowed_signers, what=file, revoked_signers=revoked_signers)
    manifest = parse(data, file=file)
    if (manifest.name, manifest.version) != (service_name, version):
        raise TurnoutError(
            "manifest-other",
            observed=f"{file} in {store.name} is the manifest of {manifest.name} {manifest.version}",
            expected=f"the manifest of {service_name} {version}",
            remedy="somebody renamed a signed file: publish the right one under a new version",
        )
    return manifest, data, signature, signer


def _no_signature(file: str, where: str) -> TurnoutError:
    return TurnoutError(
        "signature-missing",
        observed=f"{where} has {file} but not {file}{SIGNATURE_SUFFIX}",
        expected="a signature beside every manifest",
        remedy=f"build it with a key and publish all of it: {REBUILD}",
    )


def _no_artifact(manifest: Manifest, where: str) -> TurnoutError:
    return TurnoutError(
        "artifact-missing",
        observed=f"{where} has the manifest of {manifest.version} but not {manifest.artifact.file}",
        expected="the artifact beside its manifest",
        remedy=f"publish the release again: turnout release publish build/{manifest.file} --to STORE",
    )


def _fetch_artifact(manifest: Manifest, store: Store, folder: Path) -> bool:
    """Put the verified artifact into `folder`; return whether it had to be fetched."""
    target = folder / manifest.artifact.file
    whole = target.exists() and target.stat().st_size == manifest.artifact.bytes
    if whole and file_sha256(target) == manifest.artifact.sha256:
        return False
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".fetching-")
    try:
        with os.fdopen(descriptor, "wb") as output:
            size, sha256 = _copy(manifest, store, output)
        check_artifact(manifest, size, sha256)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _copy(manifest: Manifest, store: Store, output: IO[bytes]) -> tuple[int, str]:
    """Copy the artifact from the store; return its size and sha256."""
    digest = hashlib.sha256()
    size = 0
    failed: OSError | None = None
    try:
        with store.open(manifest.artifact.file) as chunks:
            for chunk in chunks:
                size += len(chunk)
                if size > manifest.artifact.bytes:
                    break  # more than was signed: no need to fill the disk with the rest
                digest.update(chunk)
                try:
                    output.write(chunk)
                except OSError as error:
                    # Raised below: in here the store would take it for a fault of its own.
                    failed = error
                    break
    except FileNotFoundError:
        raise _no_artifact(manifest, store.name) from None
    if failed is not None:
        raise failed
    return size, digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with os.fdopen(descriptor, "wb") as output:
        output.write(data)
    Path(name).replace(path)


def _drop_old(folder: Path, *, keep: Path) -> None:
    others = [path for path in folder.iterdir() if path.is_dir() and path != keep]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT_RELEASES - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _cache_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TurnoutError(
            "cache-unwritable",
            observed=f"{error.filename or folder}: {error.strerror}",
            expected="a cache folder on this machine that can be written, with room for the artifact",
            remedy=f"free some space (df {folder}), or set another folder: -e release_cache_dir=FOLDER",
        ) from error
