"""The versions of what a controller runs: package, collection and ansible-core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from pathlib import Path

import yaml

from turnout.command.playbooks import COLLECTION


def lines() -> list[str]:
    """Return a line for the package, and one for the collection and for ansible-core as Python finds them."""
    return [
        f"turnout {installed('turnout')}",
        f"collection {COLLECTION} {collection()}",
        f"ansible-core {installed('ansible-core')}",
    ]


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
