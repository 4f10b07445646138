"""`turnout drill`: what restore drills have measured, the metrics made of it, and the release gate."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from turnout.command.playbooks import PlaybookCommand, PlaybookGroup
from turnout.drill import objectives as recovery
from turnout.drill import table
from turnout.drill.gate import decide
from turnout.drill.parse import read
from turnout.drill.record import Outcome
from turnout.drill.summary import as_json, gate_json, summarize
from turnout.errors import TurnoutError

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNKNOWN: 3}

_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
_inventory = click.option(
    "--inventory",
    "-i",
    default="inventories/lab",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Inventory whose group_vars/all/recovery.yml has the targets.",
)


@click.group(cls=PlaybookGroup)
def drill() -> None:
    """Run a restore drill: `turnout drill [OPTIONS OF ansible-playbook]`, the same as `turnout drill run`.

    The other commands tell what drills measured. FILE is a file of drill records, one JSON object a line, or an edge's
    ledger.
    """


drill.add_command(PlaybookCommand("drill", called="run"))


def write_whole(path: Path, content: str, mode: int = 0o644) -> None:
    """Replace a file in one step: a reader sees the old or the new one. Raises TurnoutError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(draft).chmod(mode)
            Path(draft).rename(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TurnoutError(
            "drill-output",
            observed=f"{path}: {error}",
            expected="a place that can be written",
            remedy="name another place, or make room there",
        ) from error


@drill.command("report")
@_files
@_inventory
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a self-contained page with plots there.")
@click.option("--doc", type=click.Path(path_type=Path), help="Write the document there: docs/recovery-objectives.md.")
def report_command(
    files: tuple[Path, ...], inventory: Path, as_object: bool, html: Path | None, doc: Path | None
) -> None:
    """Show RPO and RTO by phase against their targets, the history, and the projected worst case."""
    summary = summarize(read(files), recovery.load(inventory), datetime.now(UTC))
    if html is not None:
        from turnout.drill.html import page  # noqa: PLC0415 - only a page needs it

        write_whole(html, page(summary))
    if doc is not None:
        write_whole(doc, table.document(summary, f"turnout drill report FILE... -i {inventory} --doc {doc}"))
    if as_object:
        click.echo(json.dumps(as_json(summary)))
    else:
        click.echo(table.text(summary))
        for kind, place in (("page", html), ("document", doc)):
            if place is not None:
                click.echo(f"\n{kind}: {place}")


@drill.command("gate")
@_files
@_inventory
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.pass_context
def gate_command(context: click.Context, files: tuple[Path, ...], inventory: Path, as_object: bool) -> None:
    """Tell whether the last proof of recovery is young enough and within its targets.

    Exit code 0: yes. 1: no. 3: not known, which is not yes. 2: something is wrong with the files. A FILE that does not
    exist holds no drill.
    """
    targets = recovery.load(inventory)
    present = [path for path in files if path.exists()]
    gate = decide(read(present), targets, datetime.now(UTC))
    if as_object:
        click.echo(json.dumps(gate_json(gate)))
    else:
        click.echo("\n".join(table.gate_lines(gate)))
        absent = [str(path) for path in files if path not in present]
        if absent:
            click.echo(f"  note: there is no {', '.join(absent)}")
    context.exit(EXIT_CODES[gate.outcome])


@drill.command("metrics")
@_files
@_inventory
@click.option("--out", type=click.Path(path_type=Path), help="Replace this file in one step, instead of printing.")
def metrics_command(files: tuple[Path, ...], inventory: Path, out: Path | None) -> None:
    """Write what Prometheus learns of drills, for node exporter's textfile folder.

    A FILE that does not exist holds no drill: that none has run is a figure too.
    """
    from turnout.drill.metrics import render  # noqa: PLC0415 - only this command needs it

    text = render(read([path for path in files if path.exists()]), recovery.load(inventory))
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text)
