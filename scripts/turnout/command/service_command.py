"""`turnout run -- COMMAND`: a command in the color in service, begun by a playbook, then connected to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from turnout.ansible_options import program
from turnout.command import run
from turnout.command.attached import Attached, terminal_of
from turnout.command.playbooks import COLLECTION
from turnout.command.words import asks_or_tells_all, given, split
from turnout.errors import TurnoutError
from turnout.service.commands import CommandError, check_program

PLAYBOOK = f"{COLLECTION}.run"
LONGEST_S = 7 * 86400
_NAME = re.compile(r"(?P<id>[0-9]{8}-[0-9]{6}-[0-9a-f]{4})(?:@(?P<host>\S+))?")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _AfterDashes(click.Command):
    """A command that takes all words behind `--` as they are, and those before it as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["words"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx)[:1], "[OPTIONS OF ansible-playbook]", "[-- COMMAND...]"]


@click.command(
    cls=_AfterDashes,
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
    short_help="Run a command of the service in the color in service.",
)
@click.option("--host", default="", help="Host to run it on; by default the first of the group api.")
@click.option("--timeout", "timeout_s", type=click.IntRange(1, LONGEST_S), default=3600, show_default=True,
              help="Seconds after which it is ended.")  # fmt: skip
@click.option("--detach", is_flag=True, help="Begin it and come back; it goes on by itself.")
@click.option("--attach", metavar="ID", help="Follow a command that was begun with --detach, to its end.")
@click.option("--show", metavar="ID", help="Tell how a command was begun and ended, and what it said.")
@click.option("--stop", metavar="ID", help="End a command.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(  # noqa: PLR0917 - each an option, given by its name
    ctx: click.Context,
    host: str,
    timeout_s: int,
    detach: bool,
    attach: str | None,
    show: str | None,
    stop: str | None,
    options: tuple[str, ...],
) -> None:
    """Run a command of the service in the color in service.

    It has the environment, the user and the isolation of the API there, and this terminal. This command's exit code is
    its own. It ends with this command, unless it was begun with --detach.

    \b
    turnout run -- bin/manage createsuperuser
    turnout run -- /bin/sh -c 'echo "$DATABASE_URL" | wc -c'

    Begun by: ansible-playbook turnout.ops.run
    """
    words = list(ctx.meta["words"])
    named = attach or show or stop
    check_options(options, words, named=[one for one in (attach, show, stop) if one])
    if not named:
        check_words(words)
        ctx.exit(_begin(words, host, timeout_s, detach, options))
    ident, host = name_of(named, host)
    told = _play(options, {"command_state": "stopped" if stop else "told", "command_id": ident, "command_named": host})
    if attach and told["running"]:
        ctx.exit(_follow(told, f"{ident}@{host}"))
    if show or stop:
        click.echo(_lines(told["record"], running=told["running"]))
    if not stop:
        click.echo(told["output"], nl=False)
    ctx.exit(int(told["record"].get("rc", 1)) if attach else 0)


def check_options(options: Sequence[str], words: Sequence[str], named: Sequence[str]) -> None:
    """Refuse what cannot be meant. Raises TurnoutError."""
    stray, ansible = split(options)
    if stray:
        raise TurnoutError(
            "run-words",
            observed=f"turnout run: the word {stray[0]!r} before `--`",
            expected="options, then `--`, then the command",
            remedy=f"turnout run -- {' '.join(stray)}",
        )
    if len(named) + bool(words) != 1:
        raise TurnoutError(
            "run-words",
            observed="turnout run: " + ("no command" if not named else "a command and an ID, or several IDs"),
            expected="a command behind `--`, or one of --attach, --show and --stop",
            remedy="turnout run -- COMMAND, such as: turnout run -- bin/manage createsuperuser",
        )
    if given(ansible, "-C", "--check"):
        raise TurnoutError(
            "run-check",
            observed="turnout run: --check",
            expected="a command that is run, or none",
            remedy="take --check away; what the command itself would do, only it can tell",
        )
    if asks_or_tells_all(ansible):
        raise TurnoutError(
            "run-asks",
            observed="turnout run: an option by which Ansible asks, or prints all it says",
            expected="the terminal for the command alone",
            remedy="--become-password-file or --vault-password-file FILE; for Ansible's own words: turnout status -v",
        )


def check_words(words: Sequence[str]) -> None:
    """Refuse a command that only a shell would understand. Raises TurnoutError."""
    if not words[0].strip():
        raise TurnoutError(
            "run-words", observed="turnout run: an empty word in place of the program", expected="a program",
            remedy="turnout run -- COMMAND, such as: turnout run -- bin/manage createsuperuser",
        )  # fmt: skip
    fault, remedy = "", ""
    if any(char.isspace() for char in words[0]):
        fault = f"{words[0]!r} is one word, with blanks in it"
        remedy = f"turnout run -- {words[0]}, or a shell: turnout run -- /bin/sh -c {words[0]!r}"
    elif any(word in ("|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1") for word in words[1:]):
        fault = "a word of a shell (| && ; > <) among the command's"
        remedy = "turnout run -- /bin/sh -c '...'"
    else:
        try:
            check_program(words[0])
        except CommandError as error:
            fault, remedy = str(error), error.remedy or "turnout run -- COMMAND, by a path in the release or a name"
    if any("\0" in word for word in words):
        fault, remedy = "a NUL character in a word", "take it away"
    if fault:
        raise TurnoutError(
            "run-words",
            observed=f"turnout run: {fault}",
            expected="a program and its words; no shell reads them",
            remedy=remedy,
        )


def name_of(name: str, host: str) -> tuple[str, str]:
    """Return id and host of a command ID@HOST. Raises TurnoutError."""
    found = _NAME.fullmatch(name)
    if not found or not (found["host"] or host):
        raise TurnoutError(
            "run-id",
            observed=f"turnout run: the id {name!r}",
            expected="ID@HOST, as it was printed when the command was begun",
            remedy="turnout status, whose ledger has the ids",
        )
    return found["id"], found["host"] or host


def _begin(words: Sequence[str], host: str, timeout_s: int, detach: bool, options: Sequence[str]) -> int:
    ident = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    terminal = None if detach else terminal_of(os.environ)
    told = _play(options, {
        "command_state": "begun", "command_id": ident, "command_named": host, "command_words": json.dumps(words),
        "command_terminal": terminal, "command_timeout_s": timeout_s, "command_detach": detach,
    })  # fmt: skip
    record, on = told["record"], told["host"]
    name = f"{ident}@{on}"
    if detach:
        click.echo(name)
        return 0
    version = str(record["release_id"]).rpartition("-")[0]
    click.echo(f"turnout run {name}: {record['service']} {version} ({record['color']})", err=True)
    try:
        end = Attached(told["argv"], name, terminal=terminal is not None, follow=False).run()
    except KeyboardInterrupt as stopped:
        return 128 + int(stopped.args[0])
    if end.get("why") or end.get("result") not in ("success", "exit-code", "signal"):
        with contextlib.suppress(OSError):  # of a terminal that was closed
            click.echo(f"turnout run {name}: {_how(end)}", err=True)
    return int(end.get("rc", 1))


def _follow(told: dict[str, Any], name: str) -> int:
    if not told["record"]["detach"]:
        raise TurnoutError(
            "run-attached",
            observed=f"the command {name} has a client, {told['record']['actor']}, and ends with it",
            expected="one that was begun with --detach",
            remedy=f"turnout run --stop {name}, or wait",
        )
    try:
        return int(Attached(told["argv"], name, terminal=False, follow=True).run().get("rc", 1))
    except KeyboardInterrupt as stopped:
        click.echo(f"\nturnout run {name} goes on; to end it: turnout run --stop {name}", err=True)
        return 128 + int(stopped.args[0])


def _how(record: dict[str, Any]) -> str:
    """Return how a command ended."""
    if record.get("why"):
        return f"ended with {record.get('rc', 'no exit code')}: {record['why']}"
    if record.get("result") == "timeout":
        return f"ended after its limit of {record['timeout_s']} s (--timeout)"
    if "rc" not in record:
        return "its end is not on record (a reboot?)"
    more = "" if record.get("result") in {None, "success", "exit-code"} else f" ({record['result']})"
    return f"ended with {record['rc']}{more}"


def _lines(record: dict[str, Any], *, running: bool) -> str:
    """Return a command's record as a person reads it."""
    begun = datetime.fromtimestamp(float(record["begun_at"]), UTC)
    return "\n".join((
        f"command  {' '.join(record['shown'])}",
        f"in       {record['release_id']} ({record['color']})",
        f"by       {record['actor']}, {begun:%Y-%m-%d %H:%M:%S} UTC",
        f"state    {'runs' if running else _how(record)}",
        "",
    ))  # fmt: skip


def _play(options: Sequence[str], variables: dict[str, Any]) -> dict[str, Any]:
    """Run the playbook and return what it handed over. Nothing is printed but where it fails. Raises TurnoutError."""
    run.refuse_nowhere(os.environ, options)
    environment = run.environment_of(os.environ)
    with tempfile.TemporaryDirectory(prefix="turnout-run-") as folder:
        handed, given = Path(folder, "handed.json"), Path(folder, "given.json")
        # Words may be secrets: in a file that this user alone reads, not on a command line.
        given.write_text(json.dumps(variables | {"command_hand_over": str(handed)}), encoding="utf-8")
        argv = [program(), PLAYBOOK, *options, "-e", f"@{given}"]
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        with _ending(process):
            said = process.communicate()[0].decode("utf-8", "replace")
        if process.returncode == 0 and handed.exists():
            return dict(json.loads(handed.read_text(encoding="utf-8")))
    sys.stderr.write(said)
    if process.returncode:
        sys.exit(process.returncode if process.returncode > 0 else 128 - process.returncode)
    raise TurnoutError(
        "run-host",
        observed="the playbook found no host to run the command on",
        expected="hosts in the groups edge and api of the inventory",
        remedy="take --limit away; see: ansible-inventory --graph",
    )


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have signals end the playbook; a command that waits for its client is not begun then."""

    def end(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        sys.stderr.write("\nturnout run was ended before the command was connected: without --detach, none is begun\n")
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
