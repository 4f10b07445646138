"""`turnout runbook`: what to do at 3 a.m., and whether it can be done as it is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from turnout import runbooks, tables
from turnout.counts import counted
from turnout.faults import FaultsError

_FOLDER = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=runbooks.PAGES,
    help="Pages of your own, of the same form; by default those of Turnout.",
)


@click.group()
def runbook() -> None:
    """Show what to do at night, and check that it can be done."""


@runbook.command("list")
@_FOLDER
def list_(folder: Path) -> None:
    """List the runbooks, with the alerts that lead to them."""
    books = [runbooks.load(name, folder) for name in runbooks.names(folder)]
    rows = [("runbook", "what", "alerts"), *((one.name, one.title, ", ".join(one.alerts)) for one in books)]
    click.echo("\n".join(tables.lines(rows)))


@runbook.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="json: the steps as data.")
@_FOLDER
def show(name: str, form: str, folder: Path) -> None:
    """Show one runbook."""
    book = runbooks.load(name, folder)
    if form == "text":
        click.echo(book.text, nl=False)
        return
    steps = [asdict(step) for step in book.steps]
    told = {"name": book.name, "title": book.title, "alerts": book.alerts, "steps": steps}
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


@runbook.command()
@click.argument("names", nargs=-1)
@_FOLDER
def check(names: tuple[str, ...], folder: Path) -> None:
    """Check each command, option, variable, unit, path and alert of runbooks; run nothing. Without names: of all."""
    books = [runbooks.load(name, folder) for name in names or runbooks.names(folder)]
    faults = [fault for book in books for fault in runbooks.check(book)]
    if faults:
        raise FaultsError("runbook-faults", "the runbooks", faults)
    steps = sum(len(book.steps) for book in books)
    click.echo(f"{counted(len(books), 'runbook')} with {counted(steps, 'step')}: every command can be run as it stands")
