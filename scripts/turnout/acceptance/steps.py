"""Requests as a declaration has them: what every part of `acceptance/acceptance.yml` is written with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from turnout.acceptance.recipe import VARIABLE, names_in, stray
from turnout.faults import kind_of, nearest
from turnout.keys import At, Key, Part, Wrong, key
from turnout.service.values import HEADER_NAME

GIVEN = ("account", "unique", "mark")
"""Variables that every recipe has."""
READS = ("GET", "HEAD")
POINTER = r"(/[^/\s]*)+"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_OPERATION = rf"({'|'.join(_METHODS)}) /\S*"
_CAPTURED = rf"{POINTER}|header:{HEADER_NAME}"


def placeholders(value: Any) -> Any:
    """Return a value in which every $ begins a placeholder; raises `Wrong`."""
    if stray(value):
        raise Wrong("a $ that begins no ${variable}", "${variable} or $$", "write $$ where one $ is meant")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(kind_of(value), "a text", "write it in quotes: YAML reads other values than are written")
    return str(placeholders(value))


NAMES = Key(
    pattern=VARIABLE,
    observed="a name that no variable can have",
    expected="lower-case letters, digits and _, a letter first",
    remedy="rename it, to e.g. task_id",
)
_TEXT = Key(expected="a text", read=_text, hidden=True, json={"type": "string"})
_ANY = {"type": ["object", "array", "string", "number", "boolean"]}
HEADER = Key(
    pattern=HEADER_NAME, observed="a name that no header can have", expected="a header's name", remedy="rename it"
)


def texts(means: str, example: str, names: Key = NAMES, **options: Any) -> Any:
    """Return the key of a mapping of names to texts."""
    return key(means, dict, names=names, item=_TEXT, example=example, **options)


def operations(means: str, example: str) -> Any:
    """Return the key of a list of operations."""
    item = Key(pattern=_OPERATION, expected="a method and a path, as the document has them", example=example)
    expected = "a list of operations, each a method and a path"
    return key(means, (), item=item, expected=expected, example=f"[{example}]")


def pointer(means: str, **options: Any) -> Any:
    """Return the key of a JSON pointer; the empty one means the whole answer."""
    expected = "a JSON pointer (RFC 6901) such as /count"
    more = {"by_default": "the whole answer", **options}
    return key(means, "", pattern=f"({POINTER})?", expected=expected, example="/count", **more)


def statuses(means: str, default: tuple[int, ...]) -> Any:
    """Return the key of a list of HTTP statuses."""
    item = Key(low=100, high=599, unit="HTTP status", example="409")
    return key(means, default, item=item, expected="a list of HTTP statuses", example="[409]")


class Request(Part):
    """One request."""

    request: str = key(
        "method and path; `${name}` stands for a variable",
        pattern=_OPERATION,
        expected=f"a method ({', '.join(_METHODS)}), a blank and a path",
        example="POST /api/tasks/",
        check=placeholders,
    )
    json: Any = key(
        "the body, sent as JSON", None, read=placeholders, json=_ANY, expected="a value", example="{title: a}"
    )
    form: dict[str, str] = texts("the body, sent as a form", "{grant_type: password}", Key(pattern=r"\S+"))
    headers: dict[str, str] = texts("headers that are sent along", "{Accept: text/html}", HEADER)

    def disagreements(self) -> Iterator[At]:
        """A request has one body."""
        if self.json is not None and self.form:
            yield At(".form", "a form beside json", "one body", "remove json or form")

    @property
    def method(self) -> str:
        """The method."""
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path, with its placeholders."""
        return self.request.partition(" ")[2]


class Step(Request):
    """One request of a recipe."""

    status: int | None = key(
        "what must be answered", None, low=100, high=599, unit="HTTP status", by_default="200 to 299", example="201"
    )
    capture: dict[str, str] = key(
        "variables that are taken from the answer: each a JSON pointer (RFC 6901) or `header:NAME`",
        dict,
        names=NAMES,
        item=Key(pattern=_CAPTURED, expected="a JSON pointer such as /id, or header:NAME", example="/id"),
        example="{task_id: /id}",
    )


class Signed(Part):
    """How a request is signed: an HMAC over its body, in a header."""

    header: str = key(
        "the header that holds the signature", pattern=HEADER_NAME, expected="a header's name", example="X-Signature"
    )
    secret: str = key("the secret that the candidate checks it by; never shown", hidden=True, example="test-secret")
    algorithm: str = key("the hash", "sha256", choices=("sha1", "sha256", "sha512"))
    of: str = key("what is signed; `${time}` is the time in seconds", "${body}", check=placeholders)
    text: str = key("the header's value; `${time}` as in `of`", "${signature}", check=placeholders)

    def disagreements(self) -> Iterator[At]:
        """Each text names what is there when it is made."""
        for name, must in (("of", "body"), ("text", "signature")):
            value = getattr(self, name)
            yield from unknown(f".{name}", value, (must, "time"))
            if must not in names_in(value):
                yield At(f".{name}", f"no ${{{must}}}", f"a text with ${{{must}}}", f'write {name}: "${{{must}}}"')


class Sent(Request):
    """One request that may be signed."""

    signed: Signed | None = key("how it is signed; none where it is not", None)


class Reading(Part):
    """A value that is read of the candidate."""

    request: str = key(
        "GET and path; `${name}` stands for a variable", pattern=r"GET /\S*", expected="GET, a blank and a path",
        example="GET /api/tasks/${task_id}", check=placeholders,
    )  # fmt: skip
    at: str = pointer("where in the JSON of the answer, as a JSON pointer (RFC 6901)")


def steps(means: str) -> Any:
    """Return the key of requests of a recipe."""
    expected, example = "a list of requests", "[{request: POST /api/tasks/}]"
    return key(means, (), expected=expected, example=example, item=Key(means="a request"), must=True)


def unset(where: str, request: Request | Reading, known: Collection[str]) -> Iterator[At]:
    """Yield the variables of a request that nothing sets before, and captures that hide what Turnout gives."""
    for part in ("request", "json", "form", "headers"):
        yield from unknown(f"{where}.{part}", getattr(request, part, None), known)
    if isinstance(request, Sent) and request.signed is not None:
        yield from unknown(f"{where}.signed.secret", request.signed.secret, known)
    for name in sorted(getattr(request, "capture", {}).keys() & set(GIVEN)):
        yield At(f"{where}.capture.{name}", "a variable that Turnout gives", "another name", f"rename {name}")


def unknown(where: str, value: Any, known: Collection[str]) -> Iterator[At]:
    """Yield the variables of a value that nothing sets before."""
    for name in dict.fromkeys(names_in(value)):
        if name not in known:
            likely = nearest(name, known)
            remedy = f"write ${{{likely}}}" if likely else f"capture {name} in a request before this one"
            yield At(where, f"${{{name}}}, which nothing sets before", "variables that are set", remedy)
