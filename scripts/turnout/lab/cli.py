"""`turnout lab`: the commands."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from turnout.errors import TurnoutError
from turnout.lab import bring_up, image
from turnout.lab.bring_up import Progress
from turnout.lab.topology import Lab, host_named


@click.group()
def lab() -> None:
    """Run real hosts on this machine, to try and test on.

    TURNOUT_LAB names the lab (default: turnout); TURNOUT_LAB_SUBNET is its network (default: 10.77.0);
    TURNOUT_LAB_SUITE is the Debian release of its hosts (default: trixie).
    """


def _progress() -> Progress:
    return Progress(click.echo)


@lab.command()
@click.option("--suite", type=click.Choice(image.SUITES), help="Debian release of the hosts (default: trixie).")
@click.option("--fresh", is_flag=True, help="Make every host anew, with an empty disk.")
def up(suite: str | None, fresh: bool) -> None:
    """Bring the lab up; what already works is kept."""
    this = Lab.from_environment()
    say = _progress()
    bring_up.up(this, suite, say, fresh=fresh)
    say(f"lab {this.name} is up; try: turnout lab ssh edge1")


@lab.command()
def down() -> None:
    """Remove the lab's hosts and network; the image stays."""
    this = Lab.from_environment()
    bring_up.down(this, _progress())


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def status(as_json: bool) -> None:
    """Show every host; exit code 0 when all are up, 1 when not."""
    found = bring_up.status(Lab.from_environment())
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_table(found)))
    sys.exit(0 if found["up"] else 1)


# What follows HOST belongs to the command there, its options too.
@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(host: str, command: tuple[str, ...]) -> None:
    """Log in on HOST as root, or run COMMAND there."""
    this = Lab.from_environment()
    address = this.address(host_named(host))
    if not this.known_hosts.exists():
        raise TurnoutError(
            "lab-not-up",
            observed=f"the lab {this.name} has no {this.known_hosts}",
            expected="a lab that is up",
            remedy="turnout lab up",
        )
    # fmt: off
    words = [
        "ssh", "-i", str(this.private_key), "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5",
        "-o", f"UserKnownHostsFile={this.known_hosts}", "-o", "StrictHostKeyChecking=yes",
        f"root@{address}", *command,
    ]
    # fmt: on
    sys.stdout.flush()
    os.execvp("ssh", words)  # noqa: S606 - the session takes this process's place, terminal and exit code


@lab.command("image")
@click.option(
    "--suite",
    type=click.Choice(image.SUITES),
    envvar="TURNOUT_LAB_SUITE",
    default=image.DEFAULT_SUITE,
    show_default=True,
    help="Debian release of the hosts.",
)
@click.option("--rebuild", is_flag=True, help="Build it even where it is there.")
@click.option("--prune", is_flag=True, help="Remove images of older recipes that no host uses.")
def image_command(suite: str, rebuild: bool, prune: bool) -> None:
    """Build the hosts' image where it is not there yet."""
    say = _progress()
    hosts = bring_up.open_lab(Lab.from_environment(), say)
    reference = image.ensure(hosts.podman, suite, say, rebuild=rebuild)
    say(f"ready: {reference}")
    if prune:
        removed = image.prune(hosts.podman)
        say(f"removed: {' '.join(removed)}" if removed else "no older image to remove")


def _table(found: dict[str, Any]) -> list[str]:
    lines = [
        f"lab {found['name']}  {found['subnet']}  {found['suite'] or '-'}  keys in {found['state_dir']}",
        f"{'HOST':8} {'ADDRESS':15} {'STATE':10} {'SSH':4} {'SYSTEMD':10} FAILED UNITS",
    ]
    for row in found["hosts"]:
        failed = " ".join(row["failed_units"]) or "-"
        ssh_word = "yes" if row["ssh"] else "no"
        systemd = row["systemd"] or "-"
        lines.append(f"{row['name']:8} {row['address']:15} {row['state']:10} {ssh_word:4} {systemd:10} {failed}")
    return lines
