"""Runs `turnout acceptance run` as a program of its own: bounded in time, its words in a file, its outcome as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRACE_S = 120.0  # beyond the packs' own budget: to load, and to write down what was found
OUTCOME, LOG, VARIABLES = "outcome.json", "asked.log", "variables.sh"


@dataclass(frozen=True)
class Asking:
    """What is asked of whom. `release` is the folder with `acceptance/`, `document` stable's file or empty.

    `headers` are sent with every request; their values are in no command line. `seconds` bounds the asking beside the
    packs' own budget; without `verify` no certificate is checked.
    """

    release: Path
    url: str
    packs: Sequence[str]
    document: str = ""
    manifest: Path | None = None
    reading: bool = False
    headers: Mapping[str, str] | None = None
    seconds: float | None = None
    verify: bool = True


def host_header(host: object) -> dict[str, str]:
    """Return the header that names the host which is meant, where the address of the way does not."""
    return {"Host": str(host)} if host else {}


def ask(
    asking: Asking, folder: Path, limit_s: float, grace_s: float = GRACE_S
) -> tuple[dict[str, Any] | None, list[str], str]:
    """Ask; return the outcome (None where nothing was asked), what it tells a person, and why there is no outcome.

    Outcome, words and secrets lie in `folder` then; it is ended after `limit_s` and `grace_s`
    seconds.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [str(Path(sys.executable).with_name("turnout")), "acceptance", "run", str(asking.release)]
    words += ["--url", asking.url, "--out", str(folder / OUTCOME), "--variables", str(folder / VARIABLES)]
    words += [word for pack in asking.packs for word in ("--only", pack)]
    words += ["--stable", asking.document] if asking.document else []
    words += ["--manifest", str(asking.manifest)] if asking.manifest else []
    words += ["--reading"] if asking.reading else []
    words += ["--seconds", str(int(asking.seconds))] if asking.seconds else []
    words += [] if asking.verify else ["--insecure"]
    secret = {f"TURNOUT_HEADER_{number}": one for number, one in enumerate((asking.headers or {}).items())}
    words += [word for name, one in secret.items() for word in ("--header-from", f"{one[0]}={name}")]
    (folder / OUTCOME).unlink(missing_ok=True)
    with (folder / LOG).open("wb") as log:
        try:
            # In the folder of the run: what the libraries keep in their working directory is the run's.
            code = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                timeout=limit_s + grace_s, env={**os.environ, **{name: one[1] for name, one in secret.items()}},
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return None, [], f"asking did not end within {limit_s + grace_s:g} s"
        except OSError as error:
            return None, [], f"{words[0]}: {error.strerror}"
    said = (folder / LOG).read_text(errors="replace").splitlines()
    try:
        outcome: dict[str, Any] = json.loads((folder / OUTCOME).read_text())
    except (OSError, ValueError):
        why = " ".join(" ".join(said).split())[-700:]
        return None, said, f"turnout acceptance run ended with code {code}: {why or 'no words'}"
    return outcome, said, ""
