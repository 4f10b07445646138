"""Puts a built release into a store: artifact, signature, and the manifest last."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError
from turnout.release.manifest import SIGNATURE_SUFFIX, SUFFIX, Manifest, parse
from turnout.release.resolve import check_artifact, verify_files
from turnout.release.sign import REBUILD
from turnout.release.store import Store, file_sha256


@dataclass(frozen=True)
class Published:
    """What was published, and which files were written (none when all of them were there already)."""

    manifest: Manifest
    written: tuple[str, ...]


def publish(
    manifest_path: Path, store: Store, allowed_signers: Path | None = None, revoked_signers: Path | None = None
) -> Published:
    """Publish a release that `turnout release build` wrote; with `allowed_signers` its signature is verified first.

    Publishing the same release again changes nothing. Raises `TurnoutError` before anything is written when a file
    is missing, or the artifact is not the one of the manifest.
    """
    folder = manifest_path.parent
    manifest = _checked(manifest_path, allowed_signers, revoked_signers)
    files = (manifest.artifact.file, manifest.signature_file, manifest.file)
    written = tuple(file for file in files if store.put(folder / file, file))
    return Published(manifest, written)


def _checked(manifest_path: Path, allowed_signers: Path | None, revoked_signers: Path | None) -> Manifest:
    if os.path.exists(manifest_path) and not manifest_path.name.endswith(SUFFIX):  # noqa: PTH110 - raises nothing
        raise _no_manifest(manifest_path)
    signature = Path(f"{manifest_path}{SIGNATURE_SUFFIX}")
    if manifest_path.exists() and not signature.exists():
        raise TurnoutError(
            "signature-missing",
            observed=f"there is no {signature}",
            expected="a signed release: hosts take no other",
            remedy=f"build it again with a key: {REBUILD}",
        )
    if allowed_signers is not None:
        return verify_files(manifest_path, allowed_signers, revoked_signers)[0]
    try:
        manifest = parse(manifest_path.read_bytes(), file=manifest_path.name)
        artifact = manifest_path.parent / manifest.artifact.file
        check_artifact(manifest, artifact.stat().st_size, file_sha256(artifact))
    except OSError as error:
        raise TurnoutError(
            "release-unknown",
            observed=f"{error.filename}: {error.strerror}",
            expected="the manifest that `turnout release build` wrote, its signature and its artifact beside it",
            remedy="give the path of the manifest, NAME-VERSION.release.yml",
        ) from None
    if manifest_path.name != manifest.file:
        raise TurnoutError(
            "manifest-other",
            observed=f"{manifest_path.name} is the manifest of {manifest.name} {manifest.version}",
            expected=f"the name {manifest.file}",
            remedy=f"rename it to {manifest.file}",
        )
    return manifest


def _no_manifest(path: Path) -> TurnoutError:
    """Return the error for what is there and is no manifest, with those that lie in it or beside it."""
    near = sorted((path if path.is_dir() else path.parent).glob(f"*{SUFFIX}"))
    return TurnoutError(
        "release-unknown",
        observed=f"{path} is no manifest",
        expected=f"the manifest that `turnout release build` wrote: a file NAME-VERSION{SUFFIX}",
        remedy=f"give its path, for example {near[-1]}"
        if near
        else f"give the path of the manifest, NAME-VERSION{SUFFIX}",
    )
