"""What lies in an OCI archive of one image (OCI image-spec 1.1, "Image Layout" and "Image Manifest")."""

from __future__ import annotations

import json
import tarfile
from typing import IO, Any


def member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Return a file of an archive to be read. Raises KeyError where there is none."""
    content = archive.extractfile(name)
    if content is None:
        raise KeyError(name)
    return content


def blob(archive: tarfile.TarFile, descriptor: dict[str, Any]) -> IO[bytes]:
    """Return what a descriptor refers to, to be read. Raises KeyError."""
    return member(archive, f"blobs/{descriptor['digest'].replace(':', '/')}")


def manifests(archive: tarfile.TarFile) -> list[dict[str, Any]]:
    """Return the descriptors of the archive's images. Raises KeyError or ValueError for what is no OCI layout."""
    listed: list[dict[str, Any]] = json.load(member(archive, "index.json"))["manifests"]
    return listed
