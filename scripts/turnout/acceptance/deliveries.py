"""What the pack `idempotent` is told: what is delivered, and how its effect is counted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from turnout.acceptance.recipe import names_in
from turnout.acceptance.steps import Reading, Sent, placeholders, pointer, unknown, unset
from turnout.keys import At, Key, Part, Wrong, key


def _sql(text: str) -> str:
    placeholders(text)
    if any("${" in quoted for quoted in text.split("'")[1::2]):
        raise Wrong(
            "a variable in quotes of SQL", "variables without quotes: they are sent apart from the text",
            "remove the quotes: WHERE event = ${unique}",
        )  # fmt: skip
    return text


class Count(Part):
    """How an effect is counted: by a request, or in the database."""

    request: str = key(
        "GET and path of what is counted", "", pattern=r"(GET /\S*)?", expected="GET, a blank and a path",
        example="GET /api/payments?event=${unique}", check=placeholders, by_default="none",
    )  # fmt: skip
    at: str = pointer("where in its answer the number is, or the list whose items are counted")
    sql: str = key(
        "in place of a request: a query of one number, for `--database-from`", "", check=_sql, expected="SQL",
        example="SELECT count(*) FROM payments WHERE event = ${unique}", by_default="none",
    )  # fmt: skip

    def disagreements(self) -> Iterator[At]:
        """It is counted in one way."""
        if bool(self.request) == bool(self.sql):
            seen = "request and sql" if self.sql else "neither request nor sql"
            yield At("", seen, "one of both", "write request: GET /..., or sql: SELECT count(*) ...")

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        yield from unknown(f"{where}.{'sql' if self.sql else 'request'}", self.sql or self.request, known)


class Delivery(Part):
    """A webhook, or a request that enqueues a job: it may come more than once, and has one effect."""

    name: str = key("what it is called", expected="a text", example="payment")
    send: tuple[Sent, ...] = key(
        "the requests, in the order in which they happen; all with the same `${unique}`",
        expected="a list of requests", example="[{request: POST /webhooks/payment, json: {id: x}}]",
        item=Key(means="a request"), must=True,
    )  # fmt: skip
    count: Count = key("how their effect is counted; asked as A")
    account: bool = key("whether A sends them; without it nobody does, as a provider's server", False)
    effect: int = key("by how much all of them together raise the count", 1, low=1, high=1000, unit="effects")
    leaves: Reading | None = key("a value that must be the same however they are delivered; asked as A", None)
    within_seconds: float = key("how long the effect may take", 10.0, low=0.1, high=600, unit="seconds")
    watch_seconds: float = key("how long a second effect is waited for", 1.0, low=0.05, high=600, unit="seconds")

    kill_seconds: tuple[float, ...] = key(
        "how long after a delivery the workers are killed, each time in a delivery of its own", (0.0, 0.3, 1.0),
        expected="a list of seconds", example="[0, 0.5]", by_default="0, 0.3, 1",
        item=Key(low=0, high=600, unit="seconds", example="0.5"),
    )  # fmt: skip

    def disagreements(self) -> Iterator[At]:
        """Something is sent, and it is told apart from what other runs send."""
        if not self.send:
            yield At(".send", "an empty list", "at least one request", "add a request")
        elif not any("unique" in names_in([one.request, one.json, one.form, one.headers]) for one in self.send):
            yield At(
                ".send", "no ${unique} in a request", "an id that no other delivery has",
                'write ${unique} as the id of the event, e.g. json: {id: "${unique}"}',
            )  # fmt: skip

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        for index, one in enumerate(self.send):
            yield from unset(f"{where}.send[{index}]", one, known)
        yield from self.count.unset(f"{where}.count", known)
        if self.leaves is not None:
            yield from unset(f"{where}.leaves", self.leaves, known)
