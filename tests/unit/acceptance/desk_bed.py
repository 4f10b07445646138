"""How packs are asked of the desk, and how what they found is repeated."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from desk import DOCUMENT, Desk
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.load import Questions, load
from turnout.acceptance.outcome import Finding, Outcome
from turnout.acceptance.run import Asked, run


def laid(folder: Path, declared: dict[str, Any]) -> Questions:
    (folder / "acceptance").mkdir(parents=True, exist_ok=True)
    (folder / "acceptance/acceptance.yml").write_text(yaml.safe_dump(declared))
    (folder / "openapi.yml").write_text(json.dumps(DOCUMENT))
    questions = load(folder)
    assert questions is not None
    return questions


def ask(desk: Desk, folder: Path, declared: dict[str, Any], hooks: Hooks | None = None, **more: Any) -> Outcome:
    questions = laid(folder, declared)
    return run(questions, Asked(url=desk.url, hooks=hooks or Hooks(), **more))


def repeated(finding: Finding, outcome: Outcome) -> str:
    done = subprocess.run(
        ["bash", "-c", finding.curl], capture_output=True, text=True, errors="replace", timeout=30, check=True,
        env={"PATH": os.environ["PATH"], **outcome.variables},
    )  # fmt: skip
    return done.stdout.replace("\r\n", "\n")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL; yield its address."""
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), Path("/none")).parent
    assert binaries.exists(), "there is no PostgreSQL; expected: Debian's; to mend: apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="turnout-acceptance-", dir="/tmp"))
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    words = ["-D", data, "-A", "trust", "--no-sync", "-U", "postgres"]
    subprocess.run([*user, binaries / "initdb", *words], check=True, capture_output=True, cwd="/")
    server = subprocess.Popen(
        [*user, binaries / "postgres", "-D", data, "-h", "", "-k", folder, "-F"], cwd="/",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while subprocess.run([binaries / "pg_isready", "-q", "-h", folder], check=False).returncode:
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
