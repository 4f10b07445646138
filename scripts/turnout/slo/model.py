"""An SLO, as the judge, the rules and the reports use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from turnout.errors import TurnoutError
from turnout.slo import selector
from turnout.slo.selector import Selector

COLORS = ("blue", "green")
SELECTOR_FORM = """a plain counter selector, e.g. http_requests_total{job="api",code=~"5.."}"""


class Kind(StrEnum):
    """What an SLO measures. Only latency may have a warm-up allowance."""

    AVAILABILITY = "availability"
    LATENCY = "latency"
    SUCCESS = "success"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: for errors."""

    file: str
    line: int
    field: str

    def __str__(self) -> str:
        """Return the place as errors begin with it."""
        return f"{self.file}:{self.line}: {self.field}"


@dataclass(frozen=True, slots=True)
class Source:
    """One declared query: which counters it is, and how a color's are told from the other's.

    `query` is as written; `selector` reads it. A color's series are those where the label `color_label` has
    the value `color_value`, in which `{color}` stands for blue or green. Series may differ in the labels
    `sum_over` (beside the target's own) and are added up; any other difference means that the query caught
    something else. `absent_is_zero` declares that a counter which has never counted does not exist yet.
    """

    place: Place
    query: str
    system: str = "Prometheus"
    color_label: str = "color"
    color_value: str = "{color}"
    sum_over: tuple[str, ...] = ()
    absent_is_zero: bool = False
    unknown_keys: tuple[str, ...] = ()

    @property
    def selector(self) -> Selector:
        """The query as a selector; raises `TurnoutError` where it is more than one."""
        try:
            return selector.parse(self.query)
        except selector.SelectorError as error:
            raise TurnoutError(
                "slo-query",
                observed=f"{self.place}: {self.query!r} {error}",
                expected=SELECTOR_FORM,
                remedy=f"write the counter's selector alone on line {self.place.line} of {self.place.file}",
            ) from error

    def for_color(self, color: str) -> Selector:
        """Return the selector of one color's series."""
        return self.selector.where(self.color_label, self.color_value.replace("{color}", color))


@dataclass(frozen=True, slots=True)
class Objective:
    """What the judge needs of an SLO.

    `p0` is 1 - objective, the highest healthy bad ratio, above 0 and below 1. `weight` is its part in the
    mean of the rollback values. For `warm_up_s` seconds after the candidate's first scrape, a further
    `warm_up_allowance` of its events may be bad (latency only). `gates_promotion` false lets the share grow
    without evidence from this SLO (for one with so little traffic that it would hold up every release); it
    still rolls back. `counts_good` says that good events are counted, and bad ones are what is left of all.
    `largest_user` is the part of the requests that no user exceeds, where the edges share these events out by user.
    """

    name: str
    p0: float
    weight: float = 1.0
    warm_up_s: float = 0.0
    warm_up_allowance: float = 0.0
    gates_promotion: bool = True
    counts_good: bool = False
    largest_user: float | None = None


@dataclass(frozen=True, slots=True)
class Slo:
    """A ratio of good or bad events to all events, and the objective for it.

    `objective` is the good ratio aimed at, above 0 and below 1, over `window` (a Prometheus duration).
    Exactly one of `good` and `bad` is given.
    """

    place: Place
    name: str
    title: str
    description: str
    service: str
    kind: Kind
    objective: float
    window: str
    total: Source
    good: Source | None
    bad: Source | None
    weight: float = 1.0
    warm_up_s: float = 0.0
    warm_up_allowance: float = 0.0
    gates_promotion: bool = True
    largest_user: float | None = None

    @property
    def budget(self) -> float:
        """1 - objective: the bad ratio that is allowed."""
        return 1.0 - self.objective

    def for_judge(self) -> Objective:
        """Return what the judge needs of it."""
        return Objective(
            name=self.name,
            p0=self.budget,
            weight=self.weight,
            warm_up_s=self.warm_up_s,
            warm_up_allowance=self.warm_up_allowance,
            gates_promotion=self.gates_promotion,
            counts_good=self.good is not None,
            largest_user=self.largest_user,
        )

    @property
    def part(self) -> Source:
        """The query of the numerator, good or bad."""
        source = self.bad if self.bad is not None else self.good
        assert source is not None  # noqa: S101 - the parser lets no SLO through without one
        return source

    @property
    def sources(self) -> tuple[Source, Source]:
        """Both queries: the numerator's and the total's."""
        return (self.part, self.total)


def for_judge(slos: Mapping[str, Slo]) -> dict[str, Objective]:
    """Return what the judge needs of all of them."""
    return {name: slo.for_judge() for name, slo in slos.items()}
