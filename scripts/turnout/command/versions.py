"""The versions of what a controller runs: package, collection and ansible-core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
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
        galaxy = folder.joinpath("ansible_collections", *COLLECTION.split("."), "galaxy.yml")
        try:
            return f"{yaml.safe_load(galaxy.read_text(encoding='utf-8'))['version']} ({galaxy.parent})"
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
    return "not found; to mend: pip install --force-reinstall turnout"
