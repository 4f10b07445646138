"""`turnout judge`: replay recorded releases, report them, and simulate.

The simulation is imported where it is run, since nothing else needs numpy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from turnout.errors import TurnoutError
from turnout.judge import records
from turnout.judge.model import Judgement, Verdict
from turnout.judge.replay import replay
from turnout.judge.report import amount, judgement_json, percent, reason
from turnout.slo import parse
from turnout.slo.model import for_judge


@click.group()
def judge() -> None:
    """Judge recorded releases again, report them, and simulate what the judge is worth."""


def _spans(judgements: Iterable[Judgement]) -> Iterator[tuple[Judgement, Judgement, int]]:
    """Yield stretches of one verdict at one share: their first and last judgement, and how many there are."""
    first: Judgement | None = None
    last: Judgement | None = None
    count = 0
    for judgement in judgements:
        if first is None or last is None:
            first, count = judgement, 0
        elif (judgement.verdict, judgement.share_bp) != (last.verdict, last.share_bp):
            yield first, last, count
            first, count = judgement, 0
        last = judgement
        count += 1
    if first is not None and last is not None:
        yield first, last, count


def _print_table(path: str, judgements: list[Judgement]) -> None:
    """Print a recording's verdicts, one row for each stretch of the same one."""
    click.echo(path)
    click.echo(f"  {'from':>9} {'to':>9}  {'share':>7}  {'verdict':8}  {'E':>9} {'of':>4}  why")
    for first, last, _ in _spans(judgements):
        click.echo(
            f"  {first.t_s:7.1f} s {last.t_s:7.1f} s  {first.share_bp / 100:5.2f} %  "
            f"{first.verdict.value:8}  {amount(first.value):>9} {first.threshold:4.0f}  {reason(first)}"
        )
    end = judgements[-1]
    for slo in end.slos:
        colors = []
        for color, rate in (("candidate", slo.candidate), ("stable", slo.stable)):
            shown = "no events" if rate.ratio is None else f"{rate.bad:.0f}/{rate.total:.0f} bad = "
            if rate.ratio is not None:
                shown += f"{percent(rate.ratio)} ({percent(rate.low)} to {percent(rate.high)})"
            colors.append(f"{color} {shown}")
        click.echo(f"  {slo.name}: {', '.join(colors)}; allowed {percent(slo.p0)}, phi {slo.phi:.3g}")
    if end.rolled_back_at_s is not None:
        click.echo(f"  rolled back at {end.rolled_back_at_s:g} s")
    elif not any(j.verdict is Verdict.ROLLBACK for j in judgements):
        click.echo(f"  not rolled back; last verdict {end.verdict.value}")


@judge.command("replay")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--slos",
    "slo_folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the OpenSLO files that the recording's SLO names refer to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a scrape.")
def replay_command(files: tuple[Path, ...], slo_folder: Path, as_json: bool) -> None:
    """Judge recorded releases again, each from a fresh start.

    A file holds one JSON object a line, one line a scrape; see docs/judge.md.
    """
    declared = for_judge(parse.load(slo_folder))
    encode = json.JSONEncoder(separators=(", ", ": ")).encode
    for path in files:
        recording = records.read(path)
        left_out = [name for name in declared if name not in recording.names]
        judgements = replay(recording, declared)
        if as_json:
            sys.stdout.writelines(encode(judgement_json(j, recording.path)) + "\n" for j in judgements)
        else:
            _print_table(recording.path, list(judgements))
        if left_out:
            click.echo(f"{recording.path}: never names {', '.join(left_out)}: judged without", err=True)


@judge.command("report")
@click.argument("source", metavar="RUN_FOLDER|RELEASE.jsonl", type=click.Path(path_type=Path))
@click.option(
    "--slos",
    "slo_folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the OpenSLO files that the release was judged by.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The HTML file; by default beside what it is of.")
def report_command(source: Path, slo_folder: Path, out: Path | None) -> None:
    """Write the HTML report of a judged release: how it ended and why, with the evidence.

    Of a run's folder it shows the run's own judgements; a recorded release is judged again.
    """
    from turnout.judge import release_page  # noqa: PLC0415

    click.echo(str(release_page.write(source, parse.load(slo_folder), out)))


def _need(condition: bool, option: str, seen: object, expected: str) -> None:
    if not condition:
        raise TurnoutError(
            "simulate-option",
            observed=f"{option} {seen}",
            expected=expected,
            remedy=f"turnout judge simulate {option} VALUE, see turnout judge simulate --help",
        )


@judge.command("simulate")
@click.option("--releases", default=10_000, show_default=True, help="Releases drawn of each kind.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same figures.")
@click.option("--jobs", type=int, help="Processes; all of the machine's cores unless given.")
@click.option("--only", help="Only the shipped kinds whose name or group holds this text.")
@click.option("--list", "list_only", is_flag=True, help="Name the shipped kinds and stop.")
@click.option("--baseline", type=float, help="Draw one kind of your own: stable's bad ratio.")
@click.option("--candidate", type=float, help="Its candidate's bad ratio; stable's unless given.")
@click.option("--objective", default=0.995, show_default=True, help="Its objective, a ratio.")
@click.option("--requests-per-s", "rate", default=200.0, show_default=True, help="Its requests a second.")
@click.option(
    "--share-bp",
    "steps",
    default="500",
    show_default=True,
    help="Its share in basis points, or its steps: 500,2500,10000.",
)
@click.option("--seconds", default=3600, show_default=True, help="How long its releases last.")
@click.option("--onset-s", default=0, show_default=True, help="Second at which its candidate turns bad.")
@click.option("--burst-size", type=float, help="Its errors come in bursts of this size on average.")
@click.option("--outage", help="Both of its colors fail for a while: RATIO:SECONDS.")
@click.option("--cold-start", help="Its candidate starts cold, a further part is bad: RATIO:SECONDS.")
@click.option("--warm-up", help="The allowance that its SLO declares: RATIO:SECONDS.")
def simulate_command(**options: Any) -> None:
    """Draw releases, and print how often and how fast they are rolled back.

    Without --baseline the shipped kinds are drawn, each judged by ours and by other tools' judges on the
    same traffic. The last line is all of it as JSON.
    """
    from turnout.judge.simulation import table  # noqa: PLC0415
    from turnout.judge.simulation.scenarios import custom, shipped  # noqa: PLC0415

    _need(options["releases"] > 0, "--releases", options["releases"], "a number above 0")
    if options["baseline"] is None:
        scenarios = shipped()
        if options["only"]:
            scenarios = [s for s in scenarios if options["only"] in s.name or options["only"] in s.group]
            _need(bool(scenarios), "--only", options["only"], "text that a kind named by --list holds")
        if options["list_only"]:
            for scenario in scenarios:
                click.echo(f"{scenario.group}: {scenario.name}")
            return
    else:
        scenarios = [custom(options)]
    headings: set[str] = set()
    click.echo(table.LEGEND)

    def print_result(result: table.Result) -> None:
        for text in table.lines(result, heading=result.scenario.group not in headings):
            click.echo(text)
        headings.add(result.scenario.group)

    results = table.run(
        scenarios,
        releases=options["releases"],
        seed=options["seed"],
        jobs=options["jobs"] or os.cpu_count() or 1,
        each=print_result,
    )
    promises = table.bounds(results)
    if promises:
        click.echo("\nPromises")
    for promise in promises:
        seen = "never" if promise.value is None else f"{promise.value:.4g}"
        word = "kept" if promise.kept else "NOT KEPT"
        click.echo(f"  {promise.what:72} {seen:>8}, at most {promise.limit:<8.4g} {word}")
    click.echo("")
    click.echo(json.dumps(table.summary(results, releases=options["releases"], seed=options["seed"])))
