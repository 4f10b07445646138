"""One curl command that repeats a request. What is a secret in it stands there as a variable of the shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

_OF_CURL = {"accept-encoding", "connection", "content-length", "user-agent"}
_SHOWN = frozenset("\n\t")


def curl(method: str, url: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[tuple[str, str]]) -> str:
    """Return the command; `secrets` are values with the names of the variables that stand for them."""
    words = ["curl -sS -i -g --path-as-is"]
    words.append("-I" if method == "HEAD" else f"-X {method}")
    words.append(worded(url, secrets))
    for name, value in headers.items():
        if name.lower() in _OF_CURL or (name.lower() == "accept" and value == "*/*"):
            continue
        words.append(f"-H {worded(f'{name}: {value}' if value else f'{name};', secrets)}")
    if not body:
        return " ".join(words)
    if not any(name.lower() == "content-type" for name in headers):
        words.append("-H 'Content-Type:'")
    text = _text(body)
    if text is not None:
        return " ".join([*words, f"--data-binary {worded(text, secrets)}"])
    octal = "".join(f"\\{byte:03o}" for byte in body)
    return " ".join([f"printf '{octal}' |", *words, "--data-binary @-"])


def worded(text: str, secrets: Sequence[tuple[str, str]]) -> str:
    """Return a text as one word of the shell, secrets in it as variables."""
    pieces: list[str | tuple[str]] = [text]
    for value, variable in sorted(secrets, key=lambda one: -len(one[0])):
        for form in dict.fromkeys((value, quote(value, safe=""))):
            pieces = [part for piece in pieces for part in _cut(piece, form, variable)]
    word = "".join(f'"${piece[0]}"' if isinstance(piece, tuple) else shlex.quote(piece) for piece in pieces if piece)
    return word or "''"


def hidden(text: str, secrets: Sequence[tuple[str, str]]) -> str:
    """Return a text with every secret in it replaced by the name of its variable."""
    for value, variable in sorted(secrets, key=lambda one: -len(one[0])):
        for form in dict.fromkeys((value, quote(value, safe=""))):
            text = text.replace(form, f"${variable}")
    return text


def _cut(piece: Any, value: str, variable: str) -> list[Any]:
    if isinstance(piece, tuple) or value not in piece:
        return [piece]
    first, *rest = piece.split(value)
    return [first, *(one for part in rest for one in ((variable,), part))]


def _text(body: bytes) -> str | None:
    """Return a body that may stand on a command line, or None."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # curl reads a file where the value begins with @.
    fit = not text.startswith("@") and all(char.isprintable() or char in _SHOWN for char in text)
    return text if fit else None
