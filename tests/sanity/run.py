"""make sanity: ansible-test's own checks over the collection as it is built, without a container.

What is let through stands in accepted-2.21.txt beside this file, each line with its reason: ansible-test reads it as
its ignore-2.21.txt. (By that name ansible-lint would hold it to what Galaxy lets a certified collection ignore, and an
action that imports the Python package of its own wheel is not among that.) ansible-test makes an
environment for each of its checks and downloads what they need: this target needs the network, and is no part of
`make test`. Its look at the documentation is left out: it has no Python package `turnout`, which filters need, and
tests/unit/collection looks with it. Exit code 0 only where nothing else was found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


def main(arguments: list[str]) -> int:
    """Build the collection, unpack it where ansible-test wants it, check it; `arguments` go to ansible-test."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="turnout-sanity-") as place:
        build = [str(BIN / "ansible-galaxy"), "collection", "build", str(ROOT), "--output-path", place]
        subprocess.run(build, check=True, env=env, stdout=subprocess.DEVNULL)
        (archive,) = Path(place).glob("turnout-ops-*.tar.gz")
        collection = Path(place) / "ansible_collections" / "turnout" / "ops"
        with tarfile.open(archive) as packed:
            packed.extractall(collection, filter="data")
        beside = collection / "tests" / "sanity"
        beside.mkdir(parents=True)
        for known in HERE.glob("accepted-*.txt"):
            shutil.copy(known, beside / known.name.replace("accepted", "ignore"))
        command = [str(BIN / "ansible-test"), "sanity", "--requirements", "--color", "no", "--python", version]
        return subprocess.run([*command, *arguments], cwd=collection, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
