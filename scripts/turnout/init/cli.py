"""`turnout init`: ask, or take options; write; say what to do next."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from turnout.faults import Fault, FaultsError
from turnout.init import answers as known
from turnout.init.answers import Answers, Host
from turnout.init.repository import always, refuse_present, render, write

_NEXT = """\
next, in {folder}:
  git init && git add . && git commit -m "Begin"      .vault-password stays out of it: keep a copy in a safe place
  ansible-playbook turnout.ops.check                  whether what you change fits together; asks no host
  turnout release keygen --key release.key --principal ci@example.org \\
      --allowed-signers inventories/{environment}/allowed_signers
  ansible-playbook turnout.ops.site                   install what a release stands on
  turnout release build FOLDER --name {service} --version 1.0.0 --key release.key --out build
  turnout release publish build/{service}-1.0.0.release.yml --to {releases}
  ansible-playbook turnout.ops.deploy -e release=1.0.0
Look through inventories/{environment}/group_vars/all/service.yml first: environment, drain times, steps."""


def on_terminal() -> bool:
    """Tell whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--service", help="Name of the service.")
@click.option(
    "--like",
    metavar="FRAMEWORK",
    help=f"Framework that the service is written in, whose service file is written: {', '.join(known.FRAMEWORKS)}.",
)
@click.option("--environment", help="Name of the inventory.  [default: production]")
@click.option("--user", help="User that Ansible logs in as, who may become root.  [default: deploy]")
@click.option("--edge", multiple=True, metavar="HOST", help="Host that runs HAProxy: NAME=ADDRESS, or a DNS name.")
@click.option("--api", multiple=True, metavar="HOST", help="Host that runs the API; may be given again.")
@click.option("--worker", multiple=True, metavar="HOST", help="Host that runs workers; may be given again.")
@click.option("--postgres", metavar="HOST", help="Host for PostgreSQL; without it Turnout installs none.")
@click.option("--redis", metavar="HOST", help="Host for Redis; without it Turnout installs none.")
@click.option("--monitoring", metavar="HOST", help="Host for Prometheus and Alertmanager.")
@click.option("--deploy-from", metavar="NETWORKS", help="Addresses that deploys are run from, to judge by Prometheus.")
@click.option("--drill", metavar="HOST", help="Host where restores are rehearsed.")
@click.option("--api-command", metavar="COMMAND", help="Starts the API, as in ExecStart: 'bin/api --port ${PORT}'.")
@click.option("--health", metavar="PATH", help="Path that answers 200 once the API can serve.")
@click.option("--worker-command", metavar="COMMAND", help="Starts a worker.")
@click.option("--scheduler-command", metavar="COMMAND", help="Starts what must run exactly once.")
@click.option("--migrate-up", metavar="COMMAND", help="Applies all pending migrations.")
@click.option("--migrate-version", metavar="COMMAND", help="Prints the number of the highest applied migration.")
@click.option("--releases", metavar="PLACE", help="Where releases lie: /FOLDER, https://… or s3://….  [/srv/releases]")
@click.option("--yes", is_flag=True, help="Ask nothing, as whenever an option is given.")
def init(folder: Path, *, yes: bool, **options: Any) -> None:
    """Write a repository for a service of your own into DIR: inventory, service file, objectives, settings.

    On a terminal it asks. With options it asks nothing: --service, --edge, --api, --api-command and --health are
    needed then; --like gives the last two (docs/applications of Turnout). DIR is made where it is not there; files
    that are there already are never touched.
    """
    given = {key: value for key, value in options.items() if value}
    asked = not given and not yes and on_terminal()
    if asked:
        refuse_present(folder, always(Answers.environment))  # before somebody has answered it all
    answers = _ask(folder) if asked else _from_options(given)
    made = render(answers)
    write(folder, made)
    click.echo(f"written into {folder}:")
    for path in sorted(made):
        click.echo(f"  {path}")
    click.echo(
        _NEXT.format(folder=folder, environment=answers.environment, service=answers.service, releases=answers.releases)
    )
    if answers.like:
        click.echo(f"docs/applications/{answers.like}.md of Turnout tells what belongs into FOLDER, and the traps.")


def _from_options(given: dict[str, Any]) -> Answers:
    faults: list[Fault] = []
    groups: dict[str, tuple[Host, ...]] = {}
    hosts: dict[str, Host] = {}
    for group in known.PURPOSES:
        value = given.pop(group, "")
        text = value if isinstance(value, str) else ",".join(value)
        try:
            groups[group] = known.hosts_of(text, hosts)
        except ValueError as error:
            faults.append(Fault(f"--{group}", str(error), known.HOST_FORM, f"correct --{group}"))
        # Also those beside a wrong one: other groups may name them without their address.
        hosts |= {host.name: host for host in groups.get(group) or known.readable_hosts(text, hosts)}
    networks: tuple[str, ...] = ()
    try:
        networks = known.networks_of(given.pop("deploy_from", ""))
    except ValueError as error:
        faults.append(Fault("--deploy-from", str(error), "addresses or networks with commas between", "correct it"))
    like = given.get("like", "").lower()
    texts = {
        "service": "",
        "api_command": "",
        "health": known.FRAMEWORKS.get(like, "/" if like else ""),
        **given,
        "like": like,
    }
    answers = Answers(groups=groups, deploy_from=networks, **texts)
    if faults:
        # What is wrong besides is told too, but not that a group is empty which only could not be read.
        try:
            known.check(answers)
        except FaultsError as error:
            told = {fault.path for fault in faults}
            faults += [fault for fault in error.faults if fault.path not in told]
        raise FaultsError("init-invalid", "what the repository is to be made of", faults)
    return answers


def _ask(folder: Path) -> Answers:
    """Ask on the terminal. Enter takes what stands in brackets; where nothing stands there, it means none."""
    likely = re.sub(r"[-_.]?ops$", "", folder.resolve().name.lower())
    hosts: dict[str, Host] = {}
    groups: dict[str, tuple[Host, ...]] = {}

    def ask_hosts(group: str, question: str, *, needed: bool = False) -> bool:
        def read(text: str) -> tuple[Host, ...]:
            try:
                found = known.hosts_of(text, hosts)
            except ValueError as error:
                raise click.UsageError(f"{error}; expected {known.HOST_FORM}") from error
            if needed and not found:
                raise click.UsageError(f"at least one; expected {known.HOST_FORM}")
            if group in known.ONE_HOST and len(found) > 1:
                raise click.UsageError("one host")
            return found

        groups[group] = click.prompt(question, default="", show_default=False, value_proc=read)
        hosts.update({host.name: host for host in groups[group]})
        return bool(groups[group])

    click.echo(f"Hosts are written as {known.HOST_FORM}; several with commas between. Enter alone: none.")
    service = _text("Name of the service", known.name_fault, "" if known.name_fault(likely) else likely)
    ask_hosts("edge", "Hosts for HAProxy, where users come in (two, so that one may fail)", needed=True)
    ask_hosts("api", "Hosts for the API", needed=True)
    workers = ask_hosts("worker", "Hosts for workers")
    database = ask_hosts("postgres", "Host for PostgreSQL (none: you have your own, or need none)")
    ask_hosts("redis", "Host for Redis (none: as above)")
    networks: tuple[str, ...] = ()
    if ask_hosts("monitoring", "Host for Prometheus, which judges releases"):
        networks = _networks()
    if database:
        ask_hosts("drill", "Host where restores are rehearsed")
    user = _text("User that Ansible logs in as, who may become root by sudo", known.user_fault, "deploy")
    texts = {"api_command": _text("Command that starts the API, e.g. bin/api --port ${PORT}", known.command_fault)}
    texts["health"] = _text("Path that answers 200 once the API can serve, e.g. /health", known.path_fault)
    if workers:
        texts["worker_command"] = _text("Command that starts a worker, e.g. bin/worker", known.command_fault)
    texts["migrate_up"] = _text("Command that applies migrations, e.g. bin/migrate up", known.command_fault, none=True)
    if texts["migrate_up"]:
        texts["migrate_version"] = _text("Command that prints the highest applied one", known.command_fault)
    texts["releases"] = _text(
        "Where releases lie: a folder here, https://… or s3://…", known.source_fault, "/srv/releases"
    )
    return Answers(service=service, user=user, groups=groups, deploy_from=networks, **texts)


def _text(question: str, fault: Callable[[str], str], default: str = "", *, none: bool = False) -> str:
    def read(text: str) -> str:
        expected = "" if none and not text else fault(text)
        if expected:
            raise click.UsageError(f"expected {expected}")
        return text

    shown = bool(default)
    answer: str = click.prompt(question, default=default or "", show_default=shown, value_proc=read)
    return answer


def _networks() -> tuple[str, ...]:
    def read(text: str) -> tuple[str, ...]:
        try:
            return known.networks_of(text)
        except ValueError as error:
            raise click.UsageError(f"{error}; expected addresses or networks with commas between") from error

    question = "Addresses or networks that deploys are run from (none: releases are not judged yet)"
    found: tuple[str, ...] = click.prompt(question, default="", show_default=False, value_proc=read)
    return found
