"""Environment files that a team has: as compose, docker and systemd read them.

- compose: compose-go's `dotenv` (docs.docker.com, "Syntax for environment files in Docker Compose"): quotes, escapes in
  double quotes, `export`, comments, `$NAME` and `${NAME:-default}` from what stands before.
- docker: `docker run --env-file` (docker/cli, pkg/kvfile): NAME=VALUE, all of the value as it stands.
- systemd: systemd.exec(5), "EnvironmentFile=": quotes as in a shell, no variables, a backslash at an end goes on.

A variable that a reader would take from whoever starts it is a fault: nobody starts it here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

COMPOSE, DOCKER, SYSTEMD = "compose", "docker", "systemd"
SYNTAXES = (COMPOSE, DOCKER, SYSTEMD)

_BLANK = "\t\v\f\r \x85\xa0"  # compose-go's isSpace
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")
_CONTENT = re.compile(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")


class Entry(NamedTuple):
    """A variable of a file, and the line that its name stands on."""

    line: int
    name: str
    value: str


class EnvironmentFileError(ValueError):
    """A line that cannot be read. No field holds any of a value."""

    def __init__(self, line: int, observed: str, remedy: str) -> None:
        super().__init__(observed)
        self.line, self.observed, self.remedy = line, observed, remedy


def is_content(text: str) -> bool:
    """Tell whether a text is what an environment file holds, and no path of one."""
    return "\n" in text or _CONTENT.match(text) is not None


def parse(text: str, syntax: str | None) -> dict[str, Entry]:
    """Return the variables by name; of two of one name the last counts. Raises `EnvironmentFileError`.

    Without `syntax` the three must agree.
    """
    text = text.removeprefix("\ufeff")
    if syntax is not None:
        return {entry.name: entry for entry in _READERS[syntax](text)}
    found: dict[str, dict[str, Entry]] = {}
    errors: dict[str, EnvironmentFileError] = {}
    for name, reader in _READERS.items():
        try:
            found[name] = {entry.name: entry for entry in reader(text)}
        except EnvironmentFileError as error:
            errors[name] = error
    if len(errors) == len(_READERS):
        raise min(errors.values(), key=lambda error: error.line)
    lines = [error.line for error in errors.values()]
    first, *others = found.values()
    for other in others:
        for name in {*first, *other}:
            one, two = first.get(name), other.get(name)
            if one is None or two is None or one.value != two.value:
                lines.append(min(entry.line for entry in (one, two) if entry is not None))
    if lines:
        raise EnvironmentFileError(
            min(lines),
            "a line that compose, docker and systemd read differently",
            "say who reads it so far: environment_syntax: compose (or docker, systemd)",
        )
    return first


# docker --------------------------------------------------------------------------------------------------------------


def _docker(text: str) -> list[Entry]:
    found = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name or " " in name or "\t" in name:
            raise EnvironmentFileError(number, "a name that docker does not take", "write NAME=VALUE, without blanks")
        if not equals:
            raise _inherited(number, name)
        found.append(Entry(number, name, value))
    return found


def _inherited(line: int, name: str) -> EnvironmentFileError:
    shown = name if _NAME.fullmatch(name) else "a name"
    remedy = f"write {shown}=VALUE" if shown == name else "write NAME=VALUE"
    return EnvironmentFileError(line, f"{shown} without a value, which would be that of whoever starts it", remedy)


# systemd -------------------------------------------------------------------------------------------------------------


def _systemd(text: str) -> list[Entry]:
    found, at = [], 0
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] in "#;":
            end = re.compile(r"[\n\r]|$").search(text, at)
            at = end.start() if end else len(text)
            if text[at - 1] == "\\":
                remedy = "take the backslash away: systemd before 254 takes the next line for a comment too"
                raise EnvironmentFileError(line, "a comment with a backslash at its end", remedy)
        else:
            name, equals, _ = re.split(r"(=|[\n\r]|$)", text[at:], maxsplit=1)
            at += len(name) + len(equals)
            if not name:
                raise EnvironmentFileError(line, "no name before =", "write NAME=VALUE")
            if equals != "=":
                raise EnvironmentFileError(line, "a line without =, which systemd passes over", "write NAME=VALUE")
            if re.match(r"export\s", name):
                remedy = "take `export` away, or say environment_syntax: compose"
                raise EnvironmentFileError(line, "`export`, with which systemd leaves the variable out", remedy)
            value, at = _systemd_value(text, at, line)
            found.append(Entry(line, name.rstrip(" \t"), value))
    return found


def _systemd_value(text: str, at: int, line: int) -> tuple[str, int]:
    """Return a value and where the next line begins: quoted parts, then what is bare, in which quotes are no quotes."""
    value = ""
    while quoted := re.compile(r"""[ \t]*(?:'([^']*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL).match(text, at):
        value += quoted[1] or ""
        value += re.sub(r"\\(.)", lambda found: _in_quotes(found[1]), quoted[2] or "", flags=re.DOTALL)
        at = quoted.end()
    bare = re.compile(r"[ \t]*((?:[^\\\n\r]|\\.)*)\\?", re.DOTALL).match(text, at)
    if bare is None or bare[1][:1] in ("'", '"'):
        raise EnvironmentFileError(line, "a quote that is never closed", "close it")
    kept = re.match(r"(?:\\.|[^\\ \t]|[ \t]+(?=[^ \t]))*", bare[1], re.DOTALL)
    value += re.sub(r"\\(.)", lambda found: found[1].strip("\n\r"), kept[0] if kept else "", flags=re.DOTALL)
    return value, bare.end()


def _in_quotes(char: str) -> str:
    return char if char in '"\\`$' else "" if char == "\n" else f"\\{char}"


# compose -------------------------------------------------------------------------------------------------------------


def _compose(text: str) -> list[Entry]:
    found: dict[str, Entry] = {}
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return list(found.values())
        line = text.count("\n", 0, at) + 1
        if text[at] == "#":
            at = _line_end(text, at)
            continue
        name, at = _compose_name(text, at, line)
        value, at = _compose_value(text, at, line, found)
        found.pop(name, None)
        found[name] = Entry(line, name, value)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _compose_name(text: str, at: int, line: int) -> tuple[str, int]:
    at += len(exported[0]) if (exported := re.match(r"export[\t\v\f\r ]+", text[at:])) else 0
    whole = text[at : _line_end(text, at)]
    name, separator, _ = re.split(r"([=:]|$)", whole, maxsplit=1)
    strange = re.search(r"[^\w.\-\[\]\s]", name)
    if strange or re.search(r"\S\s+\S", name) or not name.strip():
        raise EnvironmentFileError(line, "a name that compose does not take", "write NAME=VALUE")
    if not separator:
        raise _inherited(line, name.strip())
    at += len(name) + 1
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return name.strip(), at


def _compose_value(text: str, at: int, line: int, known: Mapping[str, Entry]) -> tuple[str, int]:
    quote = text[at : at + 1]
    if quote not in ("'", '"'):
        end = _line_end(text, at)
        return _resolved(text[at:end].partition(" #")[0].rstrip(), line, known), end
    quoted = re.compile(rf"{quote}((?:\\.|[^{quote}\\])*){quote}", re.DOTALL).match(text, at)
    if quoted is None:
        raise EnvironmentFileError(line, "a quote that is never closed", "close it")
    at = quoted.end()
    end = _line_end(text, at)
    if not re.fullmatch(r"\s*(?:#.*)?", text[at:end]):
        raise EnvironmentFileError(line, "a text after the closing quote", "put all of it into the quotes")
    value = quoted[1].replace(f"\\{quote}", quote) if quote == "'" else _ESCAPE.sub(_escape, quoted[1])
    return (value if quote == "'" else _resolved(value, line, known)), end


def _escape(found: re.Match[str]) -> str:
    text = found[0][1:]
    if text == "$":
        return "$$"
    if text[0] == "0":
        return chr(int(text[1:], 8)) if re.fullmatch(r"[0-3][0-7]{2}", text[1:]) else f"\\{text[1:]}"
    return _ESCAPED.get(text, found[0])


def _resolved(text: str, line: int, known: Mapping[str, Entry]) -> str:
    """Return a value with its variables resolved from what stands before them in the file."""
    result, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        result += text[at:dollar]
        at = dollar + 1
        if text.startswith("$", at):
            result, at = f"{result}$", at + 1
        elif text.startswith("{", at):
            end = _closing(text, at, line)
            result, at = result + _braced(text[at + 1 : end], line, known), end + 1
        elif name := _NAME.match(text, at):
            result, at = result + _known(name[0], line, known), name.end()
        else:
            result += "$"
    return result + text[at:]


def _closing(text: str, at: int, line: int) -> int:
    depth = 0
    for index in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise EnvironmentFileError(line, "${ that is never closed", "close it, or write $$ for one $")


def _braced(inside: str, line: int, known: Mapping[str, Entry]) -> str:
    name = _NAME.match(inside)
    operator = _OPERATOR.match(inside, name.end()) if name else None
    if name is None or (operator is None and name.end() < len(inside)):
        raise EnvironmentFileError(line, "${...} in a form that compose does not know", "write $$ for one $")
    if operator is None:
        return _known(name[0], line, known)
    value = known[name[0]].value if name[0] in known else None
    there = bool(value) if operator[0].startswith(":") else value is not None
    rest = inside[operator.end() :]
    if operator[0].endswith("?") and not there:
        raise EnvironmentFileError(line, f"{name[0]}, which has to be there and is not", f"write {name[0]} before it")
    if operator[0].endswith("+"):
        return _resolved(rest, line, known) if there else value or ""
    return (value or "") if there or operator[0].endswith("?") else _resolved(rest, line, known)


def _known(name: str, line: int, known: Mapping[str, Entry]) -> str:
    if name in known:
        return known[name].value
    observed = f"${name}, which would be that of whoever starts it"
    raise EnvironmentFileError(line, observed, f"write {name} before it, or $$ for one $ (in single quotes: $)")


_READERS: dict[str, Callable[[str], list[Entry]]] = {COMPOSE: _compose, DOCKER: _docker, SYSTEMD: _systemd}
