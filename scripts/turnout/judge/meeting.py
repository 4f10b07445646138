"""Where the judge's process and the playbook meet: small files in the run's folder, each written in one step.

- `judge.json`        what the judge was told (`Told`)
- `judge.pid`         its process, so that whoever waits for it sees when it is gone
- `judge.ready`       its answer before any share moves: `{"notes": [...]}`, or `{"error": text}`
- `step.json`         written by the playbook: the share in force, `{"share_bp": N}`; with `"moving": true` edges are
                      getting it, and not every one may have it yet
- `guard.json`        written by the playbook: why an edge went back by itself, `{"edge": name, "why": text}`
- `decision.json`     what to do at a share, `{"share_bp": N, "action": "promote", "why": text}`
- `judge.lines`       what a person sees, one line a scrape
- `judge.end`         written by the playbook: there is nothing left to judge
- `judge.log`         the process's own errors
- `release.jsonl`     the recording: what was read, scrape by scrape (see `records`)
- `judgements.jsonl`  what was made of it: a line of `turnout judge replay --json`, with `at` (UTC) and `problems`
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TOLD, READY, STEP, GUARD = "judge.json", "judge.ready", "step.json", "guard.json"
PID = "judge.pid"
DECISION, LINES, END, LOG = "decision.json", "judge.lines", "judge.end", "judge.log"
RECORDING, JUDGEMENTS = "release.jsonl", "judgements.jsonl"


@dataclass(frozen=True, slots=True)
class Told:
    """What the judge of one run is told; `release` is the version that is judged, with its configuration, and `differs`
    the keys by which the configuration in service is another one.

    `since_s` is when stable's release was declared, in seconds since the epoch: what its color counted before was
    another release's. `probes_per_s` synthetic requests a second and color go through every edge. `parent_pid` and
    `parent_started` name the playbook's process, with which the judge ends.
    """

    run: str
    prometheus: str
    slos: str
    stable: str
    candidate: str
    shares_bp: tuple[int, ...]
    patience_s: float
    bake_s: float
    since_s: float
    probes_per_s: float
    parent_pid: int
    parent_started: int
    release: str = ""
    differs: str = ""


def write(folder: Path, name: str, content: object) -> None:
    """Write a small JSON file in one step, so that nobody reads half of it."""
    draft = folder / f".{name}.{os.getpid()}.tmp"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.rename(folder / name)


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what such a file says, None before it is there."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
        return found
    return None


def tell(folder: Path, told: Told) -> None:
    """Write what the judge is told."""
    write(folder, TOLD, asdict(told))


def told(folder: Path) -> Told:
    """Return what the judge was told. Raises OSError, ValueError or TypeError on a broken file."""
    raw = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    return Told(**{**raw, "shares_bp": tuple(raw["shares_bp"])})
