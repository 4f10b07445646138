"""make bench-canary: judged releases on the lab under real traffic, sound ones and faulty ones.

Ten releases of each kind (RUNS=n for fewer, KINDS=a,b for some of them; GOOD=late has availability counted by good
answers, of requests that were counted when they began) at 200 requests/s and 1 s scrapes, without
synthetic probes. A sound one must reach 100 % and stay; 20 s of it are watched. One with 100 %, 20 % or 5 % of 5xx from
the first step on, one that answers slowly, one that fails its jobs only, and one that turns bad ten seconds after 100 %
must each be rolled back, with no failed request of anybody else's.

For each kind: median and p95 of the seconds (to 100 %, or from the first bad response to the last), the failed
requests, and their ratio to the information bound, p ln(1/alpha)/KL(p, p0): what any test of that level needs on
average. A bound that does not hold gives exit code 1.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path.insert(0, str(TESTS / "lab"))

from harness import Run, Turnout, provisioned, sample_digest
from turnout.judge import meeting
from turnout.judge.constants import DEFAULT

RUNS = int(os.environ.get("RUNS", "10"))
RATE = float(os.environ.get("RATE", "200"))
GOOD_LATE = os.environ.get("GOOD") == "late"
SLOW_MS = 600.0
SLOW_S = 0.4  # an answer of the slow release that took longer is a bad one; both latency bounds are below
FIRST_SHARE = 0.05
ALLOWED_S = 5.0
"""Two scrapes, the reading, the decision and the way back: so long may a found fault still be answered with."""
REACH_BOUND_S = 200.0
AT_FIRST_STEP = "has 5 % of the traffic"
AT_LAST_STEP = "has 100 % of the traffic"


@dataclass(frozen=True)
class Kind:
    """One kind of release: its fault, when it begins, and the p and p0 of the SLO that finds it."""

    name: str
    faults: tuple[str, ...]
    p: float = 0.0
    p0: float = 0.005
    at: str = AT_FIRST_STEP
    after_s: float = 0.0
    bad: str = "5xx"
    share: float = FIRST_SHARE

    @property
    def information(self) -> float:
        """Return the failed requests that any test needs on average, p ln(1/alpha)/KL(p, p0)."""
        p, p0 = self.p, self.p0
        kl = p * math.log(p / p0) + (0.0 if p == 1.0 else (1 - p) * math.log((1 - p) / (1 - p0)))
        return p * math.log(1.0 / DEFAULT.alpha) / kl


KINDS = (
    Kind("healthy", ()),
    Kind("100 % 5xx", ("5xx=1",), p=1.0),
    Kind("20 % 5xx", ("5xx=0.2",), p=0.2),
    Kind("5 % 5xx", ("5xx=0.05",), p=0.05),
    Kind("slow", (f"latency={SLOW_MS:g}",), p=1.0, p0=0.01, bad="slow"),
    Kind("jobs only", ("failing-jobs",), p=1.0, p0=0.01, bad="jobs"),
    Kind("5xx in the watch", ("5xx=0.2",), p=0.2, at=AT_LAST_STEP, after_s=10.0, share=1.0),
)


@dataclass
class Seen:
    """What came of one kind's releases."""

    kind: Kind
    seconds: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile, nan of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def version_of(kind: Kind, number: int) -> str:
    """Return a version that no earlier bench has used: a release rolls back by itself only once."""
    return f"9.{[k.name for k in KINDS].index(kind.name)}.{int(time.time()) % 10_000_000}{number}"


def objectives(turnout: Turnout) -> str:
    """Return the folder of SLO files: the lab's, or with GOOD=late ones that count good events after their total."""
    lab = ROOT / "inventories" / "lab" / "slos"
    if not GOOD_LATE:
        return "slos"
    folder = turnout.work / "slos-good-late"
    shutil.copytree(lab, folder, dirs_exist_ok=True)
    file = folder / "api-availability.yml"
    slo = yaml.safe_load(file.read_text())
    ratio = slo["spec"]["indicator"]["spec"]["ratioMetric"]
    bad, total = ratio.pop("bad")["metricSource"], ratio["total"]["metricSource"]
    users = total["spec"]["query"].partition("{")[2]
    good = bad["spec"] | {"query": bad["spec"]["query"].replace('code=~"5.."', 'code!~"5.."')}
    ratio["good"] = {"metricSource": bad | {"spec": good}}
    total["spec"] = {"query": "http_requests_started_total{" + users, "sumOver": ["path", "method"]}
    file.write_text(yaml.safe_dump(slo, sort_keys=False))
    return str(folder)


def trial(turnout: Turnout, kind: Kind, number: int, seen: Seen) -> None:
    """Release once, and measure what its users met."""
    turnout.ensure("1.0.0")
    turnout.until_scraped()
    version = version_of(kind, number)
    turnout.publish(version, *kind.faults, armed=bool(kind.faults))
    records = turnout.work / f"canary-{version}.jsonl.gz"

    def arm() -> None:
        time.sleep(kind.after_s)
        turnout.arm(version)

    at = [(kind.at, arm)] if kind.faults else []
    service = turnout.with_service(judge={"probes_per_s": 0, "bake_s": 20, "slos": objectives(turnout)})
    with turnout.load(rate=RATE, new_connections="0.3", records=str(records)) as load:
        run = turnout.judged(version, at, *service)
    with gzip.open(records, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    records.unlink()
    if kind.faults:
        rolled_back(turnout, version, run, rows, seen)
    else:
        reached(turnout, version, run, load.report, seen)
    print(f"{number + 1:>3}/{RUNS}  {kind.name:<18} {last_of(seen)}", flush=True)


def last_of(seen: Seen) -> str:
    """Return the last run's figures for a person."""
    if seen.wrong:
        return "WRONG: " + seen.wrong[-1]
    return f"{seen.seconds[-1]:6.1f} s  {seen.failed[-1]} failed"


def reached(turnout: Turnout, version: str, run: Run, report: dict[str, Any], seen: Seen) -> None:
    """Take the figures of a sound release: seconds from the first share to 100 % on every edge."""
    if run.rc or turnout.in_service() != version:
        seen.wrong.append(f"a sound release was not released: {run.tail.splitlines()[-1]}")
        print(run.tail)
        return
    judged = judgements(turnout, run)
    first = next(j["t"] for j in judged if j["share_bp"] > 0)
    whole = next(j["t"] for j in judged if j["share_bp"] == 10_000)
    seen.seconds.append(whole - first)
    seen.failed.append(report["failed"])
    if report["failed"]:
        seen.wrong.append(f"{report['failed']} requests failed: {report['failures']}")


def judgements(turnout: Turnout, run: Run) -> list[dict[str, Any]]:
    """Return what the judge of a run wrote down."""
    return [json.loads(line) for line in (turnout.folder(run) / meeting.JUDGEMENTS).read_text().splitlines()]


def rolled_back(turnout: Turnout, version: str, run: Run, rows: list[dict[str, Any]], seen: Seen) -> None:
    """Take the figures of a faulty release: from its first bad response to its last."""
    theirs = [row for row in rows if row["error"] and row["release"] != version]
    if run.rc == 0 or "quarantined" not in run.out or turnout.in_service() != "1.0.0":
        seen.wrong.append("a faulty release was not rolled back as such")
        print(run.tail)
        return
    if theirs:
        seen.wrong.append(f"{len(theirs)} requests of others failed, the first: {theirs[0]['error']}")
    ends = bad_ends(turnout, seen.kind, version, rows)
    seen.failed.append(len(ends))
    seen.seconds.append(max(ends) - min(ends) if ends else 0.0)


def bad_ends(turnout: Turnout, kind: Kind, version: str, rows: list[dict[str, Any]]) -> list[float]:
    """Return when each bad response (or failed job) of a release ended, in seconds of one clock."""
    mine = [row for row in rows if row["release"] == version]
    if kind.bad == "5xx":
        return [row["end"] for row in mine if row["error"]]
    if kind.bad == "slow":
        return [row["end"] for row in mine if row["end"] - row["start"] - row["nominal_s"] > SLOW_S]
    query = "SELECT release, extract(epoch FROM finished_at) FROM job_runs WHERE result='failed'"
    out = turnout.ssh("data1", f'sudo -u postgres psql -d sample -AtF " " -c "{query}"')
    return [float(line.split()[1]) for line in out.splitlines() if line.startswith(f"{version} ")]


def table(results: list[Seen]) -> list[dict[str, Any]]:
    """Print one row for each kind; return the rows."""
    rows = []
    print(f"\n{'KIND':<18}{'RUNS':>5}{'MEDIAN s':>10}{'P95 s':>8}{'FAILED':>8}{'BOUND':>7}{'RATIO':>7}")
    for seen in results:
        kind, failed = seen.kind, percentile(seen.failed, 0.5)
        bound = kind.information if kind.faults else math.nan
        row = {
            "kind": kind.name,
            "runs": len(seen.seconds),
            "median_s": round(percentile(seen.seconds, 0.5), 2),
            "p95_s": round(percentile(seen.seconds, 0.95), 2),
            "failed_median": failed,
            "information": round(bound, 2),
            "ratio": round(failed / bound, 2),
            "wrong": seen.wrong,
        }
        rows.append({key: None if value != value else value for key, value in row.items()})  # noqa: PLR0124 - nan
        print(
            f"{kind.name:<18}{row['runs']:>5}{row['median_s']:>10.1f}{row['p95_s']:>8.1f}{failed:>8.0f}"
            f"{bound:>7.1f}{row['ratio']:>7.1f}"
        )
    return rows


def bounds(results: list[Seen]) -> dict[str, bool]:
    """Return what must hold, and whether it does."""
    held = {f"{seen.kind.name}: all {RUNS} came out as they must": not seen.wrong for seen in results}
    for seen in results:
        kind = seen.kind
        if not kind.faults:
            held[f"healthy: p95 to 100 % at most {REACH_BOUND_S:.0f} s"] = (
                percentile(seen.seconds, 0.95) <= REACH_BOUND_S
            )
        elif kind.bad == "5xx":
            most = 1.6 * kind.information + ALLOWED_S * RATE * kind.share * kind.p
            held[f"{kind.name}: median of failed requests at most {most:.0f}"] = percentile(seen.failed, 0.5) <= most
    return held


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    turnout.publish("1.0.0")
    wanted = os.environ.get("KINDS")
    chosen = [kind for kind in KINDS if not wanted or kind.name in wanted.split(",")]
    results = [Seen(kind) for kind in chosen]

    for number in range(RUNS):
        for seen in results:
            trial(turnout, seen.kind, number, seen)
    rows = table(results)
    print()
    held = bounds(results)
    for what, holds in held.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {what}")
    print(
        json.dumps({"bench": "canary", "rate": RATE, "good_late": GOOD_LATE, "kinds": rows, "ok": all(held.values())})
    )
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
