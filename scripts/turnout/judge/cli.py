"""`turnout judge`: replay recorded releases and report them; in a checkout, simulate."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from turnout import tables
from turnout.judge import records
from turnout.judge.model import Judgement, Verdict
from turnout.judge.replay import replay
from turnout.judge.report import amount, judgement_json, percent, reason
from turnout.slo import parse
from turnout.slo.model import for_judge


@click.group()
def judge() -> None:
    """Judge recorded releases again, and report them."""


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
    rows = [("from", "to", "share", "verdict", "E", "of", "why")]
    rows += [
        (
            f"{first.t_s:.1f} s",
            f"{last.t_s:.1f} s",
            f"{first.share_bp / 100:.2f} %",
            first.verdict.value,
            amount(first.value),
            f"{first.threshold:.0f}",
            reason(first),
        )
        for first, last, _ in _spans(judgements)
    ]
    click.echo("\n".join(f"  {line}" for line in tables.lines(rows, right=(0, 1, 2, 4, 5))))
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


# A tool of development, which is in a checkout and not in what a controller installs.
if importlib.util.find_spec("turnout.judge.simulation") is not None:
    judge.add_command(importlib.import_module("turnout.judge.simulation.cli").simulate_command)
