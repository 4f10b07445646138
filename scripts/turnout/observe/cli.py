"""`turnout dashboard`: panels as a page or for Grafana, alerts as rules, and both asked of a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from turnout import tables
from turnout.beside import beside
from turnout.errors import TurnoutError
from turnout.inventory_here import inventory_here
from turnout.observe import load, rules
from turnout.observe.prometheus import Prometheus
from turnout.promtool import try_rules

_ADDRESS = (
    "{{ ((service | default({})).judge | default({})).prometheus | default('http://' ~ (monitoring_prometheus_listen"
    " | default((private_address | default(ansible_host) | default(inventory_hostname)) ~ ':9090'))) }}"
)
_INVENTORY = click.option(
    "-i", "--inventory", type=click.Path(path_type=Path), help="Inventory; by default that of ansible.cfg."
)
_PROMETHEUS = click.option(
    "--prometheus", "url", metavar="URL", help="Prometheus' address; by default the inventory's own."
)
_FILE = click.option(
    "--file",
    "own",
    type=click.Path(path_type=Path),
    help=f"The team's own panels and alerts; by default {load.FILE} beside the inventory.",
)


def _folder(inventory: Path) -> Path:
    return inventory if inventory.is_dir() else inventory.parent


def _own(own: Path | None, inventory: Path | None) -> Path | None:
    """Return the team's own file: the one that was named, else that of the inventory, where there is one."""
    if own is not None and not own.exists():
        raise TurnoutError(
            "observe-unreadable",
            observed=f"{own} is not there",
            expected="a file of panels and alerts",
            remedy="name another one, or leave --file out for the built-in ones",
        )
    if own is not None:
        return own
    try:
        return _folder(inventory or inventory_here()) / load.FILE
    except TurnoutError:
        return None  # without an inventory the built-in ones are all


def address(inventory: Path) -> str:
    """Return where the Prometheus of an inventory listens; raises `TurnoutError` where Ansible cannot tell."""
    words = [beside("ansible") or "ansible", "monitoring[0]", "-i", str(inventory), "-m", "ansible.builtin.debug",
             "-a", json.dumps({"msg": _ADDRESS})]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_VERBOSITY": "0"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r'"msg": "(https?://[^"\s]+)"', done.stdout)
    if done.returncode != 0 or found is None:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise TurnoutError(
            "prometheus-unnamed",
            observed=f"no address of Prometheus in {inventory}: " + " ".join(said)[-300:],
            expected="service.judge.prometheus, or a host in group monitoring",
            remedy="--prometheus http://HOST:9090, or mend the inventory",
        )
    return found[1]


def _prometheus(url: str | None, inventory: Path | None) -> Prometheus:
    return Prometheus(url or address(inventory or inventory_here()))


@click.group("dashboard", invoke_without_command=True)
@_INVENTORY
@_PROMETHEUS
@_FILE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("dashboard.html"),
    show_default=True,
    help="The HTML file.",
)
@click.option("--hours", type=click.FloatRange(0.05, 24 * 30), default=1.0, show_default=True, help="How far back.")
@click.pass_context
def dashboard(  # noqa: PLR0917 - each an option, given by its name
    ctx: click.Context, inventory: Path | None, url: str | None, own: Path | None, out: Path, hours: float
) -> None:
    """Draw all panels as one page from what Prometheus says now; or check, list, export them.

    The page is complete in itself: it asks nothing when it is opened.
    """
    if ctx.invoked_subcommand is not None:
        return
    from turnout.observe import page  # noqa: PLC0415 - only the page draws

    text = page.html(load.load(_own(own, inventory)), _prometheus(url, inventory), hours * 3600.0)
    _write(out, text)
    click.echo(str(out))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TurnoutError(
            "dashboard-unwritable",
            observed=f"{error.filename or path}: {error.strerror}",
            expected="a place that can be written",
            remedy="name another one, or make room there",
        ) from error


@dashboard.command("export")
@_INVENTORY
@_FILE
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def export_command(inventory: Path | None, own: Path | None, folder: Path) -> None:
    """Write the panels into DIR as dashboards of Grafana, one JSON file a page.

    Needs pip install 'turnout[dashboards]'.
    """
    from turnout.observe import grafana  # noqa: PLC0415 - an extra

    for name, text in list(grafana.dashboards(load.load(_own(own, inventory)))):
        _write(folder / name, text)
        click.echo(str(folder / name))


@dashboard.command("check")
@_INVENTORY
@_PROMETHEUS
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_command(inventory: Path | None, url: str | None, own: Path | None, as_json: bool) -> None:
    """Ask Prometheus for every panel and every alert.

    A panel without data, and an alert whose series are not there or that is not loaded, is red and named; the exit code
    is 1 then.
    """
    from turnout.observe.check import APART, IDLE, RED, Checker  # noqa: PLC0415 - only this command asks

    watched = load.load(_own(own, inventory))
    prometheus = _prometheus(url, inventory)
    found = Checker(prometheus).findings(watched)
    red = [one for one in found if one.state == RED]
    if as_json:
        value = {"prometheus": prometheus.url, "red": len(red), "findings": [one.as_dict() for one in found]}
        click.echo(json.dumps(value, indent=2))
        sys.exit(1 if red else 0)
    shown = [one for one in found if one.state in (RED, IDLE, APART)]
    if shown:
        rows = [("what", "name", "state", "seen", "to mend")]
        rows += [(one.kind, one.name, one.state, one.seen, one.remedy) for one in shown]
        click.echo("\n".join(tables.lines(rows, most=(6, 34, 8, 60, 80), ruled=True)))
    good = len(found) - len(red)
    click.echo(f"{good} of {len(found)} panels and alerts see what they read at {prometheus.url}; {len(red)} red")
    sys.exit(1 if red else 0)


@dashboard.command("rules")
@_INVENTORY
@_FILE
@click.option("--out", type=click.Path(path_type=Path), help="Folder for rules/ and tests/; else they are printed.")
@click.option("--test", "run_tests", is_flag=True, help="Check the rules and run their unit tests with promtool.")
def rules_command(inventory: Path | None, own: Path | None, out: Path | None, run_tests: bool) -> None:
    """Write the alerts as Prometheus rules, with their unit tests. turnout site lays them."""
    written, tests = rules.files(load.load(_own(own, inventory)).alerts)
    scratch = None if out else tempfile.mkdtemp(prefix="turnout-observe-")
    folder = out or Path(str(scratch))
    try:
        for below, files in (("rules", written), ("tests", tests)):
            for name, text in files.items():
                _write(folder / below / name, text)
        if run_tests and tests:
            _promtool(folder, list(tests))
    finally:
        if scratch:
            shutil.rmtree(scratch)
    if out is None:
        click.echo("".join(written.values()), nl=False)
    else:
        for below, files in (("rules", written), ("tests", tests)):
            for name in files:
                click.echo(str(out / below / name), err=True)


def _promtool(folder: Path, names: list[str]) -> None:
    try_rules(
        folder, *([Path(below) / name for name in names] for below in ("rules", "tests")), code="observe-rules",
        expected="alerts that promtool accepts, that fire in their case fires and not in their case quiet",
        remedy=f"mend the expression or the case of the alert that is named, in {load.FILE}",
    )  # fmt: skip


@dashboard.command("list")
@_INVENTORY
@_FILE
def list_command(inventory: Path | None, own: Path | None) -> None:
    """List every panel and alert, by page."""
    watched = load.load(_own(own, inventory))
    rows = [("page", "what", "name", "whose")]
    both = [(one.page, "panel", one.title) for one in watched.panels]
    both += [(one.page, one.severity, one.name) for one in watched.alerts]
    rows += [(page, what, name, "own" if name in watched.own else "built-in") for page, what, name in both]
    click.echo("\n".join(tables.lines(rows, ruled=True)))


@dashboard.command("docs")
@click.option("--into", type=click.Path(path_type=Path), help="Write the table into this page of the docs.")
def docs_command(into: Path | None) -> None:
    """Print the table of alerts, in Markdown."""
    from turnout.observe import docs  # noqa: PLC0415 - it reads every rule file

    if into is None:
        click.echo(docs.table())
    else:
        into.write_text(docs.with_table(into), encoding="utf-8")
