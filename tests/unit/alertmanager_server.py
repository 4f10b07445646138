"""Debian's Alertmanager, for tests that start one."""

from __future__ import annotations

import shutil
from pathlib import Path


def alertmanager_program(folder: Path) -> Path:
    """Return Debian's Alertmanager as a program in `folder`, made to look for its templates in its working folder.

    It was unpacked beside Prometheus, not installed, and it knows one absolute path for them. Start it with
    `cwd=folder`.
    """
    prometheus = shutil.which("prometheus")
    assert prometheus, "prometheus is not installed; expected: the real one; to mend: make setup"
    programs = Path(prometheus).resolve().parent
    source = programs / "prometheus-alertmanager"
    assert source.exists(), f"there is no {source}; expected: the real one; to mend: make setup"
    for template in (programs.parent / "share/prometheus/alertmanager").glob("*.tmpl"):
        shutil.copy(template, folder)
    place = b"/usr/share/prometheus/alertmanager"
    program = folder / "alertmanager"
    program.write_bytes(source.read_bytes().replace(place, b"." + b"/" * (len(place) - 1)))
    program.chmod(0o700)
    return program
