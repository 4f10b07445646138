# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A release that is laid on this host: what its marker says, its environment, and a command of it in a unit."""

from __future__ import annotations

import json
import os
import shlex

MARKER = ".turnout-complete"


def marker_of(folder: str) -> dict:
    """Return what the completeness marker of a laid release says; nothing where it is not whole."""
    try:
        with open(os.path.join(folder, MARKER), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def environment_of(text: str) -> dict:
    """Return {name: value} of an environment file's text."""
    values = {}
    for line in text.splitlines():
        name, found, raw = line.partition("=")
        if not found or line.lstrip().startswith(("#", ";")):
            continue
        try:
            values[name.strip()] = "".join(shlex.split(raw, comments=False))
        except ValueError:
            values[name.strip()] = raw
    return values


def absolute(words: list, folder: str) -> list:
    """Return a command's words, its program inside the release where it has a slash."""
    if "/" in words[0] and not os.path.isabs(words[0]):
        return [os.path.join(folder, words[0]), *words[1:]]
    return words


def in_unit(unit: str, command: str, layout: dict, properties: dict) -> list:
    """Return the words that run a command of the release in a transient unit, by its layout, and wait for its end."""
    properties = {"WorkingDirectory": layout["folder"], **properties, **layout["properties"]}
    return [
        "systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}",
        *(f"--property={name}={value}" for name, value in properties.items()),
        *(f"--setenv={name}={value}" for name, value in layout["environment"].items()),
        "--", *absolute(shlex.split(command), layout["folder"]),
    ]  # fmt: skip
