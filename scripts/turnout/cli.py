"""The command line's face: `turnout GROUP COMMAND`.

Groups are loaded when they are called, so that `turnout lab status` does not pay for importing boto3.
"""

from __future__ import annotations

import importlib
import sys

import click

from turnout.errors import TurnoutError

# Group name -> (module, attribute, one line for --help).
GROUPS: dict[str, tuple[str, str, str]] = {
    "drill": ("turnout.drill.cli", "drill", "Report what restore drills measured, and answer the release gate."),
    "init": (
        "turnout.init.cli",
        "init",
        "Write a repository for a service of your own: inventory, settings, objectives.",
    ),
    "judge": (
        "turnout.judge.cli",
        "judge",
        "Judge recorded releases again, report them, and simulate what the judge is worth.",
    ),
    "lab": ("turnout.lab.cli", "lab", "Run real hosts on this machine, to try and test on."),
    "release": ("turnout.release.cli", "release", "Build, sign, publish and verify releases."),
    "slo": ("turnout.slo.cli", "slo", "Check SLOs, and write Prometheus rules from them."),
}


class _LazyGroup(click.Group):
    """A click group whose members are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in GROUPS:
            return None
        module, attribute, _ = GROUPS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a wrong table is a defect, not user input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in sorted(GROUPS.items())])


@click.group(cls=_LazyGroup)
@click.version_option(package_name="turnout", prog_name="turnout")
def cli() -> None:
    """Release and recovery automation with Ansible."""


def main() -> None:
    """Run the command line; a `TurnoutError` becomes its message and exit code 2."""
    try:
        cli()
    except TurnoutError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
