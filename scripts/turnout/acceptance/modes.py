"""What the pack `failure-modes` is told: life cycles as tables of transitions, writers at once, the clock."""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection, Iterator
from typing import Any

from turnout.acceptance.deliveries import Count
from turnout.acceptance.recipe import VARIABLE
from turnout.acceptance.steps import (
    HEADER,
    POINTER,
    Reading,
    Request,
    Step,
    placeholders,
    statuses,
    texts,
    unknown,
    unset,
)
from turnout.faults import nearest, shown
from turnout.keys import At, Key, Part, Wrong, key

OF_CLOCK = ("now", "zone", "date", "yesterday", "tomorrow", "next_month", "local")
"""Variables of a moment."""

_NAME = Key(pattern=VARIABLE, expected="a name", remedy="write lower-case letters, digits and _, a letter first")
_VALUE = {"type": ["object", "array", "string", "number", "boolean"]}


class Cycle(Part):
    """The life cycle of an object: its states, what is done to it, and what is allowed in each state."""

    name: str = key("what it is called", expected="a text", example="task")
    begin: str = key("the state of an object that was just made", expected="a state of allowed", example="open")
    read: Reading = key("where the state stands; asked as A")
    operations: dict[str, Request] = key(
        "what is done, by name; asked as A", names=_NAME, item=Key(means="a request"),
        example="{close: {request: POST /tasks/1/close}}",
    )  # fmt: skip
    allowed: dict[str, dict[str, str]] = key(
        "for each state the operations that are allowed, with the state that each leads to; others are forbidden",
        names=Key(pattern=r"\S.*", expected="a state"), expected="a mapping of states",
        example="{open: {close: closed}}",
        item=Key(names=_NAME, item=Key(expected="a state", example="closed"), expected="operations"),
    )  # fmt: skip
    refused: tuple[int, ...] = statuses("how what is forbidden is refused", (400, 403, 404, 405, 409, 410, 422))
    walks: int = key("walks through the table", 10, low=0, high=1000, unit="walks")
    steps: int = key("operations in each walk", 10, low=1, high=100, unit="operations")

    def disagreements(self) -> Iterator[At]:
        """Every state is known and reached, every operation is known."""
        if self.begin not in self.allowed:
            yield At(".begin", shown(self.begin), "a state of allowed", f"add `{self.begin}: {{}}` to allowed")
        reached, left = {self.begin}, [self.begin]
        while left:
            new = set(self.allowed.get(left.pop(), {}).values()) - reached
            reached |= new
            left += sorted(new)
        for state, row in self.allowed.items():
            if state not in reached:
                yield At(f".allowed.{state}", f"no way from {self.begin} to it", "states that are reached", "remove it")
            for operation, to in row.items():
                where = f".allowed.{state}.{operation}"
                if operation not in self.operations:
                    likely = nearest(operation, self.operations)
                    remedy = f"rename it to {likely}" if likely else f"add {operation} to operations"
                    yield At(where, "no such operation", "a name of operations", remedy)
                if to not in self.allowed:
                    yield At(where, f"{shown(to)}, which is no state", "a state of allowed", f"add `{to}: {{}}` to it")

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        yield from unset(f"{where}.read", self.read, known)
        for name, one in self.operations.items():
            yield from unset(f"{where}.operations.{name}", one, known)


def _value(means: str) -> Any:
    return key(means, read=placeholders, json=_VALUE, expected="a value", example="a")


class Left(Part):
    """A value that stands there afterwards."""

    at: str = key("where in the answer of `read`", pattern=POINTER, expected="a JSON pointer", example="/note")
    equals: Any = _value("what stands there")


class Write(Request):
    """One of the writers."""

    leaves: tuple[Left, ...] = key(
        "what stands there afterwards where it was accepted", (), expected="a list of values",
        example="[{at: /note, equals: a}]", item=Key(means="a value"),
    )  # fmt: skip


class Together(Part):
    """Writers that write to one row at once, as A: none that was accepted may be lost."""

    name: str = key("what it is called", expected="a text", example="note and title")
    writes: tuple[Write, ...] = key(
        "the requests", expected="a list of requests", example="[{request: PATCH /tasks/1}]",
        item=Key(means="a request"), must=True,
    )  # fmt: skip
    read: Reading | None = key("where what they leave is read", None)
    count: Count | None = key("a count that each accepted one raises by `effect`", None)
    effect: int = key("by how much", 1, low=1, high=1000, unit="effects")
    rounds: int = key("how often it is tried, each time with new objects", 10, low=1, high=1000, unit="rounds")

    def disagreements(self) -> Iterator[At]:
        """There are two writers, and something tells that one was lost."""
        if len(self.writes) < 2:
            yield At(".writes", "fewer than two requests", "two writers at once", "write the request twice")
        leaves = any(one.leaves for one in self.writes)
        if leaves and self.read is None:
            yield At(".read", "no such key", "where what they leave is read", "add `read: {request: GET /...}`")
        if not leaves and self.count is None:
            yield At(".count", "neither count nor leaves", "what tells that a write was lost", "add count, or leaves")

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        for index, one in enumerate(self.writes):
            yield from unset(f"{where}.writes[{index}]", one, known)
            for at, left in enumerate(one.leaves):
                yield from unknown(f"{where}.writes[{index}].leaves[{at}].equals", left.equals, known)
        if self.read is not None:
            yield from unset(f"{where}.read", self.read, known)
        if self.count is not None:
            yield from self.count.unset(f"{where}.count", known)


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        raise Wrong(f"{name}, which is no time zone", "a name such as Europe/Berlin", "write Europe/Berlin") from None
    return name


class Due(Part):
    """What is asked at a moment."""

    request: str = key("GET and path; asked as A", pattern=r"GET /\S*", expected="GET and path", check=placeholders)
    at: str = key("where in the answer", pattern=POINTER, expected="a JSON pointer", example="/due")
    equals: Any = _value("what must stand there: e.g. `${date}`, `${tomorrow}`, `${next_month}`, `${local}`")
    headers: dict[str, str] = texts("headers that are sent along", "{X-Zone: Europe/Berlin}", HEADER)
    steps: tuple[Step, ...] = key(
        "requests before it, as A", (), expected="a list of requests", example="[{request: POST /tasks}]",
        item=Key(means="a request"),
    )  # fmt: skip


class Clock(Part):
    """How the candidate's clock is set, and what is asked then: midnight, both changes, the end of February."""

    zones: tuple[str, ...] = key(
        "time zones", expected="a list of time zones", example="[Europe/Berlin]", must=True,
        item=Key(check=_zone, expected="a time zone", example="Europe/Berlin"),
    )  # fmt: skip
    asks: tuple[Due, ...] = key(
        "what is asked at each moment", expected="a list", example="[{request: GET /today, at: /date, equals: x}]",
        item=Key(means="a question"), must=True,
    )  # fmt: skip

    header: str = key(
        "a header by which the application takes another time for a request", "", pattern=rf"({HEADER.pattern})?",
        expected="a header's name", example="X-Clock", by_default="the command of `--clock`",
    )  # fmt: skip
    value: str = key("what stands in it: `${now}` is UTC, as 2028-03-26T00:59:59Z", "${now}", check=placeholders)

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        known = {*known, *OF_CLOCK}
        yield from unknown(f"{where}.value", self.value, known)
        for index, one in enumerate(self.asks):
            here, there = f"{where}.asks[{index}]", set(known)
            for number, step in enumerate(one.steps):
                yield from unset(f"{here}.steps[{number}]", step, there)
                there |= step.capture.keys()
            for name in ("request", "headers"):
                yield from unknown(f"{here}.{name}", getattr(one, name), there)
            yield from unknown(f"{here}.equals", one.equals, there)


class Modes(Part):
    """Everything of the pack."""

    life_cycles: tuple[Cycle, ...] = key(
        "life cycles of objects", (), expected="a list of life cycles", example="[{name: task}]",
        item=Key(means="a life cycle"),
    )  # fmt: skip
    together: tuple[Together, ...] = key(
        "writers at once", (), expected="a list", example="[{name: note}]", item=Key(means="writers")
    )
    clock: Clock | None = key("how the application's clock is set; without it time is not known", None)

    def unset(self, where: str, known: Collection[str]) -> Iterator[At]:
        """Yield the variables that nothing sets."""
        for name in ("life_cycles", "together"):
            for index, one in enumerate(getattr(self, name)):
                yield from one.unset(f"{where}.{name}[{index}]", known)
        if self.clock is not None:
            yield from self.clock.unset(f"{where}.clock", known)
