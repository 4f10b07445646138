"""In a cage a service's directories are there, empty, its own to write, and nothing of them reaches the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="a cage needs root and ip")

RUN = """
import os, subprocess, sys
from ansible_collections.turnout.ops.plugins.module_utils import cage
base = sys.argv[1]
cage.enter([], [], "", base + "/work")
cage.lend([base + "/release/media", base + "/release/a/b", base + "/state/x"], cage.account("nobody"), base + "/lent")
for path in ("release/media", "release/a/b", "state/x"):
    assert os.listdir(f"{base}/{path}") == [], path
    subprocess.run(["touch", f"{base}/{path}/new"], check=True, **cage.account("nobody"))
assert os.path.exists(base + "/release/bin")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that another user may enter, which none of pytest's own is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_directories_are_lent_empty_and_given_back(folder: Path) -> None:
    (folder / "release/bin").mkdir(parents=True)
    (folder / "state/x").mkdir(parents=True)
    (folder / "state/x/kept").touch()
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "release").iterdir()) == ["bin"]
    assert [path.name for path in (folder / "state/x").iterdir()] == ["kept"]
