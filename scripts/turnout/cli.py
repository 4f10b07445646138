"""The command line's face: `turnout COMMAND`.

Commands are loaded when they are called, so that `turnout status` does not pay for importing boto3.
"""

from __future__ import annotations

import turnout.quiet_start  # isort: split

import importlib.util
import os
import sys

import click
from click.shell_completion import CompletionItem

from turnout.command.playbooks import ENTRIES, PlaybookCommand
from turnout.errors import TurnoutError

# Group name -> (module, attribute, one line for --help).
GROUPS: dict[str, tuple[str, str, str]] = {
    "acceptance": ("turnout.acceptance.cli", "acceptance", ENTRIES["acceptance"].what),
    "dashboard": (
        "turnout.observe.cli",
        "dashboard",
        "Show how all is; check that panels and alerts see something.",
    ),
    "drill": ("turnout.drill.cli", "drill", ENTRIES["drill"].what),
    "init": (
        "turnout.init.cli",
        "init",
        "Write a repository for a service of your own: inventory, settings, objectives.",
    ),
    "judge": (
        "turnout.judge.cli",
        "judge",
        "Judge recorded releases again, and report them.",
    ),
    "release": ("turnout.release.cli", "release", "Build, sign, publish and verify releases."),
    "run": ("turnout.command.service_command", "command", ENTRIES["run"].what),
    "runbook": (
        "turnout.command.runbook",
        "runbook",
        "Show what to do at night, and check that it can be done.",
    ),
    "schema": ("turnout.key_docs", "command", "Print the JSON Schema of a file that people write, for editors."),
    "slo": ("turnout.slo.cli", "slo", "Check SLOs, and write Prometheus rules from them."),
}
if importlib.util.find_spec("turnout.lab") is not None:  # in a checkout: the lab is no part of what is installed
    GROUPS["lab"] = ("turnout.lab.cli", "lab", "Run real hosts on this machine, to try and test on.")
PLAYBOOKS = {name: entry.what for name, entry in ENTRIES.items()}
TOOLS = {name: row[2] for name, row in GROUPS.items() if name not in PLAYBOOKS}
NAMES = {**PLAYBOOKS, **TOOLS}


class _LazyGroup(click.Group):
    """A click group whose members are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in GROUPS:
            module, attribute, _ = GROUPS[cmd_name]
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)  # noqa: S101 - a wrong table is a defect, not user input
            return command
        return PlaybookCommand(cmd_name) if cmd_name in ENTRIES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, rows in (("Playbooks, run by ansible-playbook", PLAYBOOKS), ("Tools", TOOLS)):
            with formatter.section(title):
                formatter.write_dl(sorted(rows.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing any."""
        names = [CompletionItem(name, help=NAMES[name]) for name in sorted(NAMES) if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the versions of what was installed together, and of Ansible under it."""
    if not wanted or ctx.resilient_parsing:
        return
    from turnout.command.versions import lines  # noqa: PLC0415 - only this option asks

    click.echo("\n".join(lines()))
    ctx.exit()


@click.group(cls=_LazyGroup)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the versions of the package, the collection and ansible-core.")  # fmt: skip
def cli() -> None:
    """Release and recovery automation with Ansible."""


def main() -> None:
    """Run the command line; a `TurnoutError` becomes its message and exit code 2."""
    turnout.quiet_start.over()
    _open_streams()
    try:
        cli()
    except TurnoutError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        if not error.filename:
            raise
        # Of a file that no command looks out for by itself.
        told = TurnoutError(
            "file-fault",
            observed=f"{error.filename}: {error.strerror}",
            expected="a file or folder that is there, and can be read or written",
            remedy="check its path, its permissions and the free space, then run the same command again",
        )
        click.echo(str(told), err=True)
        sys.exit(2)


def _open_streams() -> None:
    """Put /dev/null where this process was started with a closed stream: a file opened later would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - it stays
