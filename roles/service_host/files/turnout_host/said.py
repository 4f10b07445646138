"""The last lines of a unit's journal, for a person who asks why it failed, without any value of its environment."""

from __future__ import annotations

import re
import subprocess

from turnout_host.wanted import PROCESS

LINES = 6
LENGTH = 240  # characters of one line
SHORTEST_SECRET = 4  # characters; replacing shorter values would garble the text and hide nothing
_VARIABLE = re.compile(r'^([A-Za-z_][A-Za-z0-9_]*)="(.*)"$', re.MULTILINE)
_OWNED = re.compile(rf"(.+)-{PROCESS}")
_ESCAPED = re.compile(r'\\(["\\`$])')


def secrets_of(service: str, color: str, root: str = "/") -> list[tuple[str, str]]:
    """Return [(value, name)] of a color's environment, longest first; a password inside a URL counts by itself.

    Raises OSError where its file cannot be read: then nothing may be shown.
    """
    with open(f"{root.rstrip('/')}/etc/{service}/{color}.env", encoding="utf-8") as file:
        values = {name: _ESCAPED.sub(r"\1", value) for name, value in _VARIABLE.findall(file.read())}
    found = {}
    for name, value in values.items():
        password = value.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
        found |= {one: label for one, label in ((value, name), (password, f"{name}'s password")) if one}
    return sorted(
        ((value, name) for value, name in found.items() if len(value) >= SHORTEST_SECRET),
        key=lambda pair: -len(pair[0]),
    )


def values_of(service: str, color: str, root: str = "/") -> list[tuple[str, str]] | None:
    """Return what `secrets_of` does, but for what Turnout sets itself; None where the environment cannot be read."""
    try:
        return [one for one in secrets_of(service, color, root) if not one[1].startswith("TURNOUT_")]
    except OSError:
        return None


def secrets_of_unit(unit: str, root: str = "/") -> list[tuple[str, str]]:
    """Return what `secrets_of` does for the color of a unit SERVICE-PROCESS@COLOR.service, with a name or without."""
    stem, _, instance = unit.removesuffix(".service").partition("@")
    found = _OWNED.fullmatch(stem)
    return secrets_of(found[1] if found else "", instance.partition("-")[0], root)


def redact(text: str, secrets: list[tuple[str, str]]) -> str:
    """Return `text` with each secret replaced by its name."""
    for value, name in secrets:
        text = text.replace(value, f"[{name}]")
    return text


def last_lines(unit: str, root: str = "/", lines: int = LINES) -> list[str]:
    """Return the last lines that a unit SERVICE-PROCESS@COLOR.service, and systemd about it, said since the boot.

    Empty where they cannot be read, or could hold what nobody may see.
    """
    try:
        secrets = secrets_of_unit(unit, root)
        said = subprocess.run(
            ["journalctl", f"--unit={unit}", "--boot", f"--lines={lines}", "--output=cat", "--no-pager", "--quiet"],
            capture_output=True, text=True, errors="replace", timeout=10, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    # Redacted before it is cut: half of a value is still its half.
    return ["".join(c for c in line if c.isprintable())[:LENGTH] for line in redact(said, secrets).splitlines()][
        -lines:
    ]
