"""Which inventory a command without `--inventory` means: the one that Ansible would take in the same folder."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from turnout.errors import TurnoutError


def inventory_here() -> Path:
    """Return the first inventory of ANSIBLE_INVENTORY or of `ansible.cfg`; raises `TurnoutError` without one."""
    named = os.environ.get("ANSIBLE_INVENTORY", "")
    folder = Path()
    if not named:
        config = Path(os.environ.get("ANSIBLE_CONFIG") or "ansible.cfg")
        folder = config.parent
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(config, encoding="utf-8")
            named = parser.get("defaults", "inventory", fallback="")
        except (configparser.Error, UnicodeDecodeError):
            named = ""  # Ansible itself tells what is wrong with its file
    first = named.split(",")[0].strip()
    if not first:
        raise TurnoutError(
            "inventory-unnamed",
            observed=f"no inventory was named, and {Path.cwd()} has no ansible.cfg that names one",
            expected="the folder of an inventory",
            remedy="-i inventories/NAME, or run it in the folder of your ansible.cfg (turnout init writes one)",
        )
    return folder / Path(first).expanduser()
