"""Draw 10,000 releases of each shipped kind and check what the judge promises of them.

Prints the tables of docs/figures.md, then one JSON object; exit code 1 where a promise is not kept. It takes about a
quarter of an hour of one core; `--jobs` and `--releases` change that (with fewer releases a bound may be missed by
chance).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=10_000, help="releases of each kind (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    options = parser.parse_args()
    program = Path(sys.executable).with_name("turnout")
    command = [str(program), "judge", "simulate", "--releases", str(options.releases), "--jobs", str(options.jobs)]
    started = time.monotonic()
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(last, end="", flush=True)
            last = line
    if process.returncode != 0:
        return 2
    found = json.loads(last)
    broken = [bound["what"] for bound in found["bounds"] if not bound["kept"]]
    kept = len(found["bounds"]) - len(broken)
    seconds = time.monotonic() - started
    print(f"{kept} promises kept, {len(broken)} not kept, in {seconds:.0f} s with {options.jobs} process(es)")
    for what in broken:
        print(f"NOT KEPT {what}")
    print(json.dumps({"bench": "simulate", "seconds": round(seconds), "not_kept": broken, **found}))
    return 1 if broken or not kept else 0


if __name__ == "__main__":
    sys.exit(main())
