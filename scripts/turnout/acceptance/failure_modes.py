"""The pack `failure-modes`: life cycles by their tables, writers at once, and the moments at which time goes wrong.

Every pair of state and operation is asked once, by the shortest way to the state; then a state machine of hypothesis
walks through the table, always the same walks for the same declaration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from turnout.acceptance import hooks
from turnout.acceptance.asking import NOBODY, Answer, Asker, Identity
from turnout.acceptance.counting import Counter, UnreadableError
from turnout.acceptance.findings import Findings, Script
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.modes import Clock, Cycle, Due, Modes, Together
from turnout.acceptance.moments import moments, variables
from turnout.acceptance.recipe import filled, found
from turnout.acceptance.steps import Request
from turnout.acceptance.world import World, unique

PACK = "failure-modes"
Path = tuple[str, ...]
"""Operations that follow each other, by their names."""


class _BrokenError(Exception):
    """Raised in a walk that found something."""


class Failing:
    """Asks the pack of one candidate."""

    def __init__(self, world: World, asker: Asker, findings: Findings, counter: Counter, given: Hooks) -> None:
        self._world = world
        self._asker = asker
        self._findings = findings
        self._counter = counter
        self._hooks = given

    @property
    def _who(self) -> Identity:
        return self._world.a or NOBODY

    def _prepared(self, request: Request, known: Mapping[str, Any]) -> requests.PreparedRequest:
        return self._asker.prepared(self._who, self._world.request(request, known))

    def _new(self) -> dict[str, Any]:
        self._world.renew()
        return {**self._world.variables, "unique": unique()}

    # Life cycles -------------------------------------------------------------------------------------------------

    def life_cycle(self, cycle: Cycle, number: int) -> None:
        """Ask one life cycle; raises SpentError."""
        try:
            known = self._new()
            state = self._counter.value(cycle.read, known)
            if state != cycle.begin:
                why = f"an object that was just made does not read {cycle.begin}: correct begin or read"
                self._findings.not_known(PACK, cycle.name, why)
                return
            wrong = self._pairs(cycle)
        except UnreadableError as error:
            self._findings.not_known(PACK, cycle.name, f"its state cannot be read: {error}")
            return
        if cycle.walks:
            self._walks(cycle, number, wrong)

    def _pairs(self, cycle: Cycle) -> set[tuple[str, str]]:
        """Ask every operation in every state; return the pairs that broke the table."""
        wrong: set[tuple[str, str]] = set()
        for state, way in _ways(cycle).items():
            for operation in cycle.operations:
                walk = _Walk(self, cycle)
                if all(walk.step(one) for one in way):
                    at = walk.state
                    if not walk.step(operation):
                        wrong.add((at, operation))
                elif not wrong:
                    self._findings.not_known(PACK, cycle.name, f"the state {state} was not reached")
        return wrong

    def _walks(self, cycle: Cycle, number: int, wrong: set[tuple[str, str]]) -> None:
        failing, names = self, sorted(cycle.operations)

        class Machine(RuleBasedStateMachine):
            """One walk through the table."""

            def __init__(self) -> None:
                super().__init__()
                self.walk = _Walk(failing, cycle)

            @rule(data=st.data())
            def step(self, data: st.DataObject) -> None:
                """Do one operation, mostly one that is allowed, and none that is known to break the table."""
                allowed = sorted(cycle.allowed[self.walk.state])
                operation = data.draw(st.sampled_from([*allowed * len(names), *names]))
                if (self.walk.state, operation) not in wrong and not self.walk.step(operation):
                    raise _BrokenError

        bounds = settings(
            max_examples=cycle.walks, stateful_step_count=cycle.steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], print_blob=False,
        )  # fmt: skip
        seeded: Any = seed(number)(Machine)
        try:
            run_state_machine_as_test(seeded, settings=bounds)
        except (_BrokenError, Flaky):
            pass  # it was noted where it was seen
        except UnreadableError as error:
            self._findings.not_known(PACK, cycle.name, f"its state cannot be read: {error}")

    def broke(self, cycle: Cycle, done: Path, field: str, what: str, answer: Answer) -> None:
        """Note what an operation broke, at the end of a way of operations."""

        def again() -> Script:
            known = self._new()
            sent = [self._prepared(cycle.operations[one], known) for one in done]
            return [*([one] for one in sent), [self._counter.request(cycle.read, known)]]

        operation = cycle.operations[done[-1]].request
        self._findings.add(PACK, operation, f"{cycle.name}: {field}", what, answer=answer, again=again)

    # Writers at once ---------------------------------------------------------------------------------------------

    def together(self, told: Together) -> None:
        """Ask writers at once; raises SpentError."""
        for _ in range(told.rounds):
            known = self._new()
            sent = [self._prepared(one, known) for one in told.writes]
            try:
                before = self._counter.count(told.count, known) if told.count is not None else 0
                answers = self._asker.together(sent)
                what = self._lost(told, known, answers, before)
            except UnreadableError as error:
                self._findings.not_known(PACK, told.name, f"what was written cannot be read: {error}")
                return
            if not any(one.accepted for one in answers):
                said = answers[0].why or f"answered {answers[0].status}"
                self._findings.not_known(PACK, told.name, f"no writer was accepted ({said})")
                return
            if what:
                self._found_together(told, what, answers[0])
                return

    def _lost(self, told: Together, known: Mapping[str, Any], answers: Sequence[Answer], before: int) -> str:
        accepted = sum(one.accepted for one in answers)
        broken = next((one for one in answers if one.status is None or one.status >= 500), None)
        if broken is not None:
            return broken.why or f"answered {broken.status}"
        if told.count is not None:
            grown = self._counter.count(told.count, known) - before
            if grown != accepted * told.effect:
                return f"{accepted} were accepted, and the count grew by {grown}"
        if told.read is not None:
            whole = self._counter.value(told.read, known)
            for write, answer in zip(told.writes, answers, strict=True):
                for left in write.leaves if answer.accepted else ():
                    if _at(whole, left.at) != filled(left.equals, known):
                        return f"{write.request} was accepted, and {left.at} is another"
        return ""

    def _found_together(self, told: Together, what: str, answer: Answer) -> None:
        def again() -> str:
            known = self._new()
            writes = [self._asker.curl(self._prepared(one, known)) for one in told.writes]
            readings = [one for one in (told.read, told.count) if one is not None and one.request]
            reads = [self._asker.curl(self._counter.request(one, known)) for one in readings]
            return "; ".join([f"({' & '.join(writes)} & wait)", *reads])

        operation = told.writes[0].request
        self._findings.add(PACK, operation, f"{told.name}: at once", what, answer=answer, again=again)

    # Time --------------------------------------------------------------------------------------------------------

    def clock(self, modes: Modes) -> None:
        """Ask what is due at each moment; raises SpentError."""
        clock = modes.clock
        if clock is None or not (clock.header or self._hooks.clock):
            missing = "nothing says how the clock is set: failure_modes.clock"
            self._findings.not_known(
                PACK, "clock", missing if clock is None else f"{missing}.header, or --clock COMMAND"
            )
            return
        for zone in clock.zones:
            for named, moment in moments(zone):
                of_moment = variables(moment, zone)
                failed = "" if clock.header else hooks.call(self._hooks.clock, TURNOUT_NOW=of_moment["now"])
                if failed:
                    self._findings.not_known(PACK, "clock", f"the command of --clock: {failed}")
                    return
                for due in clock.asks:
                    self._due(clock, due, f"{zone}, {named}", of_moment)

    def _due(self, clock: Clock, due: Due, named: str, of_moment: Mapping[str, str]) -> None:
        known = {**(self._new() if due.steps else self._world.objects()), "unique": unique(), **of_moment}
        time = {clock.header: str(filled(clock.value, known))} if clock.header else {}
        sent: list[requests.PreparedRequest] = []

        def ask(request: Request, headers: Mapping[str, str]) -> Answer:
            sent.append(
                self._prepared(Request(request.request, request.json, request.form, {**headers, **time}), known)
            )
            return self._asker.again(sent[-1])

        for step in due.steps:
            answer = ask(step, step.headers)
            for name, place in step.capture.items():
                value = _at(_json(answer), place) if not place.startswith("header:") else None
                known[name] = value if value is not None else ""
            if not answer.accepted:
                said = answer.why or f"answered {answer.status}"
                self._findings.not_known(PACK, "clock", f"{named}: {step.request}: {said}")
                return
        answer = ask(Request(due.request), due.headers)
        seen, wanted = _at(_json(answer), due.at), filled(due.equals, known)
        if not answer.accepted or seen != wanted:
            shown = answer.why or (
                f"answered {answer.status}" if not answer.accepted else f"{due.at} is {_short(seen)}"
            )
            what = f"{named} ({of_moment['local']}): {shown}; declared: {_short(wanted)}"
            self._findings.add(
                PACK, due.request, f"clock: {named}", what, answer=answer, again=lambda: [[one] for one in sent]
            )


class _Walk:
    """A new object, and what was done to it."""

    def __init__(self, failing: Failing, cycle: Cycle) -> None:
        self._failing = failing
        self._cycle = cycle
        self._known = failing._new()
        self.state = cycle.begin
        self.done: Path = ()

    def step(self, operation: str) -> bool:
        """Do one operation; return whether all was as the table says. Raises UnreadableError and SpentError."""
        cycle, before = self._cycle, self.state
        self.done += (operation,)
        known = {**self._known, "unique": unique()}
        answer = self._failing._asker.again(self._failing._prepared(cycle.operations[operation], known))
        wanted = cycle.allowed[before].get(operation)
        said = answer.why or f"answered {answer.status}"
        if wanted is None and answer.status not in cycle.refused:
            return self._broke(f"{operation} in {before}", f"forbidden by the table, and {said}", answer)
        if wanted is not None and not answer.accepted:
            return self._broke(f"{operation} in {before}", f"allowed by the table, and {said}", answer)
        self.state = wanted if wanted is not None else before
        seen = self._failing._counter.value(cycle.read, self._known)
        if seen != self.state:
            what = f"{said}, and the state reads {_short(seen)}; the table says {self.state}"
            return self._broke(f"{operation} in {before}", what, answer)
        return True

    def _broke(self, field: str, what: str, answer: Answer) -> bool:
        self._failing.broke(self._cycle, self.done, field, what, answer)
        return False


def _ways(cycle: Cycle) -> dict[str, Path]:
    """Return the shortest way to each state."""
    ways: dict[str, Path] = {cycle.begin: ()}
    for state in (queue := [cycle.begin]):
        for operation, to in cycle.allowed[state].items():
            if to not in ways:
                ways[to] = (*ways[state], operation)
                queue.append(to)
    return ways


def _json(answer: Answer) -> Any:
    try:
        return answer.response.json() if answer.response is not None else None
    except ValueError:
        return None


def _at(value: Any, pointer: str) -> Any:
    try:
        return found(value, pointer)
    except LookupError:
        return None


def _short(value: Any) -> str:
    return str(value)[:60]
