"""`turnout acceptance`: check what a release is to be asked, and ask it of a candidate."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from turnout import tables
from turnout.acceptance.declared import PACKS
from turnout.acceptance.extra import without
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.load import needed
from turnout.command.playbooks import PlaybookCommand, PlaybookGroup
from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.release.build import MARKER
from turnout.release.manifest import from_dict, parse

if TYPE_CHECKING:
    from turnout.acceptance.outcome import Outcome

_PATH = click.Path(path_type=Path)


class _Group(PlaybookGroup):
    """`turnout acceptance 1.5.0` runs the playbook."""

    own = "release"


@click.group(cls=_Group)
def acceptance() -> None:
    """Ask a candidate what its release declares, before users meet it.

    `turnout acceptance 1.5.0` asks it in the cage, by the playbook. The other commands ask one that runs already.

    \b
    ansible-playbook turnout.ops.acceptance -e release=1.5.0    # the same as the first
    """


acceptance.add_command(PlaybookCommand("acceptance"), "release")


@acceptance.command("check")
@click.argument("release", type=_PATH)
def check(release: Path) -> None:
    """Check the packs in the folder RELEASE; ask nothing of anybody.

    \b
    Example:
      turnout acceptance check app/
    """
    found = needed(release)
    click.echo(f"packs       {', '.join(found.declared.packs)}")
    click.echo(f"document    {found.declared.document}, {counted(len(found.document.operations), 'operation')}")


@acceptance.command("run")
@click.argument("release", type=_PATH)
@click.option("--url", required=True, help="Where the candidate answers, without the document's own base path.")
@click.option("--stable", type=_PATH, help="OpenAPI document of the release in service, for the pack compatible.")
@click.option("--only", multiple=True, type=click.Choice(PACKS), help="Ask this pack only; may be repeated.")
@click.option("--reading", is_flag=True, help="Send only GET and HEAD: what may be asked of a production.")
@click.option(
    "--header-from", "header_names", multiple=True, metavar="NAME=VARIABLE",
    help="Send the header NAME with the value of that environment variable; may be repeated.",
)  # fmt: skip
@click.option("--ca-file", type=_PATH, help="Certificate authority of the candidate's address, if not a public one.")
@click.option("--cage", is_flag=True, help="The candidate is in a cage: packs may change its data wherever it answers.")
@click.option("--kill", default="", metavar="COMMAND", help="Kills the candidate's workers and starts them again.")
@click.option("--clock", default="", metavar="COMMAND", help="Sets the candidate's clock to $TURNOUT_NOW (UTC).")
@click.option("--cache-empty", default="", metavar="COMMAND", help="Empties the candidate's cache.")
@click.option("--cache-stop", default="", metavar="COMMAND", help="Stops the candidate's cache.")
@click.option("--cache-start", default="", metavar="COMMAND", help="Starts it again.")
@click.option("--database-from", metavar="VARIABLE", help="Environment variable with the candidate's database address.")
@click.option("--log", "logs", multiple=True, type=_PATH, help="A log of the candidate, for canaries; may be repeated.")
@click.option("--log-command", "log_commands", multiple=True, metavar="COMMAND", help="Prints a log; may be repeated.")
@click.option(
    "--canary-from", "canaries", multiple=True, metavar="VARIABLE",
    help="The value of that environment variable may be shown nowhere; may be repeated.",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="Do not check the candidate's certificate: by a tunnel, say.")
@click.option("--seconds", type=click.IntRange(1), help="Ask no longer, whatever the packs' own budget is.")
@click.option("--manifest", type=_PATH, help="The release's manifest, for its checksum in the outcome.")
@click.option("--out", type=_PATH, help="Write the outcome as JSON into this file.")
@click.option("--variables", type=_PATH, help="Write the secrets that the commands name into this file (mode 0600).")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON instead of text.")
def run_command(
    release: Path,
    *,
    url: str,
    stable: Path | None,
    only: tuple[str, ...],
    reading: bool,
    header_names: tuple[str, ...],
    ca_file: Path | None,
    cage: bool,
    kill: str,
    clock: str,
    cache_empty: str,
    cache_stop: str,
    cache_start: str,
    database_from: str | None,
    logs: tuple[Path, ...],
    log_commands: tuple[str, ...],
    canaries: tuple[str, ...],
    insecure: bool,
    seconds: int | None,
    manifest: Path | None,
    out: Path | None,
    variables: Path | None,
    as_json: bool,
) -> None:
    """Ask the packs in the folder RELEASE of a candidate at --url.

    Without --reading it makes accounts and changes data: ask a candidate that has data of its own, on this machine or
    in a cage (--cage). Exit code 0 where
    everything was asked and nothing was found, 1 where something was found or is not known, 2 where nothing could be
    asked.

    \b
    Examples:
      turnout acceptance run app/ --url http://127.0.0.1:8001 --stable stable-openapi.yml
      turnout acceptance run app/ --url http://127.0.0.1:8001 --only contract --variables secrets.sh
      turnout acceptance run app/ --url https://shop.example.com --reading --out outcome.json
    """
    questions = needed(release)
    try:
        from turnout.acceptance.run import Asked, run  # noqa: PLC0415 - schemathesis is an extra, and slow to import
    except ModuleNotFoundError as error:
        raise without(error.name) from None
    about = _release(release, manifest)
    outcome = run(
        questions,
        Asked(
            url=_checked(url), stable=stable, only=only, reading=reading, headers=_headers(header_names),
            ca_file=ca_file, verify=not insecure, seconds=seconds, name=about.name, version=about.version,
            artifact_sha256=about.sha256,
            cage=cage,
            hooks=Hooks(
                kill=kill, clock=clock, database=_value("--database-from", database_from),
                cache_empty=cache_empty, cache_stop=cache_stop, cache_start=cache_start,
                logs=logs, log_commands=log_commands,
                canaries={name.lower(): _value("--canary-from", name) for name in canaries},
            ),
        ),
    )  # fmt: skip
    text = json.dumps(outcome.as_dict(), indent=2)
    if out is not None:
        out.write_text(f"{text}\n", encoding="utf-8")
    if variables is not None:
        _write_secret(variables, outcome.variables)
    click.echo(text if as_json else "\n".join(_told(outcome)))
    sys.exit(0 if outcome.verdict == "pass" else 1)


@dataclass(frozen=True)
class _Release:
    """What is known of the release beside its folder."""

    name: str | None = None
    version: str | None = None
    sha256: str | None = None


def _release(folder: Path, manifest: Path | None) -> _Release:
    """Return what the manifest says, or the marker that a host keeps in a release's folder."""
    if manifest is not None:
        found = parse(manifest.read_bytes(), file=str(manifest))
    else:
        try:
            found = from_dict(json.loads((folder / MARKER).read_bytes())["manifest"])
        except (OSError, ValueError, KeyError, TypeError, TurnoutError):
            return _Release()
    return _Release(found.name, found.version, found.artifact.sha256)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        seen = "" if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else "no address of HTTP"
    except ValueError:
        seen = "an address that cannot be read"
    if not seen and (parts.username is not None or parts.query or parts.fragment):
        seen = "an address with a user, ? or # in it"
    if seen:
        raise TurnoutError(
            "acceptance-url",
            observed=f"--url is {seen}",
            expected="the address of the candidate, such as http://127.0.0.1:8001",
            remedy="--url http://127.0.0.1:8001; a header by --header-from NAME=VARIABLE",
        )
    return url


def _value(option: str, variable: str | None) -> str:
    value = os.environ.get(variable, "") if variable is not None else ""
    if variable is not None and not value:
        raise TurnoutError(
            f"acceptance-{option.strip('-').partition('-')[0]}",
            observed=f"{option} {variable}: no environment variable of that name, or an empty one",
            expected="a variable of the environment that holds the value",
            remedy=f"export {variable}=..., then the same command again",
        )
    return value


def _headers(given: Iterable[str]) -> dict[str, str]:
    made = {}
    for one in given:
        name, separator, variable = one.partition("=")
        value = os.environ.get(variable, "")
        if not separator or not name or not value:
            raise TurnoutError(
                "acceptance-header",
                observed=f"--header-from {name}: no environment variable of that name, or an empty one",
                expected="NAME=VARIABLE, with the header's value in the variable",
                remedy=f"export VARIABLE, then --header-from {name or 'X-Candidate'}=VARIABLE",
            )
        made[name] = value
    return made


def _write_secret(file: Path, variables: Mapping[str, str]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _told(outcome: Outcome) -> Iterable[str]:
    """Yield the lines that a person reads."""
    rows = [("pack", "operation", "where", "what")]
    rows += [(one.pack, one.operation, one.field, one.what) for one in outcome.findings]
    if outcome.findings:
        yield from (f"  {line}" for line in tables.lines(rows, most=(12, 36, 24, 60), ruled=True))
        yield ""
        yield "to repeat (secrets are variables: --variables FILE writes them):"
        for number, one in enumerate(outcome.findings, 1):
            yield f"  {number}. {one.operation}, {one.field}: {one.curl}"
        yield ""
    for gap in outcome.unknown:
        yield f"not known: {gap.pack}: {gap.operation}: {gap.why}"
    yield (
        f"{outcome.verdict}: {counted(len(outcome.findings), 'finding')}, {len(outcome.unknown)} not known; "
        f"{', '.join(outcome.packs)}; {counted(outcome.requests, 'request')} in {outcome.took_s:.1f} s"
    )
