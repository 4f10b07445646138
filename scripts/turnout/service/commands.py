"""Command lines as systemd reads them (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").

A service file gives commands in systemd's own syntax, so that what is written there is what runs. This module
splits them, finds the variables and specifiers in them, and puts the release's folder before a relative program.
"""

from __future__ import annotations

import re
import string
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


class CommandError(ValueError):
    """A command line that systemd would not accept; the text says what is wrong with it."""


@dataclass(frozen=True)
class Word:
    """One word of a command line: its value, and where it stands in the text."""

    value: str
    start: int
    end: int


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
    quote = ""
    position = start
    while position < len(command):
        char = command[position]
        if char == "\\":
            text, length = _escape(command, position + 1)
            value.append(text)
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
        position += 1
    if quote:
        raise CommandError(f"a quote ({quote}) that is never closed")
    return Word("".join(value), start, position)


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
    """Raise `CommandError` when the command is empty, has a special prefix, or its program leaves the release."""
    words = split(command)
    if not words or not words[0].value:
        raise CommandError("no program")
    program = words[0].value
    if program[0] in "@-:+!|":
        raise CommandError(f"the special prefix {program[0]!r} before the program")
    if any(word.value == ";" for word in words):
        raise CommandError("a lone `;`, which begins a second command")
    if ".." in PurePosixPath(program).parts:
        raise CommandError("a program that leaves its folder by `..`")
    if program.endswith("/"):
        raise CommandError("a folder where the program should be")


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
