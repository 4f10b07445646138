"""Run benches and keep what they measured: docs/figures.json, and the page docs/figures.md made from it.

    make figures                               every bench of tests/bench, one after the other: hours
    make figures FIGURES='rollback switch'     only these; also `faults` and `mutants`, which take longest
    make figures FIGURES=none                  only write the page anew

Each bench prints one JSON object last. It is kept with the commit, the date and the machine, and takes the place of
that bench's older figure. A bench that is not run, or whose output cannot be read, keeps the figure that it has. Exit
code 0 where every bench that was asked for ran and its bounds held; 1 where one did not; 2 where nothing was begun.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turnout.errors import TurnoutError

__all__ = ["BENCHES", "Bench", "changed", "keep", "load", "main", "measured", "page", "replace", "stamp"]

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "docs" / "figures.json"
PAGE = ROOT / "docs" / "figures.md"
FORMAT = 1

type Entry = dict[str, Any]
type Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Bench:
    """One bench: what a person types, what is run, what it is for, and how its JSON becomes lines of the page."""

    name: str
    command: str
    program: tuple[str, ...]
    says: str
    rows: Callable[[Mapping[str, Any]], Rows]
    printed: str = ""
    """Where the tables that it prints are the figure: the beginning of the line at which they end."""


# -- what each bench says ----------------------------------------------------------------------------------------


def _spread(of: Mapping[str, float]) -> str:
    return f"{of['median']:.2f} s ({of['min']:.2f} to {of['max']:.2f})"


def _middle(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return _spread({"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]})


def _rollback(result: Mapping[str, Any]) -> Rows:
    of = result["figures_s"]
    return [
        ("`turnout rollback`, from pressing return to the bad version's last answer", _spread(of["rollback.yml"])),
        ("`ansible edge -m ping`, in the same run", _spread(of["ansible edge -m ping"])),
        ("ratio of the two medians", f"{result['ratio']:.2f}"),
        ("`turnout-edge rollback`, typed on an edge", _spread(of["turnout-edge rollback"])),
    ]


def _switch(result: Mapping[str, Any]) -> Rows:
    jobs = result["jobs"]
    slots = jobs["slots"]
    return [
        (
            f"requests during {result['deploys']} deploys and {result['rollbacks']} rollbacks",
            f"{result['requests']:,} at {result['rate']:.1f}/s, {result['failed']} failed",
        ),
        (
            "p99 while switching, and while deploys run that have nothing to do",
            f"{result['p99_switching_ms']:.0f} ms, {result['p99_quiet_ms']:.0f} ms: {result['p99_ratio']:.2f} times",
        ),
        ("jobs", f"{jobs['acknowledged']:,}, {jobs['lost']} lost, {jobs['doubled'] + jobs['rerun']} run twice"),
        ("times of the scheduler", f"{slots['missing']} missed, {slots['doubled']} doubled"),
        ("a deploy under that load", _spread(result["deploy_s"])),
        ("a rollback under that load", _spread(result["rollback_s"])),
    ]


def _canary(result: Mapping[str, Any]) -> Rows:
    return [
        (
            f"{kind['kind']}, {kind['runs']} runs",
            f"{kind['median_s']:.1f} s, p95 {kind['p95_s']:.1f} s, {kind['failed_median']:.0f} failed requests"
            + (f"; not as they must: {len(kind['wrong'])}" if kind.get("wrong") else ""),
        )
        for kind in result["kinds"]
    ]


def _replay(result: Mapping[str, Any]) -> Rows:
    return [(f"{result['scrapes']:,} scrapes of {result['slos']} SLOs, fastest run", f"{result['fastest_s']:.2f} s")]


def _edge_latency(result: Mapping[str, Any]) -> Rows:
    return [
        ("processor time of mtail at 1,000 requests/s, of one core", f"{result['cpu_percent_at_1000_per_s']} %"),
        ("its memory", f"{result['memory_mb']} MB"),
        (
            f"series with {result['routes']} routes, {result['buckets']} bounds and every status class that was sent",
            f"{result['series']:,} and {result['series_of_mtail_itself']} of its own, "
            f"{result['kilobytes_a_scrape']} kB a scrape",
        ),
        ("requests, and counted of them", f"{result['requests']:,}, {result['counted']:,}"),
    ]


def _simulate(result: Mapping[str, Any]) -> Rows:
    broken, of = len(result["not_kept"]), len(result["bounds"])
    drawn = f"{result['releases']:,} releases of each kind, seed {result['seed']}"
    return [("promises kept", f"{of - broken} of {of}"), (drawn, f"{result['seconds']} s")]


def _share(result: Mapping[str, Any]) -> Rows:
    healthy = [(f"healthy: {one['name']}", f"{100 * one['false']:.3f} % falsely held") for one in result["healthy"]]
    far = [
        (
            one["name"],
            f"{100 * one['found']:.0f} % found" + (f", median {one['median_s']:.0f} s" if one["median_s"] else ""),
        )
        for one in result["far"]
    ]
    return [*healthy, *far]


def _checklist(result: Mapping[str, Any]) -> Rows:
    slowest = f"{result['slowest_s']:g} s"
    return [(f"{name} on ten hosts, the slowest of {slowest}", _middle(v)) for name, v in result["figures_s"].items()]


def _rpo(result: Mapping[str, Any]) -> Rows:
    rates = [trial["tps"] for trial in result["trials"]]
    return [
        (f"difference to what the writers know, worst of {len(rates)} trials", f"{result['worst_difference_s']:.2f} s"),
        ("transactions a second", f"{min(rates):,.0f} to {max(rates):,.0f}"),
        ("lost with archiving on, median", f"{result['truth_median_s']:.2f} s"),
        ("lost with archiving on, most", f"{result['truth_max_s']:.2f} s"),
    ]


def _drill(result: Mapping[str, Any]) -> Rows:
    part = f"{result['own_steps_s']:.2f} s: {100 * result['own_steps_part']:.1f} % of the restore by hand"
    return [
        (f"`cp -a` of {result['database_bytes'] >> 20:,} MB", f"{result['cp_s']:.2f} s"),
        ("by hand: restore, start and replay", f"{result['by_hand_s']:.2f} s"),
        ("the drill: copy and replay", f"{result['restore_phases_s']:.2f} s"),
        ("the drill's own steps", part),
        ("the drill, to the first answer of the service", f"{result['rto_measured_s']:.2f} s"),
    ]


def _faults(result: Mapping[str, Any]) -> Rows:
    settled = result["settled_s_max"]
    requests = f"{result['requests']:,}, {result['requests_failed']} failed"
    return [
        ("cases that passed", f"{result['passed']} of {result['cases']}"),
        ("requests", f"{requests}, {result['requests_held']} held by the host that was hit"),
        ("jobs; times of the scheduler that came twice", f"{result['jobs']:,}; {result['slots_doubled']}"),
        ("edges on one color by themselves, at most", "not known" if settled is None else f"{settled:.2f} s"),
    ]


def _mutants(result: Mapping[str, Any]) -> Rows:
    return [
        (
            f"`{name}`",
            f"{100 * of['score']:.1f} %: {of['killed']} killed of {of['made']} made, {of['equal']} equal, "
            f"{of['survived']} survived, in {of['seconds']} s",
        )
        for name, of in result["targets"].items()
    ]


def _static(result: Mapping[str, Any]) -> Rows:
    names = {"application": "the application alone", "edge": "through HAProxy", "edge_cache": "HAProxy's cache"}
    return [
        (words, f"{result[f'{name}_per_s']:,} requests/s, p99 {result[f'{name}_p99_ms']:.1f} ms")
        for name, words in names.items()
    ]


def _bench(name: str, says: str, rows: Callable[[Mapping[str, Any]], Rows], printed: str = "") -> Bench:
    return Bench(name, f"make bench-{name}", (sys.executable, f"tests/bench/{name}.py"), says, rows, printed)


BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        _bench(
            "rollback",
            "Seconds from pressing return to the last answer of the bad version, with PostgreSQL, Redis, monitoring "
            "and the artifact store stopped; median, least and most of ten.",
            _rollback,
        ),
        _bench(
            "switch",
            "20 deploys and 20 rollbacks under 300 requests/s: requests lost, p99 against a quiet playbook, jobs lost "
            "or run twice.",
            _switch,
        ),
        _bench(
            "canary",
            "Seconds until a sound release has all traffic; seconds from the first bad answer to the last of a faulty "
            "one, and its failed requests. Medians, of releases that are judged.",
            _canary,
        ),
        _bench("replay", "Seconds to judge a recorded hour again, scraped once a second.", _replay),
        _bench(
            "simulate",
            "The judge's false rollbacks, delay and failed requests on drawn releases, against what is promised. "
            "[judge.md](judge.md#what-it-is-worth) explains the tables.",
            _simulate,
            printed=r"\d+ promises kept",
        ),
        _bench(
            "share",
            "Releases that get their share of the requests and are said not to, within an hour; and how fast those are "
            "found that get none, half or twice of it within ten minutes. Users stay on one color.",
            _share,
        ),
        _bench("edge_latency", "What counting answers by color and route costs an edge.", _edge_latency),
        _bench(
            "static",
            "A static file of 20 kB by 8 clients that keep their connections: by the application, or from a cache at "
            "the edge ([files.md](files.md#static-files)).",
            _static,
        ),
        _bench("checklist", "Seconds of a hundred checks on ten hosts, and with one more that hangs.", _checklist),
        _bench(
            "rpo",
            "The RPO that drills measure against what the writers know, the primary killed at random moments; every "
            "fifth time with archiving stopped for a minute before.",
            _rpo,
        ),
        _bench("drill", "A drill against a restore by hand and a copy of the data.", _drill),
        Bench(
            "faults",
            "make fault-matrix",
            (sys.executable, "tests/faults/matrix.py"),
            "Deploys and rollbacks cut off at tasks and at random moments, by 18 faults, under load: "
            "[faults.md](faults.md).",
            _faults,
        ),
        Bench(
            "mutants",
            "make mutants",
            ("sh", "-c", f"tests/mutants/setup.sh && exec '{sys.executable}' tests/mutants/run.py"),
            "Which share of small faults put into the code the tests notice: [mutants.md](mutants.md).",
            _mutants,
        ),
    )
}
ON_REQUEST = ("faults", "mutants")
"""They take many hours, or a part of them that the caller chooses (`MINUTES`, `TARGETS`)."""


def rows(name: str, entry: Entry) -> Rows:
    """Return the lines of a figure. Raises TurnoutError for a result that lacks what its lines need."""
    if "figures" in entry:
        return [(what, value) for what, value in entry["figures"]]
    bench = BENCHES[name]
    try:
        return bench.rows(entry["result"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as fault:
        raise TurnoutError(
            "figures-result",
            observed=f"the JSON object of {name} cannot be read: {type(fault).__name__} {fault}",
            expected=f"the keys that {bench.command} prints today",
            remedy=f"{bench.command}, and read its last line; tests/figures.py says which keys become lines",
        ) from None


# -- the data and the page ---------------------------------------------------------------------------------------


def load() -> dict[str, Entry]:
    """Return the figures that are kept, by bench. Raises TurnoutError for a file that cannot be read as such."""

    def unreadable(why: str) -> TurnoutError:
        return TurnoutError(
            "figures-data",
            observed=f"{DATA.name} cannot be read: {why}",
            expected=f'an object with "format": {FORMAT} and "benches", as make figures writes it',
            remedy=f"git checkout docs/{DATA.name}",
        )

    try:
        found = json.loads(DATA.read_text())
    except (OSError, ValueError) as fault:
        raise unreadable(str(fault)) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("benches"), dict):
        raise unreadable("it is no such object")
    for name, entry in found["benches"].items():
        if not isinstance(entry, dict) or not ({"figures", "result"} & set(entry)):
            raise unreadable(f"{name} has neither figures nor a result")
    return dict(found["benches"])


def keep(entries: Mapping[str, Entry]) -> None:
    """Write data and page; both or, where a result cannot be read, neither."""
    text = page(entries)
    for path, content in (
        (DATA, json.dumps({"format": FORMAT, "benches": entries}, indent=1, ensure_ascii=False) + "\n"),
        (PAGE, text),
    ):
        # An interrupted write must not cost the figures of other benches: those took hours.
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(content)
        beside.replace(path)


def page(entries: Mapping[str, Entry]) -> str:
    """Return docs/figures.md."""
    lines = [
        "# Figures",
        "",
        "Written by `make figures` from what the benches print; do not edit. `make figures FIGURES='rollback switch'`",
        "runs those two, and the others keep their older figures. The lab, on which they run, is seven hosts on one",
        "machine, which also makes the load. A bench has bounds of its own; where one did not hold, it is said.",
    ]
    known = [(bench.command, bench.says, name) for name, bench in BENCHES.items()]
    others = [(entry["command"], entry["says"], name) for name, entry in entries.items() if name not in BENCHES]
    for command, says, name in [*known, *others]:
        lines += ["", f"## `{command}`", "", says, ""]
        if name not in entries:
            lines.append("Not measured yet.")
            continue
        entry = entries[name]
        lines += ["| What | Seen |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows(name, entry)), ""]
        lines.append(_provenance(entry))
        if entry.get("printed"):
            lines += ["", "```text", *entry["printed"], "```"]
    return "\n".join(lines) + "\n"


def _provenance(entry: Entry) -> str:
    parts = [f"`{entry['commit']}`"] if entry.get("commit") else []
    parts += [entry[key] for key in ("date", "source") if entry.get(key)]
    if machine := entry.get("machine"):
        told = [f"on {machine['cores']} cores"]
        told += [f"{machine['memory_gib']} GiB"] if "memory_gib" in machine else []
        told += [f"Linux {machine['kernel']}"] if "kernel" in machine else []
        parts.append(", ".join(told))
    text = ("Measured at " if entry.get("commit") else "") + ", ".join(parts)
    return text + ("." if entry.get("held", True) else ". **A bound did not hold.**")


# -- running -----------------------------------------------------------------------------------------------------


def stamp() -> Entry:
    """Return the commit, the date and the machine of a measurement that begins now."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout

    commit = git("rev-parse", "--short", "HEAD").strip() or "unknown"
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "commit": commit + ("-dirty" if changed(git("status", "--porcelain")) else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else 0.0,
            "kernel": platform.release(),
        },
    }


def changed(status: str) -> bool:
    """Tell whether git's short status names more than the figures themselves, which change as they are measured."""
    own = {f"docs/{name}" for name in ("figures.json", "figures.md")}
    return any(line[3:] not in own for line in status.splitlines())


def measured(bench: Bench) -> Entry:
    """Run a bench, showing what it prints; return what is kept. Raises TurnoutError where that cannot be read."""
    mark = stamp()
    lines: list[str] = []
    with subprocess.Popen(
        bench.program, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
    entry: Entry = {**mark, "held": process.returncode == 0, "result": _result(bench, lines, process.returncode)}
    if bench.printed:
        ends = next((at for at, line in enumerate(lines) if re.match(bench.printed, line)), len(lines) - 1)
        entry["printed"] = [line.rstrip() for line in lines[:ends]]
    rows(bench.name, entry)
    return entry


def _result(bench: Bench, lines: Sequence[str], code: int) -> Entry:
    last = next((line for line in reversed(lines) if line.strip()), "")

    def unreadable(observed: str) -> TurnoutError:
        return TurnoutError(
            "figures-output",
            observed=f"{bench.name}: {observed} (exit code {code})",
            expected="one JSON object of that bench on the last line of its output",
            remedy=f"{bench.command}, and read its end; the older figure was kept",
        )

    try:
        found = json.loads(last)
    except ValueError:
        raise unreadable(f"no JSON object last, but {last[:200]!r}" if last else "it printed nothing") from None
    if not isinstance(found, dict):
        raise unreadable(f"no JSON object last, but {last[:200]!r}")
    named = found.get("bench", bench.name)
    if named != bench.name:
        raise unreadable(f"the JSON object is that of bench {named}")
    return found


def chosen(names: Sequence[str]) -> list[Bench]:
    """Return the benches named, by default all that do not take many hours. Raises TurnoutError for an unknown one."""
    if list(names) == ["none"]:
        return []
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        known = [name for name in names if name in BENCHES] or ["rollback"]
        raise TurnoutError(
            "figures-bench",
            observed=f"there is no bench {', '.join(unknown)}",
            expected=f"any of {', '.join(BENCHES)}; or none, which only writes the page",
            remedy=f"make figures FIGURES='{' '.join(known)}'",
        )
    return [bench for name, bench in BENCHES.items() if (name in names if names else name not in ON_REQUEST)]


def main(names: Sequence[str]) -> int:
    """Run the benches named, one after the other, and keep each one's figures as soon as it has ended."""
    try:
        benches = chosen(names)
        entries = load()
        keep(entries)
    except TurnoutError as fault:
        print(fault, file=sys.stderr)
        return 2
    good = True
    for bench in benches:
        print(f"\n== {bench.command}", flush=True)
        try:
            entries = {**load(), bench.name: measured(bench)}
            keep(entries)
            good = good and bool(entries[bench.name]["held"])
        except TurnoutError as fault:
            print(fault, file=sys.stderr)
            good = False
        except KeyboardInterrupt:
            left = " ".join(one.name for one in benches[benches.index(bench) :])
            print(f"\n{bench.command} was ended; to go on: make figures FIGURES='{left}'", file=sys.stderr)
            return 130
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
