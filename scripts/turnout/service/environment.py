"""What a process finds in its environment, and the files in systemd's EnvironmentFile= syntax that carry it.

`render` follows systemd.exec(5), "EnvironmentFile=". Inside double quotes a backslash preserves a following `"`,
backslash, backtick or `$`; every other character, `#` and spaces too, stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.service.model import Process, Service

# Set by Turnout for every process; a service file may not set them.
RESERVED = ("PORT", "TURNOUT_COLOR", "TURNOUT_RELEASE", "TURNOUT_SERVICE")
METRICS_PORT = "METRICS_PORT"

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED = re.compile(r'(["\\`$])')


def environment(service: Service, color: str, version: str, process: str) -> dict[str, str]:
    """Return the whole environment of a process (its label, or `migrate`), secrets included."""
    result = {**_common(service, color, version), **service.environment}
    for one in service.processes():
        result.update(process_variables(color, one) if one.label == process else {})
    if process == "migrate" and service.migrate is not None:
        result.update(service.migrate.environment)
    return result


def process_variables(color: str, process: Process) -> dict[str, str]:
    """Return the variables that only this process has; none of them is a secret."""
    if isinstance(served := getattr(process.part, "ports", None), Mapping):
        return {"PORT": str(served[color])}
    ports = getattr(process.part, "metrics_port", None)
    return {METRICS_PORT: str(ports[color])} if ports else {}


def env_text(service: Service, color: str, version: str) -> str:
    """Return the text of `/etc/<service>/<color>.env`, which every process of the color reads."""
    return render({**_common(service, color, version), **service.environment})


def migrate_env_text(service: Service, color: str, version: str) -> str:
    """Return the text of `/etc/<service>/<color>.migrate.env`: the color's environment and the migrator's own."""
    return render(environment(service, color, version, "migrate"))


def _common(service: Service, color: str, version: str) -> dict[str, str]:
    return {"TURNOUT_COLOR": color, "TURNOUT_RELEASE": version, "TURNOUT_SERVICE": service.name}


def value_fault(value: str) -> str | None:
    """Return why systemd could not carry this value (without showing it), or None."""
    if "\n" in value or "\r" in value:
        return "a text of several lines"
    if "\0" in value:
        return "a text with a NUL character"
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        return "a text with a control character, with which systemd leaves the variable out"
    if any(_not_a_character(ord(char)) for char in value):
        return "a text with code points that are no Unicode characters"
    return None


def _not_a_character(code: int) -> bool:
    return 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE or code == 0xFEFF


def render(values: Mapping[str, str]) -> str:
    """Return the variables as an environment file, sorted, each value in double quotes.

    Raises ValueError (naming the key, never the value) for what the file cannot carry: `load` has refused it.
    """
    lines: list[str] = []
    for key in sorted(values):
        fault = value_fault(values[key]) if KEY.fullmatch(key) else "a name that is no variable"
        if fault is not None:
            raise ValueError(f"environment variable {key!r}: {fault}")
        lines.append(f'{key}="{_ESCAPED.sub(r"\\\1", values[key])}"\n')
    return "".join(lines)
