"""What the pack `abuse` is told: what must be refused, how, and what must not be shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from turnout.acceptance.steps import Reading, Sent, statuses, texts, unknown, unset
from turnout.keys import At, Key, Part, key


class Attack(Sent):
    """A request that is asked in a wrong way."""

    account: bool = key("whether A sends it; without it nobody does", False)


class TooLarge(Attack):
    """A body that is too large: sent with its length, and in chunks."""

    bytes: int = key("how long a body must be refused", 10_000_000, low=1, high=1_000_000_000, unit="bytes")
    refused: tuple[int, ...] = statuses("how it is refused", (413,))


class ManyHeaders(Attack):
    """A request with too many headers."""

    count: int = key("how many headers must be refused", 500, low=1, high=100_000, unit="headers")
    refused: tuple[int, ...] = statuses("how it is refused", (400, 431))


class Slow(Attack):
    """A request whose head, or whose body, comes a byte at a time."""

    seconds: float = key("within which it must be ended", 30.0, low=0.5, high=600, unit="seconds")
    connections: int = key("how many come so at once", 10, low=1, high=500, unit="connections")
    refused: tuple[int, ...] = statuses("how it is refused, where the connection is not just closed", (400, 408))


class Malformed(Attack):
    """A request with a JSON body, which is sent broken."""

    refused: tuple[int, ...] = statuses("how it is refused", (400, 422))


class Tries(Attack):
    """A request that is sent again and again: passwords, resets, verifications; each with another `${unique}`."""

    times: int = key("how often it is sent", 100, low=2, high=10_000, unit="requests")
    most: int = key("how many of them may not be refused", 20, low=0, high=10_000, unit="requests")
    refused: tuple[int, ...] = statuses("how the others are refused", (429,))

    def disagreements(self) -> Iterator[At]:
        """More are sent than may pass."""
        yield from super().disagreements()
        if self.most >= self.times:
            seen = f"{self.most}, and {self.times} are sent"
            yield At(".most", seen, "fewer than times", f"write times: {2 * self.most + 2}")


class Honest(Reading):
    """A request that is answered in time whatever others do."""

    within_seconds: float = key("how long its answer may take", 1.0, low=0.01, high=600, unit="seconds")


def _attacks(means: str) -> object:
    return key(means, (), expected="a list of requests", example="[{request: POST /a}]", item=Key(means="a request"))


class Abuse(Part):
    """Everything of the pack."""

    honest: Honest | None = key("what another client asks meanwhile, as A; not known without it", None)
    bodies: tuple[TooLarge, ...] = _attacks("requests whose body is made too large")  # type: ignore[assignment]
    headers: tuple[ManyHeaders, ...] = _attacks("requests with too many headers")  # type: ignore[assignment]
    slow: tuple[Slow, ...] = _attacks("requests that come slowly")  # type: ignore[assignment]
    malformed: tuple[Malformed, ...] = _attacks("requests whose JSON is broken")  # type: ignore[assignment]
    tries: tuple[Tries, ...] = _attacks("requests that are repeated")  # type: ignore[assignment]
    signatures: tuple[int, ...] = statuses(
        "how the signed deliveries of `idempotent` are refused with a wrong signature", (400, 401, 403)
    )
    canaries: dict[str, str] = texts(
        "what may stand in no log and in no answer of 400 or above, by a name to call it", '{password: "${password}"}'
    )

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        if self.honest is not None:
            yield from unset(f"{where}.honest", self.honest, known)
        for name in ("bodies", "headers", "slow", "malformed", "tries"):
            for index, one in enumerate(getattr(self, name)):
                yield from unset(f"{where}.{name}[{index}]", one, known)
        for name, text in self.canaries.items():
            yield from unknown(f"{where}.canaries.{name}", text, known)
