"""What the pack `cold` is told: what is asked without the cache, and what may be answered then."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from turnout.acceptance.steps import Request, statuses, unset
from turnout.keys import At, Key, Part, key


class Warm(Request):
    """A request that is answered in time, with the cache and without."""

    account: bool = key("whether A asks it; without it nobody does", False)
    within_seconds: float = key("how long its answer may take", 1.0, low=0.01, high=600, unit="seconds")
    degraded: tuple[int, ...] = statuses("what may be answered too while the cache is stopped", ())


class Cold(Part):
    """Everything of the pack."""

    asks: tuple[Warm, ...] = key(
        "requests", expected="a list of requests", example="[{request: GET /tasks}]", item=Key(means="a request"),
        must=True,
    )  # fmt: skip
    recover_seconds: float = key(
        "how long it may take until all is answered again, once the cache is there", 30.0, low=0.1, high=600,
        unit="seconds",
    )  # fmt: skip

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        for index, one in enumerate(self.asks):
            yield from unset(f"{where}.asks[{index}]", one, known)
