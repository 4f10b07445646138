"""`acceptance/acceptance.yml` in a release: which packs are asked, of which document, as whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from turnout.acceptance.recipe import VARIABLE, names_in, stray
from turnout.faults import kind_of, nearest, shown
from turnout.keys import At, Key, Part, Wrong, key
from turnout.service.values import HEADER_NAME

CONTRACT, COMPATIBLE, ACCESS = PACKS = ("contract", "compatible", "access")
LATER = ("idempotent", "failure-modes", "abuse", "cold")
"""Packs that are planned, and not built yet."""
GIVEN = ("account", "unique", "mark")
"""Variables that every recipe has."""
READS = ("GET", "HEAD")

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_OPERATION = rf"({'|'.join(_METHODS)}) /\S*"
_POINTER = r"(/[^/\s]*)+|header:" + HEADER_NAME


def _pack(value: Any) -> str:
    if value in PACKS:
        return str(value)
    if value in LATER:
        raise Wrong(f"the pack {value}, which is not built yet", f"one of: {', '.join(PACKS)}", f"remove {value}")
    likely = nearest(value, (*PACKS, *LATER)) if isinstance(value, str) else None
    remedy = f"write {likely}" if likely in PACKS else f"remove it; the packs are {', '.join(PACKS)}"
    raise Wrong(f"{shown(value)}, which is no pack", f"one of: {', '.join(PACKS)}", remedy)


def _placeholders(value: Any) -> Any:
    if stray(value):
        raise Wrong("a $ that begins no ${variable}", "${variable} or $$", "write $$ where one $ is meant")
    return value


def _document(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise Wrong("a path out of the release", "a path in the release's folder", "copy the document into the release")
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(kind_of(value), "a text", "write it in quotes: YAML reads other values than are written")
    return str(_placeholders(value))


_NAMES = Key(
    pattern=VARIABLE,
    observed="a name that no variable can have",
    expected="lower-case letters, digits and _, a letter first",
    remedy="rename it, to e.g. task_id",
)
_TEXT = Key(expected="a text", read=_text, hidden=True, json={"type": "string"})
_ANY = {"type": ["object", "array", "string", "number", "boolean"]}
_HEADER = Key(
    pattern=HEADER_NAME, observed="a name that no header can have", expected="a header's name", remedy="rename it"
)


def _texts(means: str, example: str, names: Key = _NAMES, **options: Any) -> Any:
    return key(means, dict, names=names, item=_TEXT, example=example, **options)


def _operations(means: str, example: str) -> Any:
    item = Key(pattern=_OPERATION, expected="a method and a path, as the document has them", example=example)
    expected = "a list of operations, each a method and a path"
    return key(means, (), item=item, expected=expected, example=f"[{example}]")


class Step(Part):
    """One request of a recipe."""

    request: str = key(
        "method and path; `${name}` stands for a variable",
        pattern=_OPERATION,
        expected=f"a method ({', '.join(_METHODS)}), a blank and a path",
        example="POST /api/tasks/",
        check=_placeholders,
    )
    json: Any = key(
        "the body, sent as JSON", None, read=_placeholders, json=_ANY, expected="a value", example="{title: a}"
    )
    form: dict[str, str] = _texts("the body, sent as a form", "{grant_type: password}", Key(pattern=r"\S+"))
    headers: dict[str, str] = _texts("headers that are sent along", "{Accept: text/html}", _HEADER)
    status: int | None = key(
        "what must be answered", None, low=100, high=599, unit="HTTP status", by_default="200 to 299", example="201"
    )
    capture: dict[str, str] = key(
        "variables that are taken from the answer: each a JSON pointer (RFC 6901) or `header:NAME`",
        dict,
        names=_NAMES,
        item=Key(pattern=_POINTER, expected="a JSON pointer such as /id, or header:NAME", example="/id"),
        example="{task_id: /id}",
    )

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


def _steps(means: str) -> Any:
    expected, example = "a list of requests", "[{request: POST /api/tasks/}]"
    return key(means, (), expected=expected, example=example, item=Key(means="a request"), must=True)


class Accounts(Part):
    """How two accounts are got: the same steps, once with the variables of `a`, once with those of `b`."""

    a: dict[str, str] = _texts("variables of account A; their values are never shown", "{user: ada}")
    b: dict[str, str] = _texts("variables of account B, of the same names", "{user: bob}")
    steps: tuple[Step, ...] = _steps("requests that create an account or log it in; cookies are kept")
    headers: dict[str, str] = _texts(
        "headers of every request as this account; secrets", '{Authorization: "Bearer ${token}"}', _HEADER
    )

    def disagreements(self) -> Iterator[At]:
        """Both accounts have the same variables."""
        for name in sorted(self.a.keys() ^ self.b.keys()):
            here, there = ("a", "b") if name in self.a else ("b", "a")
            yield At(f".{there}", f"no {name}, which {here} has", "the same names", f"add {name} to {there}")
        for side in ("a", "b"):
            for name in sorted(getattr(self, side).keys() & set(GIVEN)):
                yield At(f".{side}.{name}", "a variable that Turnout gives", "another name", f"rename {name}")

    @property
    def variables(self) -> set[str]:
        """The variables that an account has in the end."""
        return {*GIVEN, *self.a, *(name for step in self.steps for name in step.capture)}


class Budget(Part):
    """How much may be asked, at most."""

    requests: int = key("requests in one run", 3000, low=1, high=1_000_000, unit="requests")
    seconds: int = key("time of one run", 300, low=1, high=86_400, unit="seconds")
    answer_seconds: int = key("how long one answer may take", 10, low=1, high=600, unit="seconds")
    examples: int = key("generated requests for each operation and pack", 20, low=1, high=10_000, unit="requests")


class Acceptance(Part):
    """The file."""

    packs: tuple[str, ...] = key(
        f"what is asked: {', '.join(PACKS)}",
        expected="a list of packs",
        example="[contract]",
        item=Key(read=_pack, expected=f"one of: {', '.join(PACKS)}", json={"enum": list(PACKS)}),
    )
    document: str = key(
        "the OpenAPI document (2.0, 3.0 or 3.1; YAML or JSON), relative to the release's folder",
        "openapi.yml",
        expected="a path in the release's folder",
        example="openapi.yml",
        check=_document,
    )
    accounts: Accounts | None = key("two accounts; `access` needs them, `contract` asks as A", None)
    objects: tuple[Step, ...] = key(
        "requests that make, as A, what the packs ask for; a text with `${mark}` in it must be shown to nobody else",
        (),
        expected="a list of requests",
        example="[{request: POST /api/tasks/}]",
        item=Key(means="a request"),
    )
    parameters: dict[str, str] = _texts(
        "what of account A stands in a parameter of that name, in paths and queries", '{task_id: "${task_id}"}',
        Key(pattern=r"\S+", expected="a parameter's name"),
    )  # fmt: skip
    public: tuple[str, ...] = _operations("operations that nobody needs an account for", "GET /api/health/")
    shared: tuple[str, ...] = _operations(
        "operations in which an account may ask for what is another's", "GET /api/users/{user_id}/"
    )
    routes: tuple[str, ...] = _operations(
        "every route that the application has; one that answers and is not in the document is a finding",
        "GET /api/debug/",
    )
    seed: int = key("what generated requests begin from; the same seed makes the same requests", 1, high=10**9)
    budget: Budget = key("bounds of a run", Budget)

    def disagreements(self) -> Iterator[At]:
        """Every variable is set before it is used, and `access` has what it asks with."""
        if not self.packs:
            yield At(".packs", "an empty list", "at least one pack", "write packs: [contract]")
        known = {*GIVEN}
        if self.accounts is not None:
            known |= set(self.accounts.a)
            for index, step in enumerate(self.accounts.steps):
                yield from _unset(f".accounts.steps[{index}]", step, known)
                known |= step.capture.keys()
            for name, text in self.accounts.headers.items():
                yield from _unknown(f".accounts.headers.{name}", text, known)
        for index, step in enumerate(self.objects):
            yield from _unset(f".objects[{index}]", step, known)
            known |= step.capture.keys()
        for name, text in self.parameters.items():
            yield from _unknown(f".parameters.{name}", text, known)
        if self.objects and self.accounts is None:
            yield At(".objects", "objects, and no accounts", "accounts, of which A makes them", "add accounts")
        if ACCESS in self.packs:
            yield from self._access()

    def _access(self) -> Iterator[At]:
        if self.accounts is None:
            yield At(".accounts", "no such key", "two accounts for the pack access", "add accounts, or remove access")
            return
        if not any("mark" in names_in([step.request, step.json, step.form]) for step in self.objects):
            yield At(
                ".objects",
                "no request with ${mark} in it",
                "a text of A's objects by which a list that leaks is known",
                'write ${mark} into a text of an object, e.g. json: {title: "${mark}"}',
            )


def _unset(where: str, step: Step, known: Collection[str]) -> Iterator[At]:
    for part in ("request", "json", "form", "headers"):
        yield from _unknown(f"{where}.{part}", getattr(step, part), known)
    for name in sorted(step.capture.keys() & set(GIVEN)):
        yield At(f"{where}.capture.{name}", "a variable that Turnout gives", "another name", f"rename {name}")


def _unknown(where: str, value: Any, known: Collection[str]) -> Iterator[At]:
    for name in dict.fromkeys(names_in(value)):
        if name not in known:
            likely = nearest(name, known)
            remedy = f"write ${{{likely}}}" if likely else f"capture {name} in a request before this one"
            yield At(where, f"${{{name}}}, which nothing sets before", "variables that are set", remedy)


def split(operation: str) -> tuple[str, str]:
    """Return method and path of an operation as it is written."""
    method, _, path = operation.partition(" ")
    return method, path
