"""`turnout judge simulate`: what the judge is worth.

What draws the releases is imported where it is run: numpy takes its time.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from turnout.errors import TurnoutError

if TYPE_CHECKING:
    from turnout.judge.simulation import table


def _need(condition: bool, option: str, seen: object, expected: str) -> None:
    if not condition:
        raise TurnoutError(
            "simulate-option",
            observed=f"{option} {seen}",
            expected=expected,
            remedy=f"turnout judge simulate {option} VALUE, see turnout judge simulate --help",
        )


@click.command("simulate")
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
