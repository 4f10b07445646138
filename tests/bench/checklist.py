"""make bench-checklist: a hundred checks on ten hosts take as long as the slowest of them, plus 3 s.

Six of the lab's hosts are asked by the checklist. Four of them are in the inventory a second time under another name
(with a connection of their own), so that ten are asked. Each gets ten questions that take a known time, the slowest
SLOWEST_S; one more hangs for far longer than its limit, and must be cut there without holding up the others. Measured
from the first question to the last answer, as the checklist itself tells it (`took_s`).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import yaml

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "lab"))

from harness import Run, Turnout, provisioned, sample_digest

SLOWEST_S = float(os.environ.get("SLOWEST_S", "5"))
ALLOWED_S = 3.0
RUNS = int(os.environ.get("RUNS", "3"))
TWICE = {"app1": "twin1", "app2": "twin2", "edge1": "twin3", "edge2": "twin4"}
PER_HOST = 10


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    turnout.publish("1.0.0")
    turnout.ensure("1.0.0")
    quick = [(f"pause{n}", SLOWEST_S * (n + 1) / PER_HOST, SLOWEST_S + 10) for n in range(PER_HOST)]
    hanging = [*quick, ("hangs", 600.0, SLOWEST_S / 2)]
    rows = {"a hundred checks": [], "and one that hangs": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            for name, questions in zip(rows, (quick, hanging), strict=True):
                rows[name].append(took(turnout, Path(folder), questions))
    return judge(rows)


def took(turnout: Turnout, folder: Path, questions: list[tuple[str, float, float]]) -> float:
    """Go through the checklist with these questions beside; return the seconds from the first to the last answer."""
    extra = [
        {"id": name, "kind": "pause", "limit_s": limit_s, "arguments": {"seconds": seconds}}
        for name, seconds, limit_s in questions
    ]
    variables = folder / "bench.json"
    variables.write_text(json.dumps({"checklist_extra_probes": extra, "format": "json"}))
    run = turnout.playbook(
        "checklist",
        "-i",
        "inventories/lab",
        "-i",
        str(inventory(turnout, folder)),
        "-e",
        "release=1.0.0",
        "-e",
        f"@{variables}",
    )
    whole = json.loads(run.out[run.out.index("{\n") : run.out.rindex("\n}") + 2])
    hosts = {row["subject"] for row in whole["results"] if row["check"] == "reachable" and row["verdict"] == "pass"}
    check(run, len(hosts) == 10, f"{len(hosts)} hosts answered: {sorted(hosts)}")
    return float(whole["took_s"])


def inventory(turnout: Turnout, folder: Path) -> Path:
    """Return an inventory with three of the lab's hosts a second time, asked as monitoring hosts."""
    hosts = {}
    for host, twin in TWICE.items():
        hosts[twin] = {"ansible_host": turnout.address(host), "ansible_control_path": f"%(directory)s/{twin}"}
    file = folder / "twins.yml"
    group = {"monitoring": {"hosts": hosts}}
    file.write_text(yaml.safe_dump({"all": {"children": {"lab": {"children": group}}}}))
    return file


def check(run: Run, holds: bool, what: str) -> None:
    """End the bench where it did not measure what it says."""
    if not holds:
        print(run.tail)
        raise SystemExit(f"bench-checklist: {what}")


def judge(rows: dict[str, list[float]]) -> int:
    """Print the table and the JSON line; return 0 when every bound holds."""
    print(f"\n{'SECONDS':<24}{'MIN':>8}{'MEDIAN':>8}{'MAX':>8}   (the slowest check takes {SLOWEST_S:g})")
    for name, values in rows.items():
        ordered = sorted(values)
        print(f"{name:<24}{ordered[0]:>8.2f}{ordered[len(ordered) // 2]:>8.2f}{ordered[-1]:>8.2f}")
    bounds = {
        f"{name}: at most {SLOWEST_S:g} + {ALLOWED_S:g} s": sorted(values)[len(values) // 2] <= SLOWEST_S + ALLOWED_S
        for name, values in rows.items()
    }
    for bound, holds in bounds.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {bound}")
    print(json.dumps({"bench": "checklist", "figures_s": rows, "slowest_s": SLOWEST_S, "ok": all(bounds.values())}))
    return 0 if all(bounds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
