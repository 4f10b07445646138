"""Runbooks as data: the steps of a page of docs/runbooks, and what in them nobody could run.

A step is a block of code whose first line says what it is:

    # see-units: look, on api, at most 30 s
    systemctl --failed --no-pager

Name, kind (`look` changes nothing, `act` changes something, `undo` takes an act back), the group of hosts, seconds.
Words in capitals stand for what the person puts in, and are those of `PLACEHOLDERS`. Nothing is run here.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from turnout.errors import TurnoutError
from turnout.faults import Fault, nearest

HERE = Path(__file__).parent
# In the wheel they lie in the package, in a checkout where they are read.
_LAID = HERE / "runbook_pages"
PAGES = _LAID if _LAID.is_dir() else HERE.parents[1] / "docs/runbooks"
COLLECTION = HERE.parent / "ansible_collections" / "turnout" / "ops"

KINDS = ("look", "act", "undo")
GROUPS = ("controller", "edge", "api", "worker", "postgres", "redis", "monitoring", "drill", "repository", "any")
"""Groups of the inventory; `controller` is where `turnout` is typed, `any` the host that the alert names."""
LONGEST_S = 3600
SECTIONS = ("How it looks", "First", "Decide", "Way back")
MOST_LINES = 75
"""Lines of a page: what fits on two screens, at 3 a.m."""
PLACEHOLDERS = {
    "SERVICE": "the service's name",
    "VERSION": "a version, as `turnout status` shows it",
    "REASON": "why, in words, for the ledger",
    "QUEUE": "a queue of checklist.queues",
    "GROUP": "a group, as `turnout dead-letters list` shows it",
    "ID": "the id that the command before printed",
    "HOST": "a host of the inventory",
    "UNIT": "a unit, as the alert names it",
    "NAME": "a name of a certificate",
    "MOMENT": "a moment with its time zone, such as 2026-01-31 02:59:00+00:00",
}
# What Debian or the application host has, by its name: its options are its own business.
PROGRAMS = {
    "awk", "curl", "date", "df", "du", "echo", "find", "free", "grep", "head", "journalctl", "ls", "lsof", "openssl",
    "pg_lsclusters", "psql", "redis-cli", "sort", "ss", "systemctl", "tail", "timedatectl", "uptime", "xargs",
}  # fmt: skip
OWN_PROGRAMS = {
    "turnout-acme": "edge",
    "turnout-drill": "drill",
    "turnout-edge": "edge",
    "turnout-scheduled": "schedule",
}
"""Programs that Turnout lays, and the role that lays them."""
CHANGING = {"start", "stop", "restart", "reload", "enable", "disable", "kill", "mask", "unmask", "reset-failed"}
"""Verbs of systemctl that belong into no step that only looks."""

_HEAD = re.compile(r"# ([a-z][a-z0-9-]*): (\w+), on ([a-z]+), at most (\d+) s")
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CAPITALS = re.compile(r"(?<![\w$%{-])[A-Z][A-Z_]+(?![\w}])")
_PATH = re.compile(r"(?<![\w:./])/(?:[\w.*@-]+/?)+")
_ALERT = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")


@dataclass(frozen=True)
class Step:
    """One step: `commands` are its lines, `limit_s` the seconds that it may take, `line` where it stands."""

    name: str
    kind: str
    group: str
    limit_s: int
    commands: tuple[str, ...]
    line: int
    section: str

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """Return the commands with words of `PLACEHOLDERS` put in, each as one word of a shell or a part of one.

        Raises TurnoutError for a placeholder that has no value, and for a value that is no plain word.
        """
        return [_CAPITALS.sub(lambda found: self._value(found[0], values), command) for command in self.commands]

    def _value(self, name: str, values: Mapping[str, str]) -> str:
        if name not in PLACEHOLDERS:
            return name
        value = values.get(name)
        if value is None or not re.fullmatch(r"[\w.:@+ -]+", value):
            raise TurnoutError(
                "runbook-value",
                observed=f"step {self.name}: {name} is {'not given' if value is None else repr(value[:40])}",
                expected=f"{PLACEHOLDERS[name]}, of letters, digits, spaces and . : @ + - _",
                remedy=f"give {name}",
            )
        return value


@dataclass(frozen=True)
class Runbook:
    """One page. `alerts` are those that its first section names, `faults` what is wrong with its form."""

    name: str
    title: str
    text: str
    alerts: tuple[str, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = field(default=(), compare=False)


def names(folder: Path = PAGES) -> list[str]:
    """Return what runbooks are called. Raises TurnoutError where there is none."""
    found = sorted(path.stem for path in folder.glob("*.md"))
    if not found:
        raise TurnoutError(
            "runbook-none", observed=f"no page *.md in {folder}", expected="a folder of runbooks",
            remedy="--folder FOLDER, or none for those of Turnout",
        )  # fmt: skip
    return found


def load(name: str, folder: Path = PAGES) -> Runbook:
    """Return a runbook. Raises TurnoutError where there is none of that name."""
    known = names(folder)
    if name not in known:
        raise TurnoutError(
            "runbook-unknown", observed=f"the runbook {name[:60]!r}", expected=f"one of: {', '.join(known)}",
            remedy=f"turnout runbook show {nearest(name, known) or 'NAME'}",
        )  # fmt: skip
    return parse(name, (folder / f"{name}.md").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Runbook:
    """Return a page as data; what is wrong with its form is in `faults`."""
    faults: list[Fault] = []
    steps = []
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        head, *rest = block[1].splitlines()
        found = _HEAD.fullmatch(head)
        if found is None:
            faults.append(
                _fault(name, line, head, "# NAME: look|act|undo, on GROUP, at most SECONDS s", "write that line")
            )
            continue
        commands = "\n".join(rest).replace("\\\n", " ").splitlines()
        section = re.findall(r"^## (.+)$", text[: block.start()], re.MULTILINE)[-1:] or [""]
        steps.append(
            Step(found[1], found[2], found[3], int(found[4]),
                 tuple(one.strip() for one in commands if one.strip()), line, section[0])
        )  # fmt: skip
    head = re.match(r"# (.+)\n", text)
    looks = text.partition("## How it looks")[2].partition("\n## ")[0]
    alerts = tuple(dict.fromkeys(one for code in re.findall(r"`([^`]+)`", looks) for one in _ALERT.findall(code)))
    made = Runbook(name, head[1] if head else name, text, alerts, tuple(steps))
    faults += _of_form(made)
    return Runbook(name, made.title, text, alerts, made.steps, tuple(faults))


def _fault(name: str, line: int, observed: str, expected: str, remedy: str) -> Fault:
    return Fault(name, observed, expected, remedy, f"docs/runbooks/{name}.md:{line}")


def _of_form(book: Runbook) -> Iterator[Fault]:
    sections = re.findall(r"^## (.+)$", book.text, re.MULTILINE)
    if sections != list(SECTIONS):
        yield _fault(book.name, 1, f"sections: {', '.join(sections)}", ", ".join(SECTIONS), "those four, in that order")
    lines = len(book.text.splitlines())
    if lines > MOST_LINES:
        yield _fault(book.name, lines, f"{lines} lines", f"at most {MOST_LINES}, for 3 a.m.", "say less")
    if "\n    " in _BLOCK.sub("", book.text):
        yield _fault(
            book.name, 1, "an indented block", "commands in blocks with a head", "a block that begins with ```sh"
        )
    seen: set[str] = set()
    for step in book.steps:
        known = (
            (step.name not in seen, step.name, "a name that no other step has"),
            (step.kind in KINDS, step.kind, f"one of: {', '.join(KINDS)}"),
            (step.group in GROUPS, step.group, f"one of: {', '.join(GROUPS)}"),
            (0 < step.limit_s <= LONGEST_S, f"{step.limit_s} s", f"1 to {LONGEST_S} s"),
            (bool(step.commands), "no command", "a command"),
            ((step.kind == "undo") == (step.section == "Way back"), f"{step.kind} in {step.section}",
             "undo in Way back, and nothing else there"),
            (step.section != "First" or step.kind == "look", f"{step.kind} in First", "look, before a change"),
        )  # fmt: skip
        for right, observed, expected in known:
            if not right:
                yield _fault(book.name, step.line, observed, expected, "mend the head of the step")
        seen.add(step.name)


def check(book: Runbook) -> list[Fault]:
    """Return what is wrong: form, alerts, and every command that nobody could run as it stands there."""
    faults = list(book.faults)
    known = alerts()
    for alert in book.alerts:
        if alert not in known:
            faults.append(_fault(book.name, 1, f"the alert {alert}", "an alert of the rules", _near(alert, known)))
    for step in book.steps:
        for command in step.commands:
            for observed, expected, remedy in _of_command(command, step):
                faults.append(_fault(book.name, step.line, observed, expected, remedy))
    return faults


Found = tuple[str, str, str]


def _near(word: str, known: Iterable[str]) -> str:
    near = nearest(word, sorted(known))
    return f"{near} is one" if near else "see what there is"


def _of_command(command: str, step: Step) -> Iterator[Found]:
    for word in _CAPITALS.findall(command):
        if word not in PLACEHOLDERS:
            yield word, f"one of: {', '.join(PLACEHOLDERS)}", "small letters, or a word of that list"
    try:
        parts = list(_commands(command))
    except ValueError as error:
        yield command, "what a shell reads", f"mend the quotes ({error})"
        return
    for words in parts:
        yield from _of_words(words, step)
    yield from _of_paths(command)


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without what only says as whom it is run."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            if words[:1] == ["sudo"]:
                words = words[3:] if words[1:2] == ["-u"] else words[1:]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _of_words(words: list[str], step: Step) -> Iterator[Found]:
    program, *rest = words
    if program == "turnout":
        yield from _of_turnout(rest)
    elif program == "ansible-playbook":
        yield from _of_playbook(rest)
    elif program in OWN_PROGRAMS:
        yield from _of_own(program, rest)
    elif program not in PROGRAMS:
        yield program, "a program that hosts have", _near(program, {*PROGRAMS, *OWN_PROGRAMS, "turnout"})
    if program in ("turnout", "ansible-playbook") and step.group != "controller":
        yield f"{program}, on {step.group}", "on controller, where the inventory is", "on controller"
    if program in ("systemctl", "journalctl"):
        yield from _of_units(program, rest)
    if program == "systemctl" and "start" in rest and any("*" in word for word in rest):
        yield " ".join(words), "units by their whole names", "a pattern starts none that is down: systemd knows it not"
    if program == "systemctl" and step.kind == "look" and CHANGING & set(rest):
        yield f"{' '.join(words)} in a step that looks", "a step of kind act", "act"


def _of_turnout(rest: list[str]) -> Iterator[Found]:
    import click  # noqa: PLC0415 - pages alone need none

    from turnout.cli import NAMES, cli  # noqa: PLC0415
    from turnout.command.playbooks import ENTRIES, options_for  # noqa: PLC0415

    name, words = (rest or [""])[0], rest[1:]
    if name not in NAMES:
        yield f"turnout {name}", "a command of turnout", _near(name, NAMES)
    elif name in ENTRIES and name != "run" and not (name == "drill" and words and not words[0].startswith("-")):
        try:
            options_for(name, words)
        except TurnoutError as error:
            yield f"turnout {' '.join(rest)}", "words that it takes", str(error).splitlines()[0]
        yield from _of_options(ENTRIES[name].playbook, words)
    else:
        try:
            with click.Context(cli, info_name="turnout") as context:
                _parsed(cli, context, rest)
        except click.UsageError as error:
            yield f"turnout {' '.join(rest)}", "words that it takes", error.format_message()


def _parsed(command: object, context: object, words: list[str]) -> None:
    """Let click read the words as far as it goes, and run nothing."""
    import click  # noqa: PLC0415

    assert isinstance(command, click.Command)  # noqa: S101 - as the caller has it
    assert isinstance(context, click.Context)  # noqa: S101
    if not isinstance(command, click.Group):
        command.make_context(context.info_name, list(words), parent=context.parent)
        return
    name, inner, rest = command.resolve_command(context, list(words))
    assert inner is not None  # noqa: S101 - resolve_command raises where there is none
    _parsed(inner, click.Context(inner, info_name=name, parent=context), rest)


def _of_playbook(rest: list[str]) -> Iterator[Found]:
    from turnout.command.words import split  # noqa: PLC0415

    ours, _ = split(rest)
    names_ = {f"turnout.ops.{path.stem}" for path in (COLLECTION / "playbooks").glob("*.yml")}
    for name in ours or [""]:
        if name not in names_:
            yield f"ansible-playbook {name}", "a playbook of the collection", _near(name, names_)
        else:
            yield from _of_options(name.removeprefix("turnout.ops."), [word for word in rest if word != name])


def _of_options(playbook: str, words: list[str]) -> Iterator[Found]:
    from turnout.command.words import FLAGS, VALUE_OPTIONS, split, values  # noqa: PLC0415

    known = {*FLAGS, *VALUE_OPTIONS}
    for word in split(words)[1]:
        if word.startswith("-") and word.partition("=")[0] not in known:
            yield word, "an option of ansible-playbook", _near(word, known)
    takes = variables(playbook)
    for given in values(words, "-e", "--extra-vars"):
        name = given.partition("=")[0]
        if name not in takes:
            yield f"-e {name}", f"a variable of {playbook}: {', '.join(sorted(takes)) or 'none'}", _near(name, takes)


def _of_own(program: str, rest: list[str]) -> Iterator[Found]:
    if program == "turnout-edge":
        folder = str(COLLECTION / "roles/edge/files")
        if folder not in sys.path:
            sys.path.append(folder)
        own = importlib.import_module("turnout_edge.cli")
        try:
            own.parse(rest)
        except Exception as error:
            yield f"{program} {' '.join(rest)}", "words that it takes", str(error).splitlines()[0]
        return
    text = _texts(f"roles/{OWN_PROGRAMS[program]}/files")
    for word in rest:
        if word not in PLACEHOLDERS and f'"{word}"' not in text and f"'{word}'" not in text:
            yield f"{program} {word}", "words that it takes", f"{program} --help"


def _of_units(program: str, rest: list[str]) -> Iterator[Found]:
    """Yield units of a host that nothing of Turnout lays or names."""
    plain = [word for word in rest if not word.startswith("-")]
    units = plain[1:] if program == "systemctl" else [
        word for before, word in itertools.pairwise(rest) if before in ("-u", "--unit")
    ]  # fmt: skip
    for unit in units:
        if not _known_unit(re.sub(r"\.(service|timer)$", "", unit), _texts("roles") + _texts("plugins")):
            yield f"the unit {unit}", "a unit that Turnout lays, names or needs", "mend its name"


def _of_paths(command: str) -> Iterator[Found]:
    """Yield paths that nothing of Turnout uses."""
    text = _texts("roles") + _texts("plugins")
    for path in _PATH.findall(command):
        fixed = re.split(r"[A-Z*]", path)[0].rstrip("/")
        if fixed and fixed not in SYSTEM_PATHS and fixed not in text:
            yield f"the path {path}", "a path that Turnout or its packages use", "mend the path"


SYSTEM_PATHS = ("/var/log", "/var/log/journal", "/var/lib", "/var", "/opt", "/dev/null")
_DEBIANS = ("redis-server", "postgresql@*", "postgresql@*-main", "prometheus", "prometheus-alertmanager",
            "prometheus-node-exporter", "haproxy", "nftables", "systemd-timesyncd", "chrony")  # fmt: skip
_OF_SERVICE = re.compile(
    r"SERVICE-(?:\*|(?:worker|web|timer)-\*|(?:api|scheduler|(?:worker|web|timer)-[a-z]+)@(?:blue|green|\*))"
)


def _known_unit(stem: str, text: str) -> bool:
    if stem in PLACEHOLDERS or stem in _DEBIANS or _OF_SERVICE.fullmatch(stem):
        return True
    return bool(re.search(rf"{re.escape(stem)}\.(?:service|timer)\b", text))


@functools.cache
def _texts(folder: str) -> str:
    """Return all text of a part of the collection."""
    found = []
    for path in sorted((COLLECTION / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.append(path.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(found)


@functools.cache
def alerts() -> frozenset[str]:
    """Return the names of the alerts that Turnout declares, and those that the roles' rule files have."""
    from turnout.observe import load as observe  # noqa: PLC0415 - pages alone need none

    laid = re.findall(r"\balert: *([A-Z]\w+)", _texts("roles"))
    return frozenset([*laid, *(alert.name for alert in observe.load().alerts)])


@functools.cache
def variables(playbook: str) -> frozenset[str]:
    """Return what `-e` may set for a playbook: what its own head says, its command, and its roles' specifications."""
    from turnout.command.playbooks import ENTRIES  # noqa: PLC0415

    text = (COLLECTION / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")
    found = set(re.findall(r"-e '?\"?(\w+)=", text))
    for entry in ENTRIES.values():
        if entry.playbook == playbook:
            found |= {name for row in entry.variables for name in re.findall(r"(\w+)=", " ".join(row))}
            found |= {entry.word} - {""}
    for role in re.findall(r"turnout\.ops\.(\w+)$", text, re.MULTILINE):
        specification = COLLECTION / "roles" / role / "meta/argument_specs.yml"
        if specification.exists():
            read = yaml.safe_load(specification.read_text(encoding="utf-8"))["argument_specs"]
            found |= {name for entry in read.values() for name in entry.get("options", {})}
    return frozenset(found)
