"""Command lines as systemd reads them (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").

A service file gives commands in systemd's own syntax, so that what is written there is what runs. This module
splits them, finds the variables and specifiers in them, and puts the release's folder before a relative program.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "s": " ",
}
_NUMERIC = re.compile(r"x(?P<hex>[0-9A-Fa-f]{2})|(?P<oct>[0-3][0-7]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})")
_BRACED = re.compile(r"(?<!\$)(?:\$\$)*\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_SPECIFIER = re.compile(r"%(.?)", re.DOTALL)
_NEEDS_QUOTES = re.compile(r"[\s\"'\\;]")

# What only a shell does ----------------------------------------------------------------------------------------------
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_SHELLS = frozenset(("ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"))
_SCRIPT_FOLLOWS = re.compile(r"-[a-zA-Z]*c")
_SHELL_WORDS = frozenset(
    (
        *(".", ":", "(", "{", "!", "[[", "alias", "case", "cd", "command", "declare", "eval", "exec", "export", "for"),
        *("function", "if", "local", "read", "return", "set", "shift", "source", "trap", "ulimit", "umask", "unset"),
        *("until", "wait", "while"),
    )
)
_OPERATOR = re.compile(r"&&|\|\|?|;|<<?|>>?|^&|&$")
_BRACE = re.compile(r"\$\$|\$\{(?P<inside>[^}:]*)(?P<end>[}:]?)")
_DOLLAR = re.compile(r"\$\$|\$(?P<name>\(|[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!-])|`")
_GLOB = re.compile(r"[\w./*-]*(?:\?|\[[^]:]+\])[\w./*-]*\.\w+")
_BRACES = re.compile(r"\{[^{}=:\s]*(?:,|\.\.)[^{}=:\s]*\}")
_HOME = re.compile(r"~(/|[a-z_][a-z0-9_-]*(/|$)|$)")


class CommandError(ValueError):
    """A command line that would not run as it was meant; the text says why, `remedy` what mends it."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True)
class Word:
    """One word of a command line: its value, and where it stands in the text.

    `marks` has a character for each of the value: the quote that it stands in, a backslash for one that was written as
    an escape, a blank for one that stands bare.
    """

    value: str
    start: int
    end: int
    marks: str


def split(command: str) -> list[Word]:
    """Split a command line into words as systemd does: quotes and C escapes, no shell."""
    words: list[Word] = []
    position = 0
    while True:
        while position < len(command) and command[position] in string.whitespace:
            position += 1
        if position == len(command):
            return words
        word = _next_word(command, position)
        words.append(word)
        position = word.end


def _next_word(command: str, start: int) -> Word:
    value: list[str] = []
    marks: list[str] = []
    quote = ""
    position = start
    while position < len(command):
        char = command[position]
        if char == "\\":
            text, length = _escape(command, position + 1)
            value.append(text)
            marks.append("\\")
            position += 1 + length
            continue
        if quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif not quote and char in string.whitespace:
            break
        else:
            value.append(char)
            marks.append(quote or " ")
        position += 1
    if quote:
        raise CommandError(f"a quote ({quote}) that is never closed")
    return Word("".join(value), start, position, "".join(marks))


def _escape(command: str, position: int) -> tuple[str, int]:
    rest = command[position : position + 9]
    if not rest:
        raise CommandError("a backslash at its end")
    if rest[0] in _ESCAPES:
        return _ESCAPES[rest[0]], 1
    found = _NUMERIC.match(rest)
    if found is None:
        raise CommandError(f"the escape \\{rest[0]}, which systemd does not know")
    kind = found.lastgroup
    number = int(found[kind], 8 if kind == "oct" else 16) if kind else 0
    if number == 0 or number > 0x10FFFF:
        raise CommandError("an escape for a character that cannot stand in a command")
    return chr(number), len(found[0])


def variables(command: str) -> list[str]:
    """Return the names of the environment variables that systemd would put into the command, in order."""
    names: list[str] = []
    for word in split(command):
        bare = _BARE.fullmatch(word.value)
        names += [bare[1]] if bare else _BRACED.findall(word.value)
    return list(dict.fromkeys(names))


def specifiers(command: str) -> list[str]:
    """Return what follows each % in the command, `%%` left out; '' for a % at the end."""
    return [letter for letter in _SPECIFIER.findall(command) if letter != "%"]


def check_program(command: str) -> None:
    """Raise `CommandError` when the command is empty, has a special prefix, leaves the release, or needs a shell."""
    words = split(command)
    if not words or not words[0].value:
        raise CommandError("no program")
    program = words[0].value
    if program[0] in "@-:+!|" and program not in _SHELL_WORDS:
        raise CommandError(f"the special prefix {program[0]!r} before the program")
    if any(word.value == ";" for word in words):
        raise CommandError("a lone `;`, which begins a second command", _in_a_shell())
    _check_shell(words)
    if ".." in PurePosixPath(program).parts:
        raise CommandError("a program that leaves its folder by `..`")
    if program.endswith("/"):
        raise CommandError("a folder where the program should be")


def _check_shell(words: list[Word]) -> None:
    """Raise `CommandError` for what a shell would act on and systemd does not, which would fail at the start.

    What stands in quotes is taken as meant: in single quotes as it is, in double quotes but for `$` and backticks, and
    all of it in a script that is handed to a shell. Everywhere systemd itself replaces ${NAME}, and a whole word $NAME.
    """
    program = words[0].value
    assigned = _ASSIGNMENT.match(program)
    if assigned:
        remedy = f'write {assigned[1]}: "..." into service.environment, and the command without it'
        raise CommandError(f"the assignment {assigned[1]}=... before the program", remedy)
    if program in _SHELL_WORDS or program.startswith("("):
        remedy = "take `exec` away: systemd needs none" if program == "exec" else _in_a_shell()
        raise CommandError(f"{program.split()[0]!r}, a word of the shell and no program", remedy)
    scripts = set(_scripts(words))
    for index in scripts:
        script = words[index] if index < len(words) else None
        if script and set(script.marks) == {" "} and index + 1 < len(words) and "$" not in script.value:
            text = f"the script {script.value!r} alone after -c, which gets none of the words that follow it"
            raise CommandError(text, _in_a_shell())
    for index, word in enumerate(words):
        _check_variables(word, index in scripts)
        _check_bare(word)


def _scripts(words: list[Word]) -> Iterator[int]:
    """Yield which words are scripts that a shell is given by -c."""
    for index, word in enumerate(words):
        if PurePosixPath(word.value).name not in _SHELLS:
            continue
        at = index + 1
        while at < len(words) and words[at].value[:1] in "-+":
            if _SCRIPT_FOLLOWS.fullmatch(words[at].value):
                yield at + 1
                break
            at += 2 if words[at].value in ("-o", "+o", "-O", "+O") else 1


def _check_variables(word: Word, in_script: bool) -> None:
    value = word.value
    if value.startswith("$") and value[1:2] not in ("$", "{") and not _BARE.fullmatch(value):
        # systemd takes all of it for the name of a variable, quotes or not, and drops the word.
        remedy = "write $$ in place of the first $" if in_script else _expanded(value)
        raise CommandError(f"the word {value!r}, which systemd takes for a variable that nobody sets", remedy)
    for found in _BRACE.finditer(value):
        inside, end = found["inside"], found["end"]
        if inside is None or (end == "}" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", inside)):
            continue
        literal = end != "}" and (in_script or word.marks[found.start()] == "'")
        if not literal:
            shown = value[found.start() :].partition("}")[0] + "}"
            name = re.match(r"[A-Za-z_][A-Za-z0-9_]*", inside)
            plain = f"write ${{{name[0]}}} alone, its value in service.environment" if name else ""
            remedy = "write $${ in place of ${" if in_script else plain or _in_a_shell()
            raise CommandError(f"{shown}, which only a shell resolves", remedy)
    if in_script or _BARE.fullmatch(value):
        return
    for found in _DOLLAR.finditer(value):
        if found[0] != "$$" and word.marks[found.start()] in ' "':
            text = f"{found[0]}...{')' if found[0] == '$(' else found[0]}" if found[0] in ("`", "$(") else found[0]
            raise CommandError(f"{text} inside a word, which only a shell resolves", _expanded(found[0]))


def _check_bare(word: Word) -> None:
    """Raise `CommandError` for operators, redirections, globs, ~ and comments of a shell that stand outside quotes."""
    bare = "".join(char if mark == " " else "\0" for char, mark in zip(word.value, word.marks, strict=True))
    operator = _OPERATOR.search(bare)
    if operator:
        raise CommandError(f"{operator[0]!r} outside quotes, which only a shell understands", _in_a_shell())
    option = word.value.startswith("-") or "=" in word.value or "://" in word.value
    # Brackets may be an address of IPv6, and a question mark the query of a path.
    glob = not option and (
        ("*" in bare and ("/" in bare or bare.startswith("*."))) or _GLOB.fullmatch(bare) is not None
    )
    found = _BRACES.search(bare)
    braces = not option and found is not None and found[0] != bare  # alone they are PostgreSQL's way to write a list
    for there, what in (
        (_HOME.match(bare), "a home folder (~), which only a shell finds"),
        (bare.startswith("#"), "a comment (#), which systemd hands to the program"),
        (glob, "a pattern of files (*, ? or [...]), which only a shell fills in"),
        (braces, "braces, which only some shells spread out"),
    ):
        if there:
            raise CommandError(f"the word {word.value!r}, {what}", _in_a_shell())


def _in_a_shell() -> str:
    return "let a shell read it: /bin/sh -c 'exec ...'; what the program is to get as it stands goes into quotes"


def _expanded(text: str) -> str:
    name = re.match(r"\$([A-Za-z_][A-Za-z0-9_]*)", text)
    return f"write ${{{name[1]}}} in place of ${name[1]}" if name else _in_a_shell()


def command_line(command: str, release_dir: str) -> str:
    """Return the command as the value of ExecStart=, the rest of it untouched.

    A first word with a slash that does not begin with one names a program inside `release_dir`.
    """
    first = split(command)[0]
    return _quoted(_program(first.value, release_dir)) + command[first.end :]


def argv(command: str, release_dir: str) -> list[str]:
    """Return the command as words for systemd-run, which replaces ${VARIABLES} by itself; `%%` becomes `%`."""
    words = [word.value for word in split(command)]
    return [text.replace("%%", "%") for text in (_program(words[0], release_dir), *words[1:])]


def _program(program: str, release_dir: str) -> str:
    if "/" not in program or program.startswith("/"):
        return program
    return str(PurePosixPath(release_dir) / program)


def _quoted(word: str) -> str:
    if not _NEEDS_QUOTES.search(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
