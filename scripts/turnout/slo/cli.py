"""`turnout slo`: check SLOs, and write what Prometheus and Alertmanager need from them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import yaml

from turnout import tables
from turnout.errors import TurnoutError
from turnout.promtool import try_rules
from turnout.slo import parse, promtests, rules
from turnout.slo.model import Slo

RULES, TESTS = Path("rules"), Path("tests")
ROUTES = Path("alertmanager/slo.yml")
_HEADER = "# Written by `turnout slo rules` from the SLO files, the only place where an objective is written.\n"


@click.group()
def slo() -> None:
    """Check SLOs, and write Prometheus rules from them."""


_FOLDER = click.argument("slo_folder", metavar="DIR", type=click.Path(path_type=Path))


@slo.command("check")
@_FOLDER
def check_command(slo_folder: Path) -> None:
    """Read the SLOs of DIR, show them, and report every fault in them."""
    slos = parse.load(slo_folder)
    parse.check(slos)
    rows = [("slo", "service", "type", "objective", "window", "weight", "reads")]
    for each in slos.values():
        metrics = ", ".join(source.selector.metric for source in each.sources)
        objective = f"{rules.number(100 * each.objective)} %"
        rows.append((each.name, each.service, each.kind.value, objective, each.window, f"{each.weight:g}", metrics))
    click.echo("\n".join(tables.lines(rows, right=(3, 4, 5))))


class _Dumper(yaml.SafeDumper):
    """Writes every value out where it stands, so that a rule can be read by itself."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _dump(value: object) -> str:
    return _HEADER + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


def files(slos: Mapping[str, Slo], *, page: str, ticket: str) -> dict[Path, str]:
    """Return the files that are written, by their path below the output folder."""
    written: dict[Path, str] = {}
    for name, each in slos.items():
        file = f"slo-{name}.yml"
        written[RULES / file] = _dump(rules.rule_file(each))
        written[TESTS / file] = _dump(promtests.test_file(each, f"../{RULES / file}"))
    return written | {ROUTES: _dump(rules.alertmanager(page=page, ticket=ticket))}


def _promtool(folder: Path, written: Iterable[Path]) -> None:
    paths = list(written)
    try_rules(
        folder, *([path for path in paths if path.parent == below] for below in (RULES, TESTS)),
        code="slo-rules", expected="rules that promtool accepts and whose tests pass",
        remedy="report it with the SLO files: the rules and their tests are both generated",
    )  # fmt: skip


@slo.command("rules")
@_FOLDER
@click.option("--out", type=click.Path(path_type=Path), help=f"Folder for {RULES}/, {TESTS}/ and {ROUTES}.")
@click.option("--test", "run_tests", is_flag=True, help="Check the rules and run their unit tests with promtool.")
@click.option("--page-receiver", default="page", show_default=True, help="Alertmanager's receiver of pages.")
@click.option("--ticket-receiver", default="ticket", show_default=True, help="Its receiver of tickets.")
def rules_command(
    slo_folder: Path, out: Path | None, run_tests: bool, page_receiver: str, ticket_receiver: str
) -> None:
    """Write recording and alerting rules, their unit tests and alert routing for the SLOs of DIR.

    Without --out the rules are printed.
    """
    slos = parse.load(slo_folder)
    parse.check(slos)
    written = files(slos, page=page_receiver, ticket=ticket_receiver)
    with tempfile.TemporaryDirectory(prefix="turnout-slo-") as scratch:
        folder = out or Path(scratch)
        try:
            for path, content in written.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content, encoding="utf-8")
        except OSError as error:
            raise TurnoutError(
                "slo-unwritable",
                observed=f"{error.filename or folder}: {error.strerror}",
                expected="a folder that can be written",
                remedy="name another one: --out DIR, or make room there",
            ) from error
        if run_tests:
            _promtool(folder, written)
    if out is None:
        click.echo("---\n".join(content for path, content in written.items() if path.parent == RULES), nl=False)
    else:
        for path in written:
            click.echo(str(out / path), err=True)
    for each in slos.values():
        for burn in rules.BURNS:
            if not burn.reachable(each):
                click.echo(
                    f"{each.name}: no alert at {rules.number(burn.factor)} times the budget: "
                    f"an objective of {rules.number(100 * each.objective)} % can never burn that fast",
                    err=True,
                )
