"""The command line: words in; one JSON object, words for a person and an exit code out."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

from . import version
from .change import disk_trouble
from .commands import (
    command_adopt,
    command_apply,
    command_commit,
    command_confirm,
    command_forget,
    command_journal,
    command_ledger,
    command_move,
    command_prepare,
    command_ready,
    command_recover,
    command_schema,
    command_settle,
)
from .edge import DEFAULT_CONFIG, Config, Edge
from .errors import EXIT_DONE, EXIT_INTERNAL, EXIT_USAGE, Trouble, refusal
from .haproxy import Unreachable
from .holding import (
    command_lease_arm,
    command_lease_disarm,
    command_lease_renew,
    command_lock_beat,
    command_lock_break,
    command_lock_keep,
    command_lock_release,
    command_lock_take,
)
from .request import Who, as_characters
from .rollback import command_rollback
from .shapes import FORMAT
from .show import command_show, table
from .state import COLORS
from .watch import run_watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, TextIO

    from .errors import Json


HELP = """\
turnout-edge: the one program that moves traffic on this edge

  turnout-edge rollback            go back, now (no arguments needed; twice does no harm)
  turnout-edge show --human        what serves, what HAProxy really does, who holds the lock

  prepare move ready confirm commit settle forget adopt schema apply recover
  lock take|beat|release|break     lease arm|renew|disarm     journal  ledger  watch  peer

turnout-edge --version tells which Turnout laid this program.
Options of all: --config FILE --run ID --actor NAME --phase TEXT --dry-run --human --quiet
Options of one: turnout-edge COMMAND --help
Answers: one JSON object on stdout and words on stderr, or with --human only words, on stdout.
Exit codes: 0 done or nothing to do, 1 internal error, 2 usage, configuration or unreadable state, 3 refused,
4 lock held by another run, 5 put back, 6 on disk but not in the running HAProxy, 7 in the running HAProxy
but not on disk."""


COMMANDS: dict[str, Callable[[Edge, Who, argparse.Namespace], Json]] = {
    "show": command_show,
    "prepare": command_prepare,
    "move": command_move,
    "ready": command_ready,
    "confirm": command_confirm,
    "commit": command_commit,
    "rollback": command_rollback,
    "settle": command_settle,
    "forget": command_forget,
    "schema": command_schema,
    "apply": command_apply,
    "adopt": command_adopt,
    "recover": command_recover,
    "journal": command_journal,
    "ledger": command_ledger,
    "beat": command_lock_beat,
    "lock take": command_lock_take,
    "lock beat": command_lock_keep,
    "lock release": command_lock_release,
    "lock break": command_lock_break,
    "lease arm": command_lease_arm,
    "lease renew": command_lease_renew,
    "lease disarm": command_lease_disarm,
}


# Commands that take a release further. The way back, and what only looks or ends, never waits for a newer program.
FORWARD = (
    *("prepare", "move", "ready", "confirm", "schema", "adopt", "recover"),
    *("lock take", "lease arm"),
)


ENDLESS = {
    "watch": run_watch.__doc__ or "",
    "peer": "Print what another edge may know of this one.",
    "follow": "Follow what the other edges say; turnout-edge-peers.service runs it.",
}


COMMON_WITH_VALUE = ("--config", "--run", "--actor", "--phase")
COMMON_FLAGS = ("--dry-run", "--human", "--quiet")


# Names of files, and JSON that says by itself what is wrong with it; every other word is kept as characters.
VERBATIM = ("config", "peers", "release", "json")


# The options of each command: name, and settings of argparse.
FORCE: list[tuple[str, Json]] = [("--force", {"action": "store_true"}), ("--reason", {})]


RELEASE: list[tuple[str, Json]] = [
    ("--color", {"required": True, "choices": COLORS}),
    ("--release", {"required": True, "metavar": "JSON"}),
]


OPTIONS: dict[str, list[tuple[str, Json]]] = {
    "show": [("--tail", {"type": int, "default": 10})],
    "prepare": RELEASE,
    "move": [
        ("--share-bp", {"type": int, "required": True}),
        ("--expect-share", {"type": int}),
        ("--allow-down", {"default": "", "metavar": "NAME,NAME"}),
        ("--lease-s", {"type": float}),
    ],
    "peer": [("--follow", {"action": "store_true"})],
    "follow": [("--peers", {"default": "/etc/turnout/peers.json"})],
    "ready": [("--color", {"required": True, "choices": COLORS})],
    "confirm": [("--color", {"choices": COLORS})],
    "rollback": [
        *FORCE,
        ("--further", {"action": "store_true"}),
        ("--put-back", {"action": "store_true"}),
        ("--keep-confirmed", {"action": "store_true"}),
        ("--quarantine", {"metavar": "WHY"}),
    ],
    "settle": [("--previous-restored", {"action": "store_true"})],
    "forget": [("--color", {"required": True, "choices": COLORS}), ("--reason", {"required": True})],
    "schema": [
        ("--version", {"type": int}),
        ("--last-contract", {"type": int}),
        ("--planned", {"type": int}),
        ("--planned-contract", {"type": int}),
    ],
    "adopt": [*RELEASE, *FORCE],
    "recover": [("--force", {"action": "store_true"})],
    "journal": [
        ("--event", {"choices": ("start", "end", "intent", "result", "note")}),
        ("--action", {"default": "note"}),
        ("--json", {"default": "{}"}),
        ("--tail", {"type": int, "default": 20}),
    ],
    "ledger": [("--json", {}), ("--tail", {"type": int, "default": 20})],
    "lock take": [
        ("--owner", {"default": ""}),
        ("--pid", {"type": int, "default": 0}),
        ("--purpose", {"default": "unnamed"}),
        ("--ttl-s", {"type": float, "default": 60.0}),
        ("--break", {"action": "store_true", "dest": "break_lock"}),
        ("--fence", {"type": int, "default": 0}),
    ],
    "lock beat": [("--fence", {"type": int, "default": 0}), ("--ttl-s", {"type": float, "default": 0.0})],
    "lock break": [("--reason", {})],
    "lease arm": [("--lease-s", {"type": float})],
}


def find_command(words: list[str]) -> tuple[str | None, list[str]]:
    """Return the command among the words and the options around it."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in COMMON_WITH_VALUE else 1
    name = words[index] if index < len(words) else None
    rest = words[:index] + words[index + 1 :]
    if name in ("lock", "lease") and index < len(rest) and not rest[index].startswith("-"):
        name = f"{name} {rest.pop(index)}"
    return name, rest


def parse(words: list[str]) -> tuple[str, argparse.Namespace]:
    """Return the command and its options; raises Trouble for what cannot be understood."""
    name, rest = find_command(words)
    if name not in COMMANDS and name not in ENDLESS:
        known = ", ".join([*COMMANDS, *ENDLESS])
        raise Trouble("usage", EXIT_USAGE, f"there is no command {name!r}", known, "turnout-edge --help")
    import argparse

    class Parser(argparse.ArgumentParser):
        """A parser whose errors are answered as all others are."""

        def error(self, message: str) -> Any:
            """Raise the error instead of ending the program."""
            raise Trouble("usage", EXIT_USAGE, message, self.format_usage().strip(), f"turnout-edge {name} --help")

    about = (COMMANDS[name].__doc__ if name in COMMANDS else ENDLESS[name]) or ""
    parser = Parser(prog=f"turnout-edge {name}", description=about, allow_abbrev=False)
    for option in COMMON_WITH_VALUE:
        parser.add_argument(option)
    for option in COMMON_FLAGS:
        parser.add_argument(option, action="store_true")
    for option, settings in OPTIONS.get(name, []):
        parser.add_argument(option, **settings)
    options = parser.parse_args(rest)
    for option, value in vars(options).items():
        if isinstance(value, str) and option not in VERBATIM:
            setattr(options, option, as_characters(value))
    return name, options


def default_actor() -> str:
    """Return who is logged in, as user@host."""
    user = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or os.environ.get("USER") or f"uid{os.getuid()}"
    return as_characters(f"{user}@{socket.gethostname()}")


class Uninterrupted:
    """Keeps Ctrl-C, hang-ups and terminations waiting while something is changed."""

    def __enter__(self) -> None:
        import signal

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def __exit__(self, *_: object) -> None:
        import signal

        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


def execute(words: list[str]) -> tuple[int, Json, str]:
    """Run one command; return its exit code, its answer and the words for a person. Raises Trouble."""
    name, options = parse(words)
    who = Who(options.run, options.actor or default_actor(), options.phase, options.dry_run)
    edge = Edge(Config.load(options.config or os.environ.get("TURNOUT_EDGE_CONFIG") or DEFAULT_CONFIG))
    if name == "watch":
        return run_watch(edge), {}, ""
    if name in ("peer", "follow"):
        from . import follow

        if name == "peer":
            return follow.run_peer(edge.config, options.follow), {}, ""
        return follow.run_follow(edge.config, options.peers), {}, ""
    with Uninterrupted(), edge.locked():
        try:
            result = perform(edge, name, who, options)
        except Unreachable as fault:
            remedy = "systemctl start haproxy; journalctl -u haproxy"
            raise refusal("haproxy", str(fault), "a running HAProxy that answers", remedy) from fault
        except OSError as fault:
            raise disk_trouble(fault, fault.filename or "the state folder", EXIT_INTERNAL) from fault
    return EXIT_DONE, result, table(result) if name == "show" else f"{who_says(edge)}: {result['message']}"


def perform(edge: Edge, name: str, who: Who, options: argparse.Namespace) -> Json:
    """Run one command on an edge. What begins or furthers a release is refused where a newer program kept this edge."""
    if name in FORWARD:
        edge.refuse_newer()
    return COMMANDS[name](edge, who, options)


def who_says(edge: Edge) -> str:
    """Return what stands before an answer, so that one knows which of several terminals it is."""
    return f"{edge.config.service} on {socket.gethostname()}"


def answer_to(words: list[str]) -> tuple[int, Json, str]:
    """Run one command; return exit code, answer and words, for errors too. The Ansible module calls this."""
    try:
        return execute(words)
    except Trouble as fault:
        result = {"ok": False, "changed": False, **fault.facts, "error": fault.as_json()}
        return fault.exit_code, result, fault.as_text()
    except Exception as fault:  # the last resort: a person at 3 a.m. is never shown a traceback
        return internal_error(fault)


def main(words: list[str]) -> int:
    """Run the command line; the one place where answers are printed."""
    if words == ["--version"]:
        name = (
            f"turnout-edge {version.VERSION}"
            if version.VERSION
            else "turnout-edge, laid from a checkout without a version"
        )
        tell(f"{name} (protocol {version.PROTOCOL}, formats up to {FORMAT})", sys.stdout)
        return EXIT_DONE
    if not words or words[0] in ("-h", "--help", "help"):
        tell(HELP, sys.stdout)
        return EXIT_DONE if words else EXIT_USAGE
    code, result, text = answer_to(words)
    if "--human" in words:
        tell(text, sys.stdout if code == EXIT_DONE else sys.stderr)
    elif result:
        if not (text == "" or "--quiet" in words or result.get("action") == "show"):
            tell(text, sys.stderr)
        tell(answer_for(sys.stdout, result), sys.stdout)
    return code


def answer_for(stream: TextIO | None, result: Json) -> str:
    """Return an answer as JSON in the characters that a stream knows."""
    text = json.dumps(result, ensure_ascii=False)
    try:
        text.encode(encoding_of(stream))
    except UnicodeEncodeError:
        return json.dumps(result)
    return text


def encoding_of(stream: TextIO | None) -> str:
    """Return the encoding of a stream, which may be closed."""
    return (stream.encoding if stream is not None else None) or "utf-8"


def tell(text: str, stream: TextIO | None) -> None:
    """Print words. Where nobody listens, or the disk is full: what was done is done, and its exit code is kept."""
    if stream is None:
        return  # whoever started it closed it
    encoding = encoding_of(stream)
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # what is still in it must not fail again at the end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def internal_error(fault: Exception) -> tuple[int, Json, str]:
    """Return the answer to an error that nobody foresaw."""
    import traceback

    where = traceback.extract_tb(fault.__traceback__)[-1]
    trouble = Trouble(
        "internal",
        EXIT_INTERNAL,
        f"{type(fault).__name__}: {fault} (in {where.name}, line {where.lineno})",
        "no such thing: this is a fault of turnout-edge",
        "turnout-edge show --human tells where traffic is; report this line",
    )
    return EXIT_INTERNAL, {"ok": False, "changed": False, "error": trouble.as_json()}, trouble.as_text()
