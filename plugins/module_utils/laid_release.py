# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A release that is laid on this host: what its marker says, its environment, and a command of it in a unit."""

from __future__ import annotations

import json
import os
import re
import shlex

MARKER = ".turnout-complete"
_COMMENT = re.compile(r"[^\n\r]*")
_NAME = re.compile(r"[^\n\r][^=\n\r]*")
_QUOTED = re.compile(r"""[ \t]*(?:'([^']*)(?:'|$)|"((?:[^"\\]|\\.)*)(?:"|\\?$))""", re.DOTALL)
_BARE = re.compile(r"[ \t]*((?:[^\\\n\r]|\\.)*)\\?", re.DOTALL)
_KEPT = re.compile(r"(?:\\.|[^\\ \t]|[ \t]+(?=[^ \t]))*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def marker_of(folder: str) -> dict:
    """Return what the completeness marker of a laid release says; nothing where it is not whole."""
    try:
        with open(os.path.join(folder, MARKER), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def environment_of(text: str) -> dict:
    """Return {name: value} of an environment file's text, as systemd reads it (systemd.exec(5), "EnvironmentFile=")."""
    values: dict = {}
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] in "#;":
            at = _COMMENT.match(text, at).end()
        else:
            name = _NAME.match(text, at)
            at = name.end()
            if text[at : at + 1] == "=":
                values[name[0].rstrip(" \t")], at = _value(text, at + 1)
    return values


def _value(text: str, at: int) -> tuple:
    """Return a value and where it ends: quoted parts first, then what is bare, in which a quote is a letter."""
    value = ""
    while quoted := _QUOTED.match(text, at):
        value += (quoted[1] or "") + _ESCAPED.sub(_in_quotes, quoted[2] or "")
        at = quoted.end()
    bare = _BARE.match(text, at)
    return value + _ESCAPED.sub(lambda one: one[1].strip("\r\n"), _KEPT.match(bare[1])[0]), bare.end()


def _in_quotes(found) -> str:
    return found[1] if found[1] in '"\\`$' else "" if found[1] == "\n" else found[0]


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
