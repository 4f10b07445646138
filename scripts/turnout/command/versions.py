"""The versions of what a controller runs: package, collection and ansible-core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from turnout.command.playbooks import COLLECTION


def lines() -> list[str]:
    """Return a line for the package, and one for the collection and for ansible-core as Python finds them."""
    package, beside = installed("turnout"), collection()
    told = [
        f"turnout {package}",
        f"collection {COLLECTION} {beside}",
        f"ansible-core {installed('ansible-core')}",
    ]
    if beside.split()[0] != package:
        told.append(
            f"the collection is not of the package's version; expected: {package}; "
            f"to mend: pip install --force-reinstall turnout=={package}"
        )
    return told + [
        f"Ansible takes {COLLECTION} {version} from {place} before that; to mend: rm -r {place}"
        for place, version in copies(os.environ)
    ]


def copies(environment: Mapping[str, str]) -> list[tuple[Path, str]]:
    """Return the copies of the collection that Ansible takes before the one beside the package, with their versions."""
    paths = environment.get("ANSIBLE_COLLECTIONS_PATH") or "~/.ansible/collections:/usr/share/ansible/collections"
    parts = ("ansible_collections", *COLLECTION.split("."))
    places = [Path(path).expanduser().joinpath(*parts) for path in paths.split(":")]
    return [(place, version) for place in places if (version := version_in(place))]


def installed(distribution: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed; to mend: pip install {distribution}"


def collection() -> str:
    """Return the version of the collection beside the package, from its galaxy.yml, with the place where that is."""
    package = importlib.util.find_spec("turnout")
    folders = [Path(folder).parent for folder in (package.submodule_search_locations or ())] if package else []
    for folder in folders:
        place = folder.joinpath("ansible_collections", *COLLECTION.split("."))
        if version := version_in(place):
            return f"{version} ({place})"
    return "not found; to mend: pip install --force-reinstall turnout"


def version_in(place: Path) -> str | None:
    """Return the version of the collection in a folder: in a wheel and a checkout galaxy.yml has it.

    `ansible-galaxy collection install` leaves MANIFEST.json in its place. None where there is neither.
    """
    try:
        return str(yaml.safe_load((place / "galaxy.yml").read_text(encoding="utf-8"))["version"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        pass
    try:
        return str(json.loads((place / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
