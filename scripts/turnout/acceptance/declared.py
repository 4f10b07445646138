"""`acceptance/acceptance.yml` in a release: which packs are asked, of which document, as whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from turnout.acceptance.abuses import Abuse
from turnout.acceptance.caches import Cold
from turnout.acceptance.deliveries import Delivery
from turnout.acceptance.modes import Modes
from turnout.acceptance.recipe import names_in
from turnout.acceptance.steps import GIVEN, HEADER, Step, operations, steps, texts, unknown, unset
from turnout.faults import nearest, shown
from turnout.keys import At, Key, Part, Wrong, key

CONTRACT, COMPATIBLE, ACCESS, IDEMPOTENT, FAILURE_MODES, ABUSE, COLD = PACKS = (
    *("contract", "compatible", "access"),
    *("idempotent", "failure-modes", "abuse", "cold"),
)
WRITING = (IDEMPOTENT, FAILURE_MODES, ABUSE, COLD)
"""Packs of which no part only reads."""


def _pack(value: Any) -> str:
    if value in PACKS:
        return str(value)
    likely = nearest(value, PACKS) if isinstance(value, str) else None
    remedy = f"write {likely}" if likely else f"remove it; the packs are {', '.join(PACKS)}"
    raise Wrong(f"{shown(value)}, which is no pack", f"one of: {', '.join(PACKS)}", remedy)


def _document(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise Wrong("a path out of the release", "a path in the release's folder", "copy the document into the release")
    return path


class Accounts(Part):
    """How two accounts are got: the same steps, once with the variables of `a`, once with those of `b`."""

    a: dict[str, str] = texts("variables of account A; their values are never shown", "{user: ada}")
    b: dict[str, str] = texts("variables of account B, of the same names", "{user: bob}")
    steps: tuple[Step, ...] = steps("requests that create an account or log it in; cookies are kept")
    headers: dict[str, str] = texts(
        "headers of every request as this account; secrets", '{Authorization: "Bearer ${token}"}', HEADER
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
    parameters: dict[str, str] = texts(
        "what of account A stands in a parameter of that name, in paths and queries", '{task_id: "${task_id}"}',
        Key(pattern=r"\S+", expected="a parameter's name"),
    )  # fmt: skip
    public: tuple[str, ...] = operations("operations that nobody needs an account for", "GET /api/health/")
    shared: tuple[str, ...] = operations(
        "operations in which an account may ask for what is another's", "GET /api/users/{user_id}/"
    )
    routes: tuple[str, ...] = operations(
        "every route that the application has; one that answers and is not in the document is a finding",
        "GET /api/debug/",
    )
    idempotent: tuple[Delivery, ...] = key(
        "what the pack `idempotent` delivers", (), expected="a list of deliveries",
        example="[{name: payment, send: [{request: POST /webhooks/payment}], count: {request: GET /payments}}]",
        item=Key(means="a delivery"),
    )  # fmt: skip
    failure_modes: Modes | None = key("life cycles, writers at once and time, for the pack `failure-modes`", None)
    abuse: Abuse | None = key("what the pack `abuse` does wrong, and how that is refused", None)
    cold: Cold | None = key("what the pack `cold` asks without the cache", None)
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
                yield from unset(f".accounts.steps[{index}]", step, known)
                known |= step.capture.keys()
            for name, text in self.accounts.headers.items():
                yield from unknown(f".accounts.headers.{name}", text, known)
        for index, step in enumerate(self.objects):
            yield from unset(f".objects[{index}]", step, known)
            known |= step.capture.keys()
        for name, text in self.parameters.items():
            yield from unknown(f".parameters.{name}", text, known)
        if self.objects and self.accounts is None:
            yield At(".objects", "objects, and no accounts", "accounts, of which A makes them", "add accounts")
        yield from self._writing(known)
        if ACCESS in self.packs:
            yield from self._access()

    def _writing(self, known: Collection[str]) -> Iterator[At]:
        """Yield what is wrong with what packs that write are told."""
        for index, delivery in enumerate(self.idempotent):
            yield from delivery.unset(f".idempotent[{index}]", known)
        for name in ("failure_modes", "abuse", "cold"):
            part = getattr(self, name)
            if part is not None:
                yield from part.unset(f".{name}", known)
        for pack in WRITING:
            name = pack.replace("-", "_")
            if pack in self.packs and not getattr(self, name):
                yield At(
                    f".{name}", "no such key", f"what the pack {pack} asks", f"add {name}, or remove {pack} from packs"
                )

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


def split(operation: str) -> tuple[str, str]:
    """Return method and path of an operation as it is written."""
    method, _, path = operation.partition(" ")
    return method, path
